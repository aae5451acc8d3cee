# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""What a benchmark runs (server, load, agents) and reads (CPU time, memory, BPF statistics)."""

import json
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time

BENCH = pathlib.Path(__file__).resolve().parent
BPF_STATS = pathlib.Path("/proc/sys/kernel/bpf_stats_enabled")


class Failed(Exception):
    """A step of the benchmark did not work; the text says what to do."""


def cpu_ns(pid):
    """CPU time of all threads of a process, also those that have ended.

    This is the process's CPU clock as clock_getcpuclockid(3) makes it: the sum of what /proc/PID/task/*/schedstat
    count for the live threads, and what the kernel keeps of the others.
    """
    cpuclock_sched = 2
    return time.clock_gettime_ns((~pid << 3) | cpuclock_sched)


def memory_mb(pid):
    """Resident memory of a process, now and at its peak, in MB."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return {
        "rss_mb": int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024,
        "peak_mb": int(re.search(r"VmHWM:\s+(\d+)", text).group(1)) / 1024,
    }


def bpf_programs(pid):
    """{name: (run_cnt, run_time_ns)} of the BPF programs that a process holds or has linked, while bpf_stats are on."""
    held = set()
    for descriptor in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        held.update(int(number) for number in re.findall(r"^prog_id:\s+(\d+)$", descriptor.read_text(), re.M))
    listed = subprocess.run(["bpftool", "prog", "show", "-j"], capture_output=True, text=True, check=False)
    return {
        program.get("name", str(program["id"])): (program["run_cnt"], program["run_time_ns"])
        for program in json.loads(listed.stdout or "[]")
        if program["id"] in held and "run_cnt" in program
    }


class BpfStats:
    """Switches kernel.bpf_stats_enabled on for a `with` block; it costs each hit of a program some tens of ns."""

    def __enter__(self):
        self.before = BPF_STATS.read_text()
        BPF_STATS.write_text("1")

    def __exit__(self, *unused):
        BPF_STATS.write_text(self.before)


class Process:
    """A child whose standard error is kept."""

    def __init__(self, command, **options):
        self.lines = []
        self.arrived = threading.Condition()
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace", **options)
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self.arrived:
                self.lines.append((time.monotonic(), line.rstrip()))
                self.arrived.notify_all()
        with self.arrived:
            self.lines.append((time.monotonic(), None))
            self.arrived.notify_all()

    def wait_for_line(self, prefix, seconds):
        """Seconds from the start to the first line with the prefix."""
        deadline = time.monotonic() + seconds
        seen = 0
        with self.arrived:
            while time.monotonic() < deadline:
                for at, line in self.lines[seen:]:
                    if line is None:
                        raise Failed(f"ended without a line '{prefix}': {self.errors()}")
                    if line.startswith(prefix):
                        return at - self.started_at
                seen = len(self.lines)
                self.arrived.wait(max(0.0, deadline - time.monotonic()))
        raise Failed(f"no line '{prefix}' within {seconds} s: {self.errors()}")

    def errors(self):
        return " / ".join([line for _, line in self.lines if line][-3:]) or "nothing on standard error"

    def interrupt(self, seconds=20):
        """Sends SIGINT; seconds until the process has ended."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"still there {seconds} s after SIGINT") from None
        return time.monotonic() - begin

    def close(self):
        """Ends the process if it is still there."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


class Server(Process):
    def __init__(self, binary):
        super().__init__([str(binary)], stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        if not line.startswith("listening "):
            raise Failed(f"{binary} does not listen: {self.errors()}")
        self.url = f"http://127.0.0.1:{int(line.split()[1])}/hello/42"


def build_server(go, release, folder):
    """bench/server made by a Go release ("1.24.9")."""
    binary = folder / f"server-go{release}"
    built = subprocess.run(
        ["env", f"GOTOOLCHAIN=go{release}", "CGO_ENABLED=0", go, "build", "-buildvcs=false", "-o", str(binary), "."],
        cwd=BENCH / "server", capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise Failed(built.stderr.strip().splitlines()[-1])
    return binary


def run_load(url, seconds, connections, threads):
    """What wrk measured in `seconds`: requests, seconds, p50_us, p99_us."""
    done = subprocess.run(
        ["wrk", f"-c{connections}", f"-t{threads}", f"-d{seconds}s", "-s", str(BENCH / "report.lua"), url],
        capture_output=True, text=True, check=False)
    result = next((json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")), None)
    if result is None or result["requests"] == 0:
        raise Failed(f"wrk {url}: {(done.stderr or done.stdout).strip()[-200:]}")
    if result["errors"]:
        raise Failed(f"wrk {url}: {result['errors']} of {result['requests']} requests failed")
    return result


class Mode:
    """One way to watch the server, or none: a row of the table."""

    def __init__(self, name):
        self.name = name

    def start(self, server):
        """A running, attached Process; None for no agent."""
        return None

    def finish(self, process, row):
        """Stops the Process and adds what it tells of itself to the row."""


class Agent(Mode):
    """otel-ebpf-trace with some options."""

    def __init__(self, name, binary, options):
        super().__init__(name)
        self.binary = binary
        self.options = options

    def start(self, server):
        self.stats = tempfile.NamedTemporaryFile(suffix=".json")
        process = Process([str(self.binary), "--pid", str(server.pid), "--stats", self.stats.name, *self.options],
                          stdout=subprocess.DEVNULL)
        try:
            self.attached_s = process.wait_for_line("attached", 20)
        except Failed:
            process.close()
            raise
        return process

    def finish(self, process, row):
        row["stop_wall_ms"] = process.interrupt() * 1e3
        row["start_wall_ms"] = self.attached_s * 1e3
        with self.stats:
            stats = json.load(self.stats)
        for step, ms in stats["times_ms"].items():
            row[f"{step}_ms"] = ms
        row["spans"] = stats["spans"]
        row["dropped"] = stats["dropped"]
        row["bytes_per_span"] = stats["bytes_per_span"]
        row["publication"] = stats["targets"][0]["publication"]


class Peer(Mode):
    """Another agent: a command line with {pid}. When it is ready nothing says, so it gets some seconds."""

    def __init__(self, name, command, seconds):
        super().__init__(name)
        self.command = command
        self.seconds = seconds

    def missing(self):
        """The program that is not there, or None."""
        program = next((word for word in shlex.split(self.command) if "=" not in word), "")
        return None if shutil.which(program) else program or "a command"

    def start(self, server):
        process = Process(["env", *shlex.split(self.command.replace("{pid}", str(server.pid)))],
                          stdout=subprocess.DEVNULL)
        time.sleep(self.seconds)
        if process.process.poll() is not None:
            process.close()
            raise Failed(f"ended with code {process.process.returncode}: {process.errors()}")
        return process

    def finish(self, process, row):
        row["stop_wall_ms"] = process.interrupt() * 1e3


def measure(mode, server, load):
    """One round of one mode: a row of numbers. `load` runs the requests and returns what wrk measured."""
    process = mode.start(server)
    try:
        server_begin = cpu_ns(server.pid)
        agent_begin = cpu_ns(process.pid) if process else 0
        row = load()
        row["rps"] = row["requests"] / row["seconds"]
        row["server_us"] = (cpu_ns(server.pid) - server_begin) / row["requests"] / 1e3
        if process:
            time.sleep(0.2)  # the agent reads on a timer
            row["agent_us"] = (cpu_ns(process.pid) - agent_begin) / row["requests"] / 1e3
            row.update(memory_mb(process.pid))
            row["programs"] = bpf_programs(process.pid)
            mode.finish(process, row)
    finally:
        if process:
            process.close()
    return row
