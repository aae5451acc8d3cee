# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Samples of a profiler that knows the shared map only, and which context each has to carry by its stack.

Nothing here uses the library's own symbols or addresses, save where the agent's plan says that its sites are.
"""

import bisect
import collections
import json
import os
import pathlib
import signal
import subprocess
import tempfile

from harness import BUILD, TARGETS, Plan, wait_until

READER = BUILD / "bin" / "context_reader"
BURNER_AGENT = BUILD / "bin" / "burner-agent"
BURN = "/burn?server=6000&nested=6000&child=2000&children=2"  # microseconds of CPU: 16 ms a request

INTERNAL, SERVER = 1, 2  # OTLP span kinds
TOLERANCE_NS = 1_000_000  # clocks are converted in batches


def options_for(build):
    """Before Go 1.21 a goroutine does not know its parent, so its creation has to be hooked."""
    return ["--set", "goroutines.creation_hook=true"] if build.startswith("go1.19") else []


class Sample:
    def __init__(self, data):
        self.time_ns = data["time"]
        self.tgid = data["tgid"]
        self.tid = data["tid"]
        self.trace_id = data["trace_id"]
        self.span_id = data["span_id"]
        self.stack = data["stack"]


class Recording:
    """What context_reader printed: samples, and (time, keys) of the map every 10 ms."""

    def __init__(self, output):
        lines = [json.loads(line) for line in output.splitlines()]
        assert lines[-1]["lost"] == 0, f"the reader lost {lines[-1]['lost']} samples"
        self.unix_offset_ns = lines[0]["unix"] - lines[0]["ready"]
        self.samples = [Sample(line) for line in lines if "time" in line]
        self.dumps = [(line["dump"], set(line["keys"])) for line in lines if "dump" in line]


class Reader:
    """A running context_reader. Its map is opened once, when it starts."""

    def __init__(self, bpffs, *servers, hz=97):
        self.output = tempfile.TemporaryFile()  # a pipe that is full would hold the dumps up
        self.process = subprocess.Popen(
            [READER, bpffs, str(hz), "0", *(str(server.pid) for server in servers)],
            stdout=self.output, stderr=subprocess.PIPE,
        )
        wrote = lambda: os.fstat(self.output.fileno()).st_size > 0
        wait_until(lambda: wrote() or self.process.poll() is not None, "the reader samples")
        assert self.process.poll() is None, self.process.stderr.read().decode()

    def finish(self):
        """Ends sampling and gives the Recording."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, errors.decode()
        with self.output:
            self.output.seek(0)
            return Recording(self.output.read())

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.output.close()


class Text:
    """Functions of a burner by address: by the symbols of the plain twin, which has them at the same addresses."""

    def __init__(self, build):
        self.path = TARGETS / f"burner-{build}"
        plain = TARGETS / f"burner-{build.removesuffix('-stripped')}"
        listed = subprocess.run(["nm", "-n", plain], capture_output=True, text=True, check=True).stdout
        symbols = [line.split(" ", 2) for line in listed.splitlines() if line[17:18] in ("T", "t")]
        self.addresses = [int(address, 16) for address, _, _ in symbols]
        self.names = [name for _, _, name in symbols]
        (plain_address, plain_text), (address, text) = text_of(plain), text_of(self.path)
        # Data is elsewhere, so some operands differ; were the code moved, most bytes would.
        different = sum(a != b for a, b in zip(plain_text, text))
        assert (plain_address, len(plain_text)) == (address, len(text)) and different < 0.02 * len(text), (
            f"{self.path.name} has its functions at other addresses than {plain.name}"
        )

    def name(self, address):
        position = bisect.bisect_right(self.addresses, address) - 1
        return self.names[position] if position >= 0 else ""

    def functions(self, stack):
        """Innermost first. All but the first are return addresses, which may be past the end of the caller."""
        return [self.name(ip if i == 0 else ip - 1) for i, ip in enumerate(stack)]


def text_of(path):
    """(address, bytes) of .text."""
    listed = subprocess.run(["readelf", "-SW", path], capture_output=True, text=True, check=True).stdout
    (row,) = (line.split("]", 1)[1].split() for line in listed.splitlines() if " .text " in line)
    address, offset, size = (int(text, 16) for text in row[2:5])
    return address, pathlib.Path(path).read_bytes()[offset:offset + size]


# What a sample has to carry.
NESTED, PARENT, NONE = "nested", "server", "none"
APART = "apart"          # between a function's entry and its site, and where a span ends
ELSEWHERE = "elsewhere"  # the stack does not tell: a context there has to be that of a live span

