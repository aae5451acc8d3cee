# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""The shared context map between tools that know nothing of each other: otel-ebpf-ctx, a foreign writer, readers."""

import os
import shutil
import signal
import struct
import subprocess

import pytest

import harness

CTX = harness.BUILD / "bin/otel-ebpf-ctx"
WRITER = harness.BUILD / "bin/foreign-writer"
C_READER = harness.BUILD / "bin/context-reader"
READER_OBJECT = harness.BUILD / "examples/03-context-map/reader_skel/reader.bpf.o"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BPFTOOL = shutil.which("bpftool") or "/usr/sbin/bpftool"


def run(*command, **kwargs):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, **kwargs)


def bpftool(*arguments):
    done = run(BPFTOOL, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def hex_bytes(raw):
    return ["hex", *(f"{byte:02x}" for byte in raw)]


class Bpffs:
    """A bpffs of the test's own."""

    def __init__(self, root):
        self.root = root
        self.pin = root / "otel/traces_ctx_v1"
        self.notes = root / "otel_ebpf/ctx_owned_v1"

    def create(self, map_type="lru_hash", value=24):
        """The map as another tool makes it: not with our code."""
        self.pin.parent.mkdir(mode=0o700)
        bpftool("map", "create", self.pin, "type", map_type, "key", 8, "value", value, "entries", 16384,
                "name", "traces_ctx_v1")

    def note(self, tgid, tid, span, owner):
        """What our eager publication notes of an entry."""
        if not self.notes.exists():
            self.notes.parent.mkdir(mode=0o700)
            bpftool("map", "create", self.notes, "type", "hash", "key", 8, "value", 16, "entries", 16384,
                    "name", "oe_ctx_owned")
        bpftool("map", "update", "pinned", self.notes, "key", *hex_bytes(struct.pack("=Q", tgid << 32 | tid)),
                "value", *hex_bytes(bytes.fromhex(span) + struct.pack("=Q", owner)))

    def ctx(self, *arguments, **kwargs):
        return run(CTX, "--bpffs-root", self.root, *arguments, **kwargs)


@pytest.fixture
def bpffs(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a bpffs")
    for program in (CTX, WRITER):
        if not program.exists():
            pytest.skip(f"{program} was not built")
    root = tmp_path / "bpffs"
    root.mkdir()
    mounted = run("mount", "-t", "bpf", "none", root)
    if mounted.returncode != 0:
        pytest.skip(f"no bpffs: {mounted.stderr.strip()}")
    yield Bpffs(root)
    run("umount", "-l", root)


@pytest.fixture
def writer(bpffs):
    """writer(TRACE, SPAN[, "burn"]): another vendor's tool, whose only thread has an entry."""
    started = []

    def start(trace=TRACE, span=SPAN, *arguments, program=WRITER):
        command = [program, bpffs.pin, trace, span, *arguments]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        line = started[-1].stdout.readline().split()
        assert line == ["ready", str(started[-1].pid), str(started[-1].pid)]
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def rows_of(text):
    """Cells of the table, by PID."""
    return {int(line.split()[0]): line for line in text.splitlines() if line.split() and line.split()[0].isdigit()
            and "entries" not in line}


def test_show_names_processes_writers_and_what_has_ended(bpffs, writer):
    bpffs.create()
    alive, dead, ours, overwritten = writer(), writer(span="1" * 16), writer(span="2" * 16), writer(span="3" * 16)
    dead.kill()
    dead.wait()
    start_ticks = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19])
    bpffs.note(ours.pid, ours.pid, "2" * 16, os.getpid() << 32 | start_ticks & 0xFFFFFFFF)
    bpffs.note(overwritten.pid, overwritten.pid, "9" * 16, os.getpid() << 32 | start_ticks & 0xFFFFFFFF)
    shown = bpffs.ctx("show")
    assert (shown.returncode, shown.stderr) == (0, "")
    rows = rows_of(shown.stdout)
    assert rows[alive.pid].split() == [str(alive.pid)] * 2 + ["foreign-writer"] * 2 + [TRACE, SPAN, "other"]
    assert rows[dead.pid].split() == [str(dead.pid)] * 2 + ["-", "(ended)", TRACE, "1" * 16, "other"]
    assert rows[ours.pid].endswith(f"ours, PID {os.getpid()}")
    assert rows[overwritten.pid].endswith("other")
    assert shown.stdout.endswith("4 of at most 16384 entries: 1 ours, 3 of other tools; 1 of threads that have ended\n")

    bpffs.note(ours.pid, ours.pid, "2" * 16, os.getpid() << 32 | start_ticks - 1)
    assert rows_of(bpffs.ctx("show").stdout)[ours.pid].endswith(f"ours, PID {os.getpid()} (ended)")


def test_names_cannot_act_on_the_terminal(bpffs, writer, tmp_path):
    bpffs.create()
    hostile = tmp_path / "\x1b[31mred\nx"
    shutil.copy(WRITER, hostile)
    process = writer(program=hostile)
    shown = bpffs.ctx("show").stdout
    assert "\x1b" not in shown
    assert rows_of(shown)[process.pid].split()[2] == r"\x1b[31mred\x0ax"


