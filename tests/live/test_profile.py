# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""otel-ebpf-profile on programs that burn CPU in known functions."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading

import pytest

from harness import BUILD, RELEASES, TARGETS, wait_until

PROFILER = BUILD / "bin" / "otel-ebpf-profile"
GO_BUILDS = [f"burn-{release}{suffix}" for release in RELEASES for suffix in ("", "-stripped")]
GO_BUILDS.append("burn-go1.26-pie")  # stripped too
GO_STACK = ["runtime.goexit", "runtime.main", "main.main", "main.outer", "main.middle"]
CPP_STACK = ["main", "outer()", "burn::Worker::middle(unsigned long)",
             "unsigned long burn::leaf<unsigned long>(unsigned long)"]


@pytest.fixture
def bpffs(tmp_path):
    """A bpffs of the test's own."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a bpffs and to sample")
    root = tmp_path / "bpffs"
    root.mkdir()
    subprocess.run(["mount", "-t", "bpf", "none", root], check=True)
    yield root
    subprocess.run(["umount", root], check=True)


@pytest.fixture
def burn(targets):
    """burn(NAME or path, arguments...): starts a program that burns CPU; it ends with the test."""
    started = []

    def start(program, *args, ready="burning"):
        if not os.path.isabs(program) and program in targets:
            pytest.skip(f"{program}: {targets[program]}")
        # One thread runs Go code at a time and no garbage is collected: samples are those of the known functions.
        process = subprocess.Popen([TARGETS / program, *map(str, args)], stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "GOMAXPROCS": "1", "GOGC": "off"})
        started.append(process)
        assert process.stdout.readline().startswith(ready)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


class Profiler:
    """otel-ebpf-profile, sampling when the constructor returns."""

    def __init__(self, bpffs, *args, hz=199, duration=2):
        assert PROFILER.exists(), f"{PROFILER} was not built"
        self.process = subprocess.Popen(
            [PROFILER, "--bpffs-root", bpffs, "--hz", str(hz), "--duration", str(duration), *map(str, args)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.errors = []
        while not (self.errors and self.errors[-1].startswith("profiling ")):
            line = self.process.stderr.readline()
            if not line:
                raise AssertionError(f"the profiler did not start: {self.errors}")
            self.errors.append(line)

    def finish(self, interrupt=False, code=0, timeout=60):
        """Folded stacks as {(frame, ...): count}, kernel frames left out."""
        if interrupt:
            self.process.send_signal(signal.SIGINT)
        output, errors = self.process.communicate(timeout=timeout)
        self.errors += errors.splitlines(True)
        assert self.process.returncode == code, f"code {self.process.returncode}:\n{''.join(self.errors)}"
        stacks = {}
        for line in output.splitlines():
            stack, count = line.rsplit(" ", 1)
            frames = tuple(frame for frame in stack.split(";") if not frame.endswith("_[k]"))
            stacks[frames] = stacks.get(frames, 0) + int(count)
        return stacks

    def summary(self, what):
        """A number of the last line: "200 samples, 10 with a trace context (0 sdk, 10 ebpf), 0 lost, ...\""""
        found = re.search(rf"(\d+) {what}", self.errors[-1])
        return int(found.group(1)) if found else 0


def share(stacks, is_right):
    """Which part of the samples is right."""
    total = sum(stacks.values())
    assert total > 0, "no samples"
    return sum(count for stack, count in stacks.items() if is_right(stack)) / total


def is_right_go(stack):
    """The whole stack, from the outermost frame on: the known functions in their order and nothing else."""
    frames = list(stack[1:])
    return frames in ([*GO_STACK, "main.leaf"], [*GO_STACK, "main.inlined"]) or (
        len(frames) > 2 and frames == GO_STACK[: len(frames)])


@pytest.mark.parametrize("build", GO_BUILDS)
def test_go_functions_in_their_order(burn, bpffs, build):
    process = burn(build)
    profiler = Profiler(bpffs, "--pid", process.pid)
    stacks = profiler.finish()
    assert share(stacks, is_right_go) >= 0.95, stacks
    # A function without a frame, and one that is part of another's code.
    assert share(stacks, lambda stack: stack[-1] == "main.leaf") > 0.2, stacks
    assert share(stacks, lambda stack: stack[-1] == "main.inlined") > 0.1, stacks
    assert profiler.summary("lost") == 0
    assert 40 < sum(stacks.values()) < 1000  # 2 s at 199 Hz on a machine that others use too


@pytest.mark.parametrize("build", ["burn-cpp", "burn-cpp-pie", "burn-cpp-dynsym"])
def test_cpp_functions_in_their_order(burn, bpffs, build):
    process = burn(build)
    stacks = Profiler(bpffs, "--pid", process.pid).finish()

    def is_right(stack):
        known = list(stack[stack.index("main"):]) if "main" in stack else []
        return len(known) > 1 and known == CPP_STACK[: len(known)]

    assert share(stacks, is_right) >= 0.95, stacks
    assert share(stacks, lambda stack: stack[-1] == CPP_STACK[-1]) > 0.5, stacks


