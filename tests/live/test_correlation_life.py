# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""The shared map while tools, threads and processes come and go: nothing stale is left, nothing foreign is touched."""

import os
import signal
import time

import pytest

import correlation
from correlation import BURN, Judge, Map, options_for
from harness import wait_until

SETTLE_NS = 1_000_000_000  # by then requests that were under way when an agent came have ended


def test_profiler_first(burner, trace, read_contexts, load):
    server = burner("go1.24")
    reader = read_contexts(server)
    agent = trace(server, "--profile-link", "jit")
    rows = load(server, "-d", "3s", "-c", 8, targets=[BURN])
    recording = reader.finish()
    Judge.of(server, rows, agent.stop()).judge(recording).assert_right(least=3 * 20)


def test_profiler_restarted_under_load(burner, trace, read_contexts, load):
    server = burner("go1.27-stripped")
    agent = trace(server, "--profile-link", "jit")
    traffic = load.start(server, "-d", "300s", "-c", 8, targets=[BURN])
    runs = []
    for _ in range(2):
        reader = read_contexts(server)
        time.sleep(3)
        runs.append(reader.finish())
    rows = traffic.finish(interrupt=True)
    judge = Judge.of(server, rows, agent.stop())
    begin_ns = runs[0].samples[0].time_ns + SETTLE_NS
    for recording in runs:
        judge.judge(recording, begin_ns).assert_right(least=40)


@pytest.mark.parametrize("mode", ["jit", "eager"])
def test_agent_restarted_under_load(burner, trace, read_contexts, load, mode):
    server = burner("go1.24")
    reader = read_contexts(server)  # opens the map once
    traffic = load.start(server, "-d", "300s", "-c", 8, targets=[BURN])
    spans, windows = [], []
    for _ in range(2):
        agent = trace(server, "--profile-link", mode)
        begin_ns = time.monotonic_ns() + SETTLE_NS
        time.sleep(4)
        windows.append((begin_ns, time.monotonic_ns() - SETTLE_NS))
        spans += agent.stop()
        assert not Map(trace.bpffs).entries(server.pid), "what is left of an agent that was stopped"
    rows = traffic.finish(interrupt=True)
    recording = reader.finish()
    judge = Judge.of(server, rows, spans)
    for window in windows:
        judge.judge(recording, *window).assert_right(least=30)


def stopped_with_entries(server, contexts):
    """Stops the target where it has entries in the map (true) or lets it go on (false). While it stands still no hook
    changes an entry, in whatever order the kernel takes the hooks of a dying agent away."""
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(0.02)  # the threads that run get the signal
    if contexts.entries(server.pid):
        return True
    server.process.send_signal(signal.SIGCONT)
    return False


def test_a_killed_agent_leaves_nothing_to_the_next(burner, trace, read_contexts, load):
    server = burner("go1.24")
    contexts = Map(trace.bpffs)
    agent = trace(server, "--profile-link", "eager")
    traffic = load.start(server, "-d", "300s", "-c", 8, targets=[BURN])
    wait_until(lambda: stopped_with_entries(server, contexts), "the target stands still in a span")
    agent.kill()
    server.process.send_signal(signal.SIGCONT)
    traffic.finish(interrupt=True)
    assert contexts.entries(server.pid), "nobody changes what the killed agent left"
    agent = trace(server, "--profile-link", "eager")
    wait_until(lambda: not contexts.entries(server.pid), "the next agent reaps what is stale", seconds=2)
    reader = read_contexts(server)
    rows = load(server, "-d", "3s", "-c", 8, targets=[BURN])
    recording = reader.finish()
    Judge.of(server, rows, agent.stop()).judge(recording).assert_right(least=3 * 20)


def test_a_killed_agent_under_load(burner, trace, read_contexts, load):
    server = burner("go1.24")
    traffic = load.start(server, "-d", "300s", "-c", 8, targets=[BURN])
    agent = trace(server, "--profile-link", "eager")
    time.sleep(1)
    agent.kill()
    reader = read_contexts(server)
    agent = trace(server, "--profile-link", "eager")
    begin_ns = time.monotonic_ns() + SETTLE_NS
    time.sleep(4)
    recording = reader.finish()
    rows = traffic.finish(interrupt=True)
    Judge.of(server, rows, agent.stop()).judge(recording, begin_ns).assert_right(least=30)


@pytest.mark.parametrize("build", ["go1.19", "go1.27"])
def test_a_thread_that_ends_leaves_no_entry(burner, trace, read_contexts, load, build):
    server = burner(build)
    trace(server, "--profile-link", "eager", *options_for(build))
    reader = read_contexts(server)
    rows = load(server, "-n", 200, "-c", 8, targets=["/thread?us=4000"])
    assert len(rows.answered()) == 200
    wait_until(lambda: not Map(trace.bpffs).entries(server.pid), "entries of threads that ended are gone", seconds=1)
    carried = {sample.tid for sample in reader.finish().samples if sample.span_id}
    ended = carried - {int(name) for name in os.listdir(f"/proc/{server.pid}/task")}
    assert len(ended) > 20, f"threads with entries that ended: {len(ended)}"


