# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""One Manager publishes each target's spans as that target was asked to, and differently when asked again."""

import collections
import subprocess

import pytest

from correlation import BURN, BURNER_AGENT, Map, Text
from harness import wait_until

MODES = BURNER_AGENT.with_name("publication_modes")


class Manager:
    def __init__(self, bpffs, modes):
        self.process = subprocess.Popen(
            [MODES, bpffs, *(f"{pid}={mode}" for pid, mode in modes.items())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        assert self.process.stdout.readline() == "ready\n", self.process.communicate()[1]

    def set(self, pid, mode):
        self.process.stdin.write(f"{pid} {mode}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n").removeprefix(f"{pid} {mode}: ")

    def end(self):
        _, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, errors


@pytest.fixture
def manage(bpffs):
    """manage({PID: MODE}): a Manager of its own program, on those targets."""
    if not MODES.exists():
        pytest.skip(f"{MODES} was not built")
    started = []

    def start(modes):
        started.append(Manager(bpffs, modes))
        return started[-1]

    yield start
    for manager in started:
        if manager.process.poll() is None:
            manager.process.kill()
            manager.process.communicate()


def contexts_inside(recording, server):
    """Of the samples in functions that work for a span: how many have a context, how many have none."""
    text = Text(server.build)
    counts = collections.Counter()
    for sample in recording.samples:
        if sample.tgid == server.pid and {"main.burnServer", "main.burnNested"} & set(text.functions(sample.stack)):
            counts[sample.span_id is not None] += 1
    return counts[True], counts[False]


def test_each_target_has_its_own_mode_and_can_change_it(burner, manage, bpffs, read_contexts, load):
    first, second = burner("go1.24"), burner("go1.27-stripped")
    contexts = Map(bpffs)
    manager = manage({first.pid: "jit", second.pid: "off"})

    def sampled():
        """(with, without) of both servers, under load."""
        reader = read_contexts(first, second)
        loads = [load.start(server, "-d", "3s", "-c", 4, targets=[BURN]) for server in (first, second)]
        for traffic in loads:
            traffic.finish()
        return [contexts_inside(recording, server) for recording in [reader.finish()] for server in (first, second)]

    (with_first, without_first), (with_second, without_second) = sampled()
    assert with_first > 20 and without_first <= 0.005 * with_first
    assert with_second == 0 and without_second > 20

    assert manager.set(first.pid, "off") == "ok"
    assert manager.set(second.pid, "eager") == "ok"
    (with_first, without_first), (with_second, without_second) = sampled()
    assert with_first == 0 and without_first > 20
    assert with_second > 20 and without_second <= 0.005 * with_second

    # Entries of a target that is eager no more go, under load too; what a hook was just about to set, at the next reap.
    traffic = load.start(second, "-d", "300s", "-c", 4, targets=[BURN])
    wait_until(lambda: contexts.entries(second.pid), "eager entries")
    assert manager.set(second.pid, "jit") == "ok"
    wait_until(lambda: not contexts.entries(second.pid), "eager entries are gone", seconds=2)
    traffic.finish(interrupt=True)

    nobody = 4_194_304  # above the kernel's highest PID
    assert manager.set(nobody, "jit") == f"publish spans of PID {nobody}: it is no target"
    manager.end()
