# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Servers, the agent and the load client as objects, and the comparison of spans with what the client saw."""

import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("OTEL_EBPF_BUILD", ROOT / "build"))
TARGETS = pathlib.Path(os.environ.get("OTEL_EBPF_TEST_TARGETS", BUILD / "targets"))
AGENT = BUILD / "bin" / "otel-ebpf-trace"
CLIENT = TARGETS / "client"

RELEASES = ["go1.19", "go1.24", "go1.26", "go1.27"]
BUILDS = [release + suffix for release in RELEASES for suffix in ("", "-stripped")]
OLDEST_AND_NEWEST = ["go1.19", "go1.27-stripped"]
SEVERAL = ["go1.19", "go1.24", "go1.27-stripped"]

# Each of these is a span or a part of it that went missing.
LOSSES = [
    "ringbuf_full",
    "store_full",
    "depth_exceeded",
    "orphan_end",
    "read_fault",
    "processes_full",
]


def wait_until(condition, what, seconds=10.0):
    """Polls until condition() is true; fails with `what` otherwise."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {what}")


def enum_values(name):
    """Enumerators of an enum of types.h, in order, lower case and without their common prefix."""
    text = (ROOT / "bpf_include/otel_ebpf/types.h").read_text()
    body = re.sub(r"/\*.*?\*/", "", re.search(rf"enum {name} {{(.*?)}};", text, re.S).group(1), flags=re.S)
    prefix = name.upper() + "_"
    return [item.strip().removeprefix(prefix).lower() for item in body.split(",") if item.strip()]


class Server:
    """A running tests/targets/server, or another program there that says where it listens."""

    def __init__(self, build, *args, program="server", env=None, prefix=()):
        self.build = build
        self.path = TARGETS / f"{program}-{build}"
        self.tls = "--tls" in args
        self.process = subprocess.Popen(
            [*prefix, self.path, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        line = self.process.stdout.readline()
        if not line.startswith("listening "):
            raise AssertionError(f"{self.path.name} {' '.join(args)} did not listen: {self.process.stderr.read()}")
        self.port = int(line.split()[1])
        self.pid = self.process.pid

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def has_routes(self):
        return int(re.match(r"go1\.(\d+)", self.build).group(1)) >= 23  # http.Request.Pattern

    def get(self, path):
        """The body of a response: a request of its own."""
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return response.read().decode().strip()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


class Rows(list):
    """What the client saw, one dict per request."""

    def answered(self):
        return [row for row in self if row["status"] != 0]


class Load:
    """The load client, running."""

    def __init__(self, folder, server, *args, targets=("/",)):
        self.out = folder / f"rows-{server.pid}-{time.monotonic_ns()}.jsonl"
        command = [CLIENT, "-out", self.out, *args, server.url, *targets]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def finish(self, interrupt=False, timeout=120):
        if interrupt:
            self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, f"client: {errors.decode()}"
        with open(self.out, encoding="utf-8") as file:
            rows = Rows(json.loads(line) for line in file)
        self.out.unlink()
        return rows


class Span:
    """One span of an OTLP/JSON export."""

    def __init__(self, resource, scope, data):
        self.resource = resource
        self.scope = scope
        self.name = data["name"]
        self.kind = data["kind"]
        self.trace_id = data["traceId"]
        self.span_id = data["spanId"]
        self.parent_id = data.get("parentSpanId", "")
        self.flags = data.get("flags", 0)
        self.start = int(data["startTimeUnixNano"])
        self.end = int(data["endTimeUnixNano"])
        self.status = data.get("status", {}).get("code", 0)
        self.attributes = attributes(data)

    def __getitem__(self, key):
        return self.attributes.get(key)

    @property
    def pid(self):
        return self.resource["process.pid"]

    @property
    def request(self):
        """The client's sequence number, or None."""
        found = re.search(r"(?:^|&)r=(\d+)(?:&|$)", self["url.query"] or "")
        return int(found.group(1)) if found else None

    def __repr__(self):
        return f"<{self.name} {self.trace_id}/{self.span_id} parent {self.parent_id or '-'} {self.attributes}>"


def attributes(holder):
    def plain(value):
        ((kind, content),) = value.items()
        return int(content) if kind == "intValue" else content

    return {item["key"]: plain(item["value"]) for item in holder.get("attributes", [])}


def parse_spans(text):
    """Spans of OTLP/JSON lines: bytes that must be valid UTF-8."""
    spans = []
    for line in text.decode("utf-8").splitlines():
        for resource_spans in json.loads(line)["resourceSpans"]:
            resource = attributes(resource_spans["resource"])
            for scope_spans in resource_spans["scopeSpans"]:
                scope = scope_spans.get("scope", {}).get("name", "")
                spans += [Span(resource, scope, data) for data in scope_spans["spans"]]
    return spans