def test_drain_removes_only_what_it_is_told_to(bpffs, writer):
    bpffs.create()
    alive, dead = writer(), writer(span="1" * 16)
    dead.kill()
    dead.wait()
    asked = bpffs.ctx("drain")
    assert (asked.returncode, asked.stdout) == (2, "")
    assert "--dead or --all" in asked.stderr
    assert bpffs.ctx("drain", "--dead", "--all").returncode == 2
    assert len(rows_of(bpffs.ctx("show").stdout)) == 2
    drained = bpffs.ctx("drain", "--dead")
    assert (drained.returncode, drained.stdout) == (0, "removed 1 of 2 entries\n")
    assert list(rows_of(bpffs.ctx("show").stdout)) == [alive.pid]
    drained = bpffs.ctx("drain", "--all")
    assert (drained.returncode, drained.stdout) == (0, "removed 1 of 1 entries\n")
    assert rows_of(bpffs.ctx("show").stdout) == {}
    assert bpffs.pin.exists()


def test_watch_prints_tables_until_it_is_told_to_end(bpffs, writer):
    bpffs.create()
    process = writer()
    shown = bpffs.ctx("watch", "--interval", "0.05", "--count", "3")
    assert shown.returncode == 0
    assert shown.stdout.count(f"{process.pid}  foreign-writer") == 3
    assert "\x1b" not in shown.stdout  # no terminal
    watch = subprocess.Popen([CTX, "--bpffs-root", bpffs.root, "watch"], stdout=subprocess.PIPE, text=True)
    watch.stdout.readline()
    watch.send_signal(signal.SIGTERM)
    watch.communicate(timeout=10)
    assert watch.returncode == 0


def test_what_is_no_such_map_is_said(bpffs, tmp_path):
    absent = bpffs.ctx("show")
    assert (absent.returncode, absent.stdout) == (3, "")
    assert absent.stderr == f"otel-ebpf-ctx: open the pinned map {bpffs.pin}: No such file or directory\n"
    assert not bpffs.pin.parent.exists()
    elsewhere = run(CTX, "show", "--bpffs-root", tmp_path)
    assert elsewhere.returncode == 3
    assert f"no bpffs at {tmp_path} (mount one: " in elsewhere.stderr
    by_environment = run(CTX, "show", env={**os.environ, "OTEL_EBPF_BPF_FS_PATH": str(tmp_path)})
    assert (by_environment.returncode, by_environment.stderr) == (3, elsewhere.stderr)
    assert run(CTX, "nonsense").returncode == 2
    assert run(CTX).returncode == 2
    assert run(CTX, "--help").returncode == 0

    bpffs.create(value=32)
    refused = bpffs.ctx("drain", "--all")
    assert refused.returncode == 4
    assert f"refuse the pinned map {bpffs.pin}: value_size is 32, expected 24; it stays as it is" in refused.stderr


def test_entries_are_taken_back_by_their_writer_only(bpffs, writer):
    bpffs.create()
    process = writer()
    assert process.pid in rows_of(bpffs.ctx("show").stdout)
    process.terminate()
    assert process.wait(10) == 0
    assert rows_of(bpffs.ctx("show").stdout) == {}


def check_samples(done, burning, idle):
    """The burning threads, each under its own span, and nothing else."""
    assert done.returncode == 0, done.stderr
    counts = {}
    for line in done.stdout.splitlines():
        tgid, tid, trace, span, ticks = line.split()
        assert tgid == tid
        assert (int(tgid), trace, span) not in counts
        counts[int(tgid), trace, span] = int(ticks)
    assert set(counts) == {(process.pid, TRACE, span) for span, process in burning.items()}
    assert all(ticks >= 10 for ticks in counts.values()), counts
    assert idle.pid not in [pid for pid, _, _ in counts]


def test_reader_in_c_sees_what_a_foreign_tool_wrote(bpffs, writer):
    if not C_READER.exists():
        pytest.skip(f"{C_READER} was not built")
    environment = {**os.environ, "OTEL_EBPF_BPF_FS_PATH": str(bpffs.root)}
    # Comes first and makes the map.
    first = run(C_READER, 1, env=environment)
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    idle = writer(span="c" * 16)
    burning = {span: writer(TRACE, span, "burn") for span in ("a" * 16, "b" * 16)}
    check_samples(run(C_READER, 3, env=environment), burning, idle)

    alone = run(C_READER, 1, env={**os.environ, "OTEL_EBPF_BPF_FS_PATH": "/proc"})
    assert (alone.returncode, alone.stdout) == (0, "")
    assert "no bpffs at /proc" in alone.stderr and "going on with a private map" in alone.stderr


def test_reader_in_go_with_cilium_sees_the_same(bpffs, writer, targets):
    if "context-reader" in targets:
        pytest.skip(f"context-reader: {targets['context-reader']}")
    reader = harness.TARGETS / "context-reader"
    bpffs.create()
    idle = writer(span="c" * 16)
    burning = {span: writer(TRACE, span, "burn") for span in ("a" * 16, "b" * 16)}
    check_samples(run(reader, READER_OBJECT, bpffs.pin, 3), burning, idle)


def test_tools_that_start_together_share_one_map(bpffs):
    if not C_READER.exists():
        pytest.skip(f"{C_READER} was not built")
    environment = {**os.environ, "OTEL_EBPF_BPF_FS_PATH": str(bpffs.root)}
    readers = [subprocess.Popen([C_READER, "1"], env=environment, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [reader.communicate(timeout=30)[1] for reader in readers]
    assert errors == [""] * 4
    assert [reader.returncode for reader in readers] == [0] * 4