def test_functions_of_a_stripped_program_are_shown_by_address_and_counted(burn, bpffs):
    process = burn("burn-cpp-stripped")
    profiler = Profiler(bpffs, "--pid", process.pid)
    stacks = profiler.finish()
    assert share(stacks, lambda stack: re.fullmatch(r"\[burn-cpp-stripped\+0x[0-9a-f]+\]", stack[-1])) > 0.9, stacks
    assert profiler.summary("unsymbolised") > 0.9 * sum(stacks.values())


def test_file_that_was_deleted_under_its_process(burn, bpffs, tmp_path):
    copy = tmp_path / "copy"
    shutil.copy(TARGETS / "burn-cpp-pie", copy)
    process = burn(str(copy))
    copy.unlink()
    copy.write_text("another file of that name")
    stacks = Profiler(bpffs, "--pid", process.pid).finish()
    assert share(stacks, lambda stack: stack[-1] == CPP_STACK[-1]) > 0.5, stacks


def test_every_process(burn, bpffs):
    first, second = burn("burn-go1.26"), burn("burn-cpp")
    stacks = Profiler(bpffs, "--all").finish()
    by_process = {}
    for stack, count in stacks.items():
        by_process.setdefault(stack[0], {})[stack] = count
    assert share(by_process["burn-go1.26"], is_right_go) >= 0.95, by_process["burn-go1.26"]
    assert share(by_process["burn-cpp"], lambda stack: stack[-1] == CPP_STACK[-1]) > 0.5, by_process["burn-cpp"]
    assert first.poll() is None and second.poll() is None


def test_only_the_chosen_processes(burn, bpffs):
    chosen, also, other = burn("burn-cpp"), burn("burn-cpp-pie"), burn("burn-go1.26")
    stacks = Profiler(bpffs, "--pid", chosen.pid, "--pid", also.pid).finish()
    assert {stack[0] for stack in stacks} == {"burn-cpp", "burn-cpp-pie"}
    assert other.poll() is None


@pytest.mark.parametrize("build", ["burn-go1.24-stripped", "burn-cpp"])
def test_process_that_exits_while_it_is_sampled(burn, bpffs, build):
    process = burn(build)
    profiler = Profiler(bpffs, "--pid", process.pid, duration=60)
    threading.Timer(1, process.kill).start()
    stacks = profiler.finish(timeout=20)  # long before its time
    assert share(stacks, lambda stack: stack[-1].startswith("[")) < 0.05, stacks


def test_process_that_runs_another_program(burn, bpffs):
    """The tgid stays, the addresses mean something else."""
    process = burn("/bin/bash", "-c", f"echo burning; read -t 1.5 <> <(:); exec {TARGETS}/burn-cpp")
    profiler = Profiler(bpffs, "--pid", process.pid, duration=4)
    stacks = profiler.finish()
    of_the_second = {stack: count for stack, count in stacks.items() if stack[0] == "burn-cpp"}
    assert share(of_the_second, lambda stack: stack[-1] == CPP_STACK[-1]) > 0.5, stacks


def otlp_samples(path):
    """Samples of an OTLP profile: {"count", "link": (trace id, span id) or None, "attributes"}."""
    data = json.loads(path.read_text())
    dictionary = data["dictionary"]
    strings, links = dictionary["stringTable"], dictionary["linkTable"]
    samples = []
    for resource in data["resourceProfiles"]:
        for scope in resource["scopeProfiles"]:
            for sample in (sample for profile in scope["profiles"] for sample in profile["samples"]):
                link = links[sample["linkIndex"]] if sample.get("linkIndex") else None
                attributes = [dictionary["attributeTable"][index] for index in sample.get("attributeIndices", [])]
                samples.append({
                    "count": len(sample["timestampsUnixNano"]),
                    "link": (link["traceId"], link["spanId"]) if link else None,
                    "attributes": {strings[item["keyStrindex"]]: next(iter(item["value"].values()))
                                   for item in attributes},
                })
    return samples


@pytest.mark.parametrize("build", ["burn-go1.19", "burn-go1.24-stripped", "burn-go1.27-stripped"])
def test_pprof_labels_of_the_goroutine(burn, bpffs, tmp_path, build):
    process = burn(build)
    file = tmp_path / "profile.json"
    stacks = Profiler(bpffs, "--pid", process.pid, "--output", "folded", "--output", f"otlp:{file}").finish()
    samples = otlp_samples(file)
    assert sum(sample["count"] for sample in samples) > 20
    labelled = sum(sample["count"] for sample in samples
                   if {"/pay", "blue"} <= set(sample["attributes"].values()))
    in_main = sum(count for stack, count in stacks.items() if "main.main" in stack)
    assert labelled >= 0.95 * in_main, samples