class Agent:
    """The agent, attached: every target of `args` when the constructor returns."""

    def __init__(self, folder, *args, program=AGENT, output="jsonl", prefix=(), env=None, stdout=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.spans_file = folder / "spans.jsonl"
        self.stats_file = folder / "stats.json"
        for stale in (self.spans_file, self.stats_file):
            stale.unlink(missing_ok=True)
        if output == "jsonl":
            output = f"jsonl:{self.spans_file}"
        self.errors = []
        self.is_attached = threading.Event()
        self.process = subprocess.Popen(
            [*prefix, program, *map(str, args), "--output", output, "--stats", self.stats_file],
            stdout=stdout or subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self._read_errors, daemon=True)
        self.reader.start()
        self.is_attached.wait(30)
        if "attached" not in (line.split(" ")[0].rstrip(":") for line in self.errors):
            self.kill()
            raise AssertionError(f"the agent did not attach:\n{self.log}")

    def _read_errors(self):
        for line in self.process.stderr:
            self.errors.append(line.decode("utf-8", "replace").rstrip("\n"))
            if line.startswith(b"attached"):
                self.is_attached.set()
        self.is_attached.set()

    @property
    def log(self):
        return "\n".join(self.errors)

    def wait(self, timeout=15):
        """The agent ends by itself."""
        code = self.process.wait(timeout)
        self.reader.join()
        self.process.stderr.close()
        assert code == 0, f"the agent ended with code {code}:\n{self.log}"
        self.stats = json.loads(self.stats_file.read_text())
        failed = [row for row in self.stats["report"] if row.get("state") == "failed"]
        assert not failed, f"report rows that failed: {failed}"

    def stop(self):
        """Interrupts the agent and returns the spans it wrote."""
        self.process.send_signal(signal.SIGINT)
        self.wait()
        return parse_spans(self.spans_file.read_bytes()) if self.spans_file.exists() else []

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()

    def counter(self, name):
        return self.stats["counters"][name]

    def assert_no_loss(self):
        lost = {name: self.counter(name) for name in LOSSES if self.counter(name) != 0}
        assert not lost, f"loss counters are not zero: {lost}"


def assert_matches(spans, rows, path=None):
    """One span for each row and no other; trace, parent and path are those of the row. Returns (span, row) pairs."""
    by_request = {}
    for span in spans:
        by_request.setdefault(span.request, []).append(span)
    expected = {row["seq"]: row for row in rows}
    assert len(expected) == len(rows), "rows of one client run only: sequence numbers repeat"
    missing = [row for seq, row in expected.items() if seq not in by_request]
    doubled = [found for found in by_request.values() if len(found) > 1]
    foreign = [span for span in spans if span.request not in expected]
    assert (len(missing), len(doubled), len(foreign)) == (0, 0, 0), (
        f"{len(rows)} requests gave {len(spans)} spans: {len(missing)} missing, {len(doubled)} doubled, "
        f"{len(foreign)} of no request; first: missing {missing[:1]}, doubled {doubled[:1]}, foreign {foreign[:1]}"
    )
    pairs = [(by_request[seq][0], row) for seq, row in expected.items()]
    roots = set()
    for span, row in pairs:
        assert span.kind == 2, f"not a server span: {span}"
        if row["trace_id"]:
            assert (span.trace_id, span.parent_id) == (row["trace_id"], row["parent_id"]), f"{span} for {row}"
        else:
            assert span.parent_id in ("", "0" * 16), f"a new root was expected: {span} for {row}"
            assert span.trace_id not in row["traceparent"], f"an invalid traceparent was used: {span} for {row}"
            assert int(span.trace_id, 16) != 0, f"zero trace id: {span}"
            roots.add(span.trace_id)
        assert int(span.span_id, 16) != 0, f"zero span id: {span}"
        assert path is None or span["url.path"] == path, f"{span} for {row}"
    assert len(roots) == sum(not row["trace_id"] for row in rows), "roots share trace ids"
    assert len({span.span_id for span in spans}) == len(spans), "span ids repeat"
    return pairs


def all_answered(rows):
    unanswered = [row for row in rows if row["status"] == 0]
    assert not unanswered, f"{len(unanswered)} of {len(rows)} requests had no response, the first: {unanswered[0]}"
    return rows


class Plan:
    """`--plan` of an executable."""

    def __init__(self, path, *args, program=AGENT):
        self.path = path
        self.program = program
        self.text = self._run("--plan", "--exe", path, *args)
        self.json = json.loads(self._run("--plan", "--format", "json", "--exe", path, *args))

    def _run(self, *args):
        done = subprocess.run([self.program, *map(str, args)], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"{args}: code {done.returncode}\n{done.stderr}"
        return done.stdout

    @property
    def rows(self):
        return [row for row in self.json["rows"] if row["attach"]]

    def sites(self, pid):
        """(symbol, bytes in the file, bytes in the memory of a process) at each site; position-dependent files."""
        found = []
        with open(self.path, "rb") as file, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for row in self.rows:
                file.seek(row["file_offset"])
                memory.seek(row["vaddr"])
                found.append((row["symbol"], file.read(8), memory.read(8)))
        return found


BREAKPOINT = 0xCC


def breakpoints(plan, pid):
    return [symbol for symbol, _, memory in plan.sites(pid) if memory[0] == BREAKPOINT]


def assert_untouched(plan, pid):
    """Every site of a process holds the bytes of the file again. Uprobes go away after an RCU grace period."""
    wait_until(lambda: not breakpoints(plan, pid), "breakpoints are removed")
    different = [site for site in plan.sites(pid) if site[1] != site[2]]
    assert not different, f"memory differs from the file: {different}"
