# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""What the kernel holds for the agent, as bpftool shows it: independent of what the agent says of itself."""

import contextlib
import json
import pathlib
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


def owned_by(pid, objects):
    return [item for item in objects if any(owner["pid"] == pid for owner in item.get("pids", []))]


def programs(pid):
    """Uprobe programs that a process holds."""
    return [item for item in owned_by(pid, bpftool("prog", "show")) if item["type"] == "kprobe"]


def exists(program_ids):
    present = {item["id"] for item in bpftool("prog", "show")}
    return sorted(present & set(program_ids))


def counters(pid):
    """The agent's oe_stats, summed over CPUs, by name."""
    (stats,) = [item for item in owned_by(pid, bpftool("map", "show")) if item["name"] == "oe_stats"]
    names = enum_values("oe_stat")
    totals = {}
    for entry in bpftool("map", "dump", "id", stats["id"]):
        key = int.from_bytes(bytes(int(byte, 16) for byte in entry["key"]), "little")
        totals[names[key]] = sum(
            int.from_bytes(bytes(int(byte, 16) for byte in cpu["value"]), "little") for cpu in entry["values"]
        )
    return totals


@contextlib.contextmanager
def run_counts():
    """Counts runs of BPF programs meanwhile."""
    before = BPF_STATS.read_text()
    BPF_STATS.write_text("1")
    try:
        yield
    finally:
        BPF_STATS.write_text(before)