FOREIGN_WRITER = BUILD / "bin" / "foreign-writer"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_samples_are_linked_to_the_entries_of_a_foreign_writer(burn, bpffs, tmp_path):
    """It knows only the pin and the layout. The profiler is first, and makes the pin, which stays."""
    pin = bpffs / "otel/traces_ctx_v1"
    first = Profiler(bpffs, "--all", duration=3)
    inode = pin.stat().st_ino
    burn(str(FOREIGN_WRITER), pin, TRACE, SPAN, "burn", ready="ready")
    others = burn("burn-cpp")
    stacks = first.finish()
    in_writer = sum(count for stack, count in stacks.items() if stack[-1] == "foreign_burn")
    assert in_writer > 20, stacks
    # Its very first samples, before it has written its entry, are in no function of its own.
    assert in_writer <= first.summary("ebpf") <= in_writer * 1.05 + 2, first.errors
    assert first.summary("lost") == 0

    # The writer is first.
    file = tmp_path / "profile.json"
    second = Profiler(bpffs, "--all", "--output", "folded", "--output", f"otlp:{file}", duration=1)
    stacks = second.finish()
    linked = [sample for sample in otlp_samples(file) if sample["link"]]
    assert {sample["link"] for sample in linked} == {(TRACE, SPAN)}
    assert sum(sample["count"] for sample in linked) == second.summary("ebpf")
    in_writer = sum(count for stack, count in stacks.items() if stack[-1] == "foreign_burn")
    assert 5 < in_writer <= second.summary("ebpf") <= in_writer * 1.05 + 2, second.errors
    assert pin.stat().st_ino == inode, "the pin was replaced"

    # Whom the map says nothing about has no context.
    third = Profiler(bpffs, "--pid", others.pid, duration=1)
    assert sum(third.finish().values()) > 0
    assert third.summary("with a trace context") == 0


@pytest.mark.parametrize("linked", ["pie", "static_pie"])
def test_samples_carry_the_context_that_the_process_publishes_itself(burn, bpffs, linked):
    process = burn(str(BUILD / "sdk_targets" / f"sdk_{linked}"), 4, 60_000, ready="burn_outer")
    profiler = Profiler(bpffs, "--pid", process.pid, duration=3)
    stacks = profiler.finish()

    def samples_in(function):
        return sum(count for stack, count in stacks.items() if stack[-1].startswith(f"{function}("))

    in_span, outside = samples_in("burn_outer") + samples_in("burn_inner"), samples_in("burn_outside")
    assert in_span > 50 and outside > 10, stacks
    # Those that begin or end a span are in other functions.
    others = sum(stacks.values()) - in_span - outside
    assert in_span <= profiler.summary("sdk") <= in_span + others, (profiler.errors, stacks)


def test_interrupt_ends_it_with_what_was_sampled(burn, bpffs):
    process = burn("burn-go1.26")
    profiler = Profiler(bpffs, "--pid", process.pid, duration=0)
    threading.Timer(1, profiler.process.send_signal, [signal.SIGINT]).start()
    assert share(profiler.finish(), is_right_go) >= 0.95


def test_process_that_sleeps_gives_no_sample(burn, bpffs):
    process = burn("/bin/sh", "-c", "echo burning; exec sleep 60")
    wait_until(lambda: open(f"/proc/{process.pid}/comm", encoding="utf-8").read() == "sleep\n", "it sleeps")
    profiler = Profiler(bpffs, "--pid", process.pid, duration=1)
    assert profiler.finish(code=6) == {}
    assert "no samples" in "".join(profiler.errors)


@pytest.mark.parametrize("args, code, message", [
    (["--pid", "2147483646"], 3, "target PID 2147483646: no such process"),
    (["--pid", "x"], 2, "'x' is no PID"),
    (["--pid", "1", "--all"], 2, "not both"),
    ([], 2, "nothing to sample"),
    (["--all", "--hz", "0"], 2, "--hz"),
    (["--all", "--hz", "999999"], 4, "sysctl kernel.perf_event_max_sample_rate"),
    (["--all", "--output", "svg"], 2, "no output 'svg'; there are: folded"),
    (["--all", "--output", "folded", "--output", "folded:x"], 2, "given twice"),
    (["--all", "--output", "folded:"], 2, "the file name is missing"),
    (["--all", "--trace", "0" * 31], 2, "is no id: 32 lower-case hex digits"),
    (["--all", "--span", "ab" * 8], 2, "choose what --output flame.svg shows, which is not asked for"),
])
def test_wrong_command_line(bpffs, args, code, message):
    done = subprocess.run([PROFILER, "--bpffs-root", bpffs, *args], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert message in done.stderr


def test_output_that_cannot_be_written(burn, bpffs):
    process = burn("burn-cpp")
    profiler = Profiler(bpffs, "--pid", process.pid, "--output", "folded:/nowhere/at/all", duration=1)
    assert profiler.finish(code=5) == {}
    assert "write /nowhere/at/all: No such file or directory" in "".join(profiler.errors)


def test_without_privileges(bpffs):
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", PROFILER, "--all",
                           "--bpffs-root", bpffs], capture_output=True, text=True, timeout=30)
    assert done.returncode == 4, done.stderr
    assert "CAP_BPF and CAP_PERFMON" in done.stderr
