# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""What the kernel holds for the agent, as bpftool shows it: independent of what the agent says of itself."""

import contextlib
import json
import pathlib
import re
import shutil
import subprocess

import pytest

from harness import enum_values

BPF_STATS = pathlib.Path("/proc/sys/kernel/bpf_stats_enabled")


def bpftool(*args):
    program = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin:/sbin")
    if program is None:
        pytest.skip("bpftool is missing")
    done = subprocess.run([program, "-j", *map(str, args)], capture_output=True, text=True, timeout=30)
    return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else []


def held(pid, kind):
    """Ids of the objects (`prog`, `map`, `link`) that a process holds by file descriptor."""
    ids = set()
    for entry in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            ids.update(int(number) for number in re.findall(rf"^{kind}_id:\s*(\d+)$", entry.read_text(), re.M))
    return ids


def programs(pid):
    """Uprobe programs that a process holds."""
    ids = held(pid, "prog")
    return [item for item in bpftool("prog", "show") if item["id"] in ids and item["type"] == "kprobe"]


def exists(program_ids):
    present = {item["id"] for item in bpftool("prog", "show")}
    return sorted(present & set(program_ids))


def counters(pid):
    """The agent's oe_stats, summed over CPUs, by name."""
    ids = held(pid, "map")
    (stats,) = [item for item in bpftool("map", "show") if item["id"] in ids and item.get("name") == "oe_stats"]
    names = enum_values("oe_stat")
    totals = {}
    for entry in bpftool("map", "dump", "id", stats["id"]):
        totals[names[little_endian(entry["key"])]] = sum(little_endian(cpu["value"]) for cpu in entry["values"])
    return totals


def little_endian(hex_bytes):
    return int.from_bytes(bytes(int(byte, 16) for byte in hex_bytes), "little")


@contextlib.contextmanager
def run_counts():
    """Counts runs of BPF programs meanwhile."""
    before = BPF_STATS.read_text()
    BPF_STATS.write_text("1")
    try:
        yield
    finally:
        BPF_STATS.write_text(before)
