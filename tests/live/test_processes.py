# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Processes that come, go, and take the number of a dead one."""

import pathlib
import signal

import pytest

from harness import (
    OLDEST_AND_NEWEST,
    TARGETS,
    Plan,
    all_answered,
    assert_matches,
    breakpoints,
    parse_spans,
    wait_until,
)

LAST_PID = pathlib.Path("/proc/sys/kernel/ns_last_pid")


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_target_that_exits_is_normal(serve, attach, load, build, end):
    server = serve(build)
    agent = attach(server)
    rows = all_answered(load(server, "-n", 300))
    server.process.send_signal(end)
    server.process.wait()
    if agent.process.poll() is None:
        agent.process.send_signal(signal.SIGINT)
    agent.wait()
    assert_matches(parse_spans(agent.spans_file.read_bytes()), rows, path="/")


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_one_of_two_targets_exits(serve, attach, load, build):
    first, second = serve(build), serve(build)
    agent = attach(first, second)
    rows = [all_answered(load(first, "-n", 300)), all_answered(load(second, "-n", 300))]
    first.kill()
    more = all_answered(load(second, "-n", 300, targets=["/later"]))
    spans = agent.stop()
    assert_matches([span for span in spans if span.pid == first.pid], rows[0], path="/")
    at_second = [span for span in spans if span.pid == second.pid]
    assert_matches([span for span in at_second if span["url.path"] == "/"], rows[1])
    assert_matches([span for span in at_second if span["url.path"] == "/later"], more)


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_another_process_of_the_file_is_untouched(serve, attach, load, build):
    target, other = serve(build), serve(build)
    agent = attach(target)
    plan = Plan(target.path)
    rows = all_answered(load(target, "-n", 300))
    all_answered(load(other, "-n", 300))
    assert breakpoints(plan, target.pid), "the target has no breakpoint, so the next line shows nothing"
    assert not breakpoints(plan, other.pid)
    assert_matches(agent.stop(), rows, path="/")


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_executable_with_processes_before_and_after(serve, attach, load, build):
    early = serve(build)
    agent = attach("--exe", early.path)
    late = serve(build)
    rows = {server: all_answered(load(server, "-n", 500)) for server in (early, late)}
    spans = agent.stop()
    for server, expected in rows.items():
        assert_matches([span for span in spans if span.pid == server.pid], expected, path="/")
    agent.assert_no_loss()


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_executable_without_a_process_yet(serve, attach, load, build, targets):
    if f"server-{build}" in targets:
        pytest.skip(targets[f"server-{build}"])
    agent = attach("--exe", TARGETS / f"server-{build}")
    rows = []
    for _ in range(3):
        server = serve(build)
        rows.append((server.pid, all_answered(load(server, "-n", 200))))
        server.kill()
    spans = agent.stop()
    for pid, expected in rows:
        assert_matches([span for span in spans if span.pid == pid], expected, path="/")


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_duration_ends_the_agent(serve, attach, load, build):
    server = serve(build)
    agent = attach(server, "--duration", 2)
    rows = all_answered(load(server, "-n", 500))
    agent.wait(timeout=20)
    assert_matches(parse_spans(agent.spans_file.read_bytes()), rows, path="/")


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
@pytest.mark.parametrize("chosen_by", ["exe", "pid"])
def test_process_with_the_tgid_of_a_dead_one_inherits_nothing(serve, attach, load, build, chosen_by):
    """The second process gets tgid and goids of one that was killed with spans open on all of them."""
    in_flight = 200
    doomed, other = serve(build), serve(build)
    agent = attach("--exe", doomed.path) if chosen_by == "exe" else attach(doomed, other)
    held = load.start(doomed, "-n", str(in_flight), "-c", str(in_flight), targets=["/sleep-gate"])
    wait_until(lambda: doomed.get("/held") == str(in_flight), "the requests are in flight")
    doomed.kill()
    assert held.finish().answered() == []

    successor = start_as(doomed.pid, lambda: serve(build))
    rows = all_answered(load(successor, "-n", 2_000, "-c", in_flight, "-keepalive=false", "-traceparent", "none,valid",
                             targets=["/after"]))
    spans = [span for span in agent.stop() if span["url.path"] == "/after"]
    if chosen_by == "exe":
        assert_matches(spans, rows)
    else:
        assert spans == [], "a process that nobody chose gave spans"


def start_as(pid, start):
    """A server that start() gives, whose PID is `pid`."""
    for _ in range(100):
        LAST_PID.write_text(str(pid - 1))
        candidate = start()
        if candidate.pid == pid:
            return candidate
        candidate.kill()
    pytest.skip("other processes of the machine took the number each time")