def test_a_process_that_ends_leaves_no_entry(burner, trace, load):
    server = burner("go1.24")
    agent = trace(server, "--profile-link", "eager")
    contexts = Map(trace.bpffs)
    traffic = load.start(server, "-d", "300s", "-c", 8, "-timeout", "1s", targets=[BURN])
    wait_until(lambda: contexts.entries(server.pid), "an entry is published")
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not contexts.entries(server.pid), "entries of the process are gone", seconds=1)
    agent.wait()  # its only target has ended
    traffic.process.kill()


@pytest.mark.parametrize("mode", ["jit", "eager"])
def test_foreign_entries_survive_everything(burner, trace, read_contexts, load, mode):
    server = burner("go1.24")
    reader = read_contexts(server)
    contexts = Map(trace.bpffs)
    load(server, "-n", 50, "-c", 8, targets=[BURN])  # the threads that burn are there now
    threads = [int(name) for name in os.listdir(f"/proc/{server.pid}/task")]
    foreign = {tid: bytes([0xF0 + i % 16] * 24) for i, tid in enumerate(threads)}
    for tid, value in foreign.items():
        contexts.write(server.pid, tid, value)
    agent = trace(server, "--profile-link", mode)
    rows = load(server, "-d", "2s", "-c", 8, targets=[BURN])
    assert rows.answered()
    agent.stop()
    counts = correlation.published_counts(agent, server)
    kept = contexts.entries(server.pid)
    assert {tid: kept.get(tid) for tid in foreign} == foreign
    assert counts["foreign"] > 0, counts
    samples = [sample for sample in reader.finish().samples if sample.tid in foreign and sample.span_id]
    assert samples and all(bytes.fromhex(sample.trace_id + sample.span_id) == foreign[sample.tid] for sample in samples)
    # A killed agent and the one after it leave them alone, too.
    trace(server, "--profile-link", mode).kill()
    trace(server, "--profile-link", mode).stop()
    kept = contexts.entries(server.pid)
    assert {tid: kept.get(tid) for tid in foreign} == foreign


def test_two_processes_of_one_agent(burner, trace, read_contexts, load):
    servers = [burner("go1.24"), burner("go1.27-stripped")]
    agent = trace(*servers, "--profile-link", "jit")
    reader = read_contexts(*servers)
    traffic = [load.start(server, "-d", "4s", "-c", 8, targets=[BURN]) for server in servers]
    rows = [client.finish() for client in traffic]
    recording, spans = reader.finish(), agent.stop()
    for server, own in zip(servers, rows):
        Judge.of(server, own, spans).judge(recording).assert_right(least=30)
    assert not correlation.keys_in_two_dumps(recording.dumps, *(server.pid for server in servers))


def test_two_agents_two_modes_one_map(burner, trace, read_contexts, load):
    """Each takes back what it wrote, and nothing else."""
    servers = [burner("go1.24"), burner("go1.24")]
    agents = [trace(server, "--profile-link", mode) for server, mode in zip(servers, ("jit", "eager"))]
    reader = read_contexts(*servers)
    traffic = [load.start(server, "-d", "4s", "-c", 8, targets=[BURN]) for server in servers]
    rows = [client.finish() for client in traffic]
    recording = reader.finish()
    for server, agent, own, mode in zip(servers, agents, rows, ("jit", "eager")):
        Judge.of(server, own, agent.stop()).judge(recording).assert_right(least=30)
        assert correlation.publication_of(agent, server) == (mode, "")
        assert correlation.published_counts(agent, server)["foreign"] == 0
    assert not correlation.keys_in_two_dumps(recording.dumps, servers[0].pid)


# /proc/kallsyms as the agent finds it, and what it says of it.
KALLSYMS = {
    "empty": ("", "find perf_swevent_hrtimer in /proc/kallsyms: not there"),
    "hidden": ("0000000000000000 t perf_swevent_hrtimer\n", "addresses are hidden"),
    "wrong": ("ffffffff81000000 t perf_swevent_hrtimer\n", "self-test: a cpu-clock event on this kernel found the "),
}


@pytest.mark.parametrize("case", KALLSYMS)
def test_eager_where_just_in_time_does_not_work(burner, trace, read_contexts, load, tmp_path, case):
    content, why = KALLSYMS[case]
    fake = tmp_path / "kallsyms"
    fake.write_text(content)
    bind = ["unshare", "--mount", "sh", "-c", f'mount --bind {fake} /proc/kallsyms && exec "$@"', "sh"]
    server = burner("go1.24")
    agent = trace(server, "--profile-link", "jit", prefix=bind)
    reader = read_contexts(server)
    rows = load(server, "-d", "2s", "-c", 8, targets=[BURN])
    recording = reader.finish()
    Judge.of(server, rows, agent.stop()).judge(recording).assert_right(least=2 * 20)
    mode, reason = correlation.publication_of(agent, server)
    assert mode == "eager" and reason.startswith("eager since just in time does not work here: ") and why in reason
    assert why in agent.log