BY_FUNCTION = {
    "main.burnNested": NESTED,
    "main.workDone": APART,
    "main.keep": APART,
    "main.burnServer": PARENT,
    "main.burn": PARENT,
    "main.leave": PARENT,
    "main.burnChild": PARENT,
    "main.child": APART,
    "main.burnLeft": NONE,
    "main.burnOutside": NONE,
    "main.background": NONE,
}


class Judge:
    """Knows what each sample of one server has to carry: by its stack, the client's rows and the exported spans."""

    def __init__(self, build, pid, rows, spans, plan_rows):
        self.text = Text(build)
        self.sites = {row["symbol"]: row["vaddr"] for row in plan_rows if row["attach"]}
        self.pid = pid
        self.rows = {row["trace_id"]: row for row in rows}
        # Of a trace there is one span of each kind.
        self.spans = {(span.trace_id, span.kind): span for span in spans if span.pid == pid}
        self.ids = {span.span_id: span for span in spans}
        self.offset = 0

    @classmethod
    def of(cls, server, rows, spans):
        return cls(server.build, server.pid, rows, spans, Plan(server.path, program=BURNER_AGENT).rows)

    def beyond(self, symbol, ip):
        # At the site, or in the trap there: the instruction is 1 byte for as long as a breakpoint is on it.
        return ip > self.sites[symbol] + 1

    def expected(self, stack):
        functions = self.text.functions(stack)
        for i, name in enumerate(functions):
            if name.startswith(("runtime.sigtramp", "runtime.sigreturn")):
                return ELSEWHERE  # what the signal interrupted has no frame of its own
            if i == 0 and name.startswith(("runtime.asyncPreempt", "runtime.morestack")):
                return ELSEWHERE  # has no frame of its own, so the function that it was called from is missed
            if name == "runtime.mcall" or name.startswith("runtime.mstart"):
                return ELSEWHERE  # behind is the goroutine that is leaving, or the one that made the thread
            if name in BY_FUNCTION:
                return BY_FUNCTION[name]
            grows = i > 0 and functions[i - 1].startswith("runtime.morestack")
            if name == "main.work" or name.startswith("main.leave.func"):
                return APART
            if name == "net/http.serverHandler.ServeHTTP":
                return APART if grows or i == 0 and not self.beyond(name, stack[0]) else PARENT
            if name == "net/http.(*response).finishRequest":
                return APART if grows or i == 0 and not self.beyond(name, stack[0]) else NONE
            if name == "net/http.(*conn).readRequest":
                return NONE
            if name == "runtime.schedule" and i > 0 and "runtime.execute" not in functions[:i]:
                return NONE
        return ELSEWHERE

    def is_in_flight(self, sample):
        row = self.rows.get(sample.trace_id)
        at = sample.time_ns + self.offset
        return row is not None and row["start_unix_ns"] - TOLERANCE_NS <= at <= row["end_unix_ns"] + TOLERANCE_NS

    def is_context_of(self, sample, span):
        at = sample.time_ns + self.offset
        return (
            span is not None
            and (span.trace_id, span.span_id) == (sample.trace_id, sample.span_id)
            and span.start - TOLERANCE_NS <= at <= span.end + TOLERANCE_NS
        )

    def verdict(self, sample):
        """(what it had to carry, "right", "missing", "wrong" or, where nothing is expected, "apart")."""
        expected = self.expected(sample.stack)
        if expected == APART or expected == ELSEWHERE:
            # Whatever it carries must be a live span's. One ends when its trap begins, in which the thread may be kept
            # waiting: there, the request has yet to end.
            span = self.ids.get(sample.span_id)
            if expected == APART and span is not None and span.trace_id == sample.trace_id:
                live = self.is_in_flight(sample)
            else:
                live = sample.span_id is None or self.is_context_of(sample, span)
            return expected, APART if live else "wrong"
        if expected == NONE:
            return expected, "right" if sample.span_id is None else "wrong"
        if sample.span_id is None:
            return expected, "missing"
        span = self.spans.get((sample.trace_id, INTERNAL if expected == NESTED else SERVER))
        return expected, "right" if self.is_in_flight(sample) and self.is_context_of(sample, span) else "wrong"

    def judge(self, recording, begin_ns=0, end_ns=1 << 63):
        """The samples of this server that were taken between two times of time.monotonic_ns()."""
        self.offset = recording.unix_offset_ns
        own = (sample for sample in recording.samples if sample.tgid == self.pid)
        return Judgement(self, [sample for sample in own if begin_ns <= sample.time_ns < end_ns])


