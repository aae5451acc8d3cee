# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""What can't work says so: a message that names the cause, an exit code that --help documents, nothing attached."""

import os
import pathlib
import re
import subprocess

import pytest

from harness import AGENT, TARGETS, Plan, assert_untouched


@pytest.fixture
def refused(privileged, targets, tmp_path):
    """refused(options..., says=REGEX): the agent ends at once, with a message; returns the message."""

    def run(*args, says, prefix=()):
        done = subprocess.run(
            [*prefix, AGENT, *map(str, args)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
        )
        assert done.returncode in documented_codes(), f"exit code {done.returncode} is not in --help:\n{done.stderr}"
        assert done.returncode != 0, done.stderr
        assert re.search(says, done.stderr), f"not said: {says}\n{done.stderr}"
        assert not re.search("^attached", done.stderr, re.M), done.stderr
        return done.stderr

    return run


def documented_codes():
    text = subprocess.run([AGENT, "--help"], capture_output=True, text=True, timeout=30, check=True).stdout
    part = text[text.lower().index("exit codes"):]
    return {int(code) for code in re.findall(r"^\s+(\d+)\s", part, re.M)}


@pytest.fixture
def process():
    """process(command...): starts a program and waits for its first line."""
    started = []

    def start(*command):
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        started[-1].stdout.readline()
        return started[-1].pid

    yield start
    for item in started:
        item.kill()
        item.communicate()


def unused_pid():
    return int(pathlib.Path("/proc/sys/kernel/pid_max").read_text()) - 1


def test_no_such_pid(refused):
    assert str(unused_pid()) in refused("--pid", unused_pid(), says="(?i)no such process|does not exist|not exist")


def test_one_pid_of_two_does_not_exist(refused, serve):
    server = serve("go1.24")
    refused("--pid", server.pid, "--pid", unused_pid(), says=str(unused_pid()))
    assert_untouched(Plan(server.path), server.pid)


@pytest.mark.parametrize("pid", ["0", "-1", "1x", "99999999999999999999"])
def test_pid_that_is_none(refused, pid):
    refused(f"--pid={pid}", says=re.escape(pid))


def test_no_target(refused):
    refused(says="--pid.*--exe|--exe.*--pid")


def test_unknown_output(refused, serve):
    refused("--pid", serve("go1.24").pid, "--output", "smoke-signals", says="smoke-signals")


def test_unknown_option_of_a_probe(refused, serve):
    refused("--pid", serve("go1.24").pid, "--set", "net_http.nonsense=true", says="nonsense")


def test_output_file_that_cannot_be_written(refused, serve):
    server = serve("go1.24")
    refused("--pid", server.pid, "--output", "jsonl:/nonexistent/folder/spans", says="/nonexistent/folder")
    assert_untouched(Plan(server.path), server.pid)


def test_process_that_is_not_go(refused, process):
    refused("--pid", process(TARGETS / "bad-not-go"), says="(?i)not a Go|no Go build information|Go build")


def test_kernel_thread(refused):
    refused("--pid", 2, says=r"\b2\b")


@pytest.mark.parametrize(
    "name, says",
    [
        ("bad-not-go", "(?i)not a Go|no Go build|Go build"),
        ("bad-elf32", "(?i)32.bit|ELF ?32|64.bit"),
        ("bad-truncated-header", "(?i)truncat|too short|beyond|outside|end of"),
        ("bad-truncated-half", "(?i)truncat|too short|beyond|outside|end of"),
        ("bad-garbage", "(?i)not an ELF|no ELF|ELF magic"),
        ("bad-empty", "(?i)empty|truncat|too short|not an ELF"),
    ],
)
@pytest.mark.parametrize("plan", [[], ["--plan"]], ids=["attach", "plan"])
def test_executable(refused, name, says, plan):
    path = TARGETS / name
    if not path.exists():
        pytest.skip(f"{path} was not built")
    assert name in refused("--exe", path, *plan, says=says)


@pytest.mark.parametrize("path, says", [("/nonexistent", "(?i)no such file"), ("/tmp", "(?i)directory|regular file")])
def test_path_that_is_no_executable(refused, path, says):
    assert path in refused("--exe", path, says=says)


@pytest.mark.parametrize("missing", ["bpf", "perfmon"])
def test_missing_capability_is_named(refused, serve, missing):
    server = serve("go1.24")
    refused("--pid", server.pid, says=f"CAP_{missing.upper()}",
            prefix=["setpriv", f"--bounding-set=-{missing},-sys_admin"])
    assert_untouched(Plan(server.path), server.pid)


def test_missing_ptrace_capability_is_named(refused, serve):
    server = serve("go1.24", prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    refused("--pid", server.pid, says="CAP_SYS_PTRACE", prefix=["setpriv", "--bounding-set=-sys_ptrace,-sys_admin"])


def test_kernel_without_btf(refused, serve):
    if not os.path.exists("/sys/kernel/btf"):
        pytest.skip("this kernel has no BTF")
    server = serve("go1.24")
    refused("--pid", server.pid, says="(?i)BTF",
            prefix=["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/kernel/btf && exec "$@"', "sh"])
    assert_untouched(Plan(server.path), server.pid)


def test_pid_namespace_other_than_the_initial_one(refused, serve):
    server = serve("go1.24")
    refused("--pid", server.pid, says="(?i)PID namespace", prefix=["unshare", "--pid", "--fork"])
    assert_untouched(Plan(server.path), server.pid)