class Judgement:
    def __init__(self, judge, samples):
        self.judge = judge
        self.counts = collections.Counter()
        self.by_function = collections.Counter()
        self.bad = []
        for sample in samples:
            expected, verdict = judge.verdict(sample)
            self.counts[expected, verdict] += 1
            self.by_function[self.function(sample), verdict] += 1
            if verdict in ("wrong", "missing"):
                self.bad.append((expected, verdict, sample))

    def function(self, sample):
        """The function of the burner that the sample is in."""
        functions = self.judge.text.functions(sample.stack)
        return next((name for name in functions if name.startswith("main.burn")), functions[0] if functions else "")

    def total(self, verdict, *expected):
        return sum(self.counts[one, verdict] for one in expected or {key[0] for key in self.counts})

    @property
    def inside(self):
        return sum(self.total(verdict, NESTED, PARENT) for verdict in ("right", "missing", "wrong"))

    @property
    def share_right(self):
        return self.total("right", NESTED, PARENT) / max(1, self.inside)

    def __repr__(self):
        lines = [f"{self.inside} samples inside spans, {100 * self.share_right:.2f} % right"]
        lines += [f"  {expected:9} {verdict:7} {count}" for (expected, verdict), count in sorted(self.counts.items())]
        for expected, verdict, sample in self.bad[:5]:
            span = self.judge.ids.get(sample.span_id)
            at = sample.time_ns + self.judge.offset
            where = f", {(at - span.start) / 1e6:.3f} ms in, {(span.end - at) / 1e6:.3f} ms to go" if span else ""
            stack = " < ".join(self.judge.text.functions(sample.stack)[:8])
            lines.append(f"  {verdict}: had to be {expected}, is {span}{where}; {stack}")
        return "\n".join(lines)

    def assert_right(self, least, share=0.995, apart=0.02):
        """Enough samples in every kind of span, almost all with a context, none with a wrong one."""
        assert self.total("wrong") == 0, self
        assert self.inside >= least, self
        assert self.share_right >= share, self
        assert self.total(APART, APART) <= max(5, apart * self.inside), self
        for function in ("main.burnNested", "main.burnServer", "main.burnChild"):
            assert self.by_function[function, "right"] >= least / 10, f"{function}: {self}"
        assert self.total("right", NONE) > 0, f"none outside of spans: {self}"

    def assert_no_context(self, least):
        """Samples where spans were, but not published."""
        assert self.inside >= least, self
        assert self.total("missing", NESTED, PARENT) == self.inside, self
        assert self.total("wrong") == 0, self


def keys_in_two_dumps(dumps, *pids):
    """Keys of these processes that are in a dump and in the next one that is not close behind it: after a late dump the
    reader catches up, and one interrupt may be in both."""
    both = set()
    for i, (at, keys) in enumerate(dumps):
        if keys:
            both |= keys & next((later for later_at, later in dumps[i + 1:] if later_at - at > 5_000_000), set())
    return {key for key in both if key >> 32 in pids}


def publication_of(agent, server):
    """(mode, why it is another than was asked for) of a target, by the agent's report."""
    (row,) = (row for row in agent.stats["targets"] if row["pid"] == server.pid)
    return row["publication"], row["publication_reason"]


def published_counts(agent, server):
    (counts,) = (row for row in agent.stats["publication"]["targets"] if row["pid"] == server.pid)
    return counts


def runtime_rows(agent):
    """Symbols of Go's runtime at which the agent attached something."""
    return {
        row["symbol"] for row in agent.stats["report"]
        if row["state"] == "attached" and row["symbol"].startswith("runtime.")
    }


class Map:
    """The shared map, through its pin and bpftool: what any other tool can do."""

    def __init__(self, bpffs):
        self.path = bpffs / "otel" / "traces_ctx_v1"

    def entries(self, pid):
        """{tid: value} of one process."""
        done = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", self.path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        found = {}
        for entry in json.loads(done.stdout):
            key = int.from_bytes(bytes(int(byte, 16) for byte in entry["key"]), "little")
            if key >> 32 == pid:
                found[key & 0xFFFFFFFF] = bytes(int(byte, 16) for byte in entry["value"])
        return found

    def write(self, pid, tid, value):
        key = (pid << 32 | tid).to_bytes(8, "little")
        words = ["key", "hex", *key.hex(" ").split(), "value", "hex", *value.hex(" ").split()]
        subprocess.run(["bpftool", "map", "update", "pinned", self.path, *words], check=True, capture_output=True)
