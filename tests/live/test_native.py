# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Threads and tasks: exact spans on the two C++ servers, and the context of every thread that a sampler interrupts."""

import collections
import concurrent.futures
import json
import random
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest

import harness

SERVERS = {"pool": "thread-pool-server", "coro": "coroutine-server"}
SAMPLED, UNSAMPLED = "01", "00"
INTERNAL, SERVER = 1, 2  # OTLP kinds

Stretch = collections.namedtuple("Stretch", "what tid begin end")


class Request:
    """A request that was answered: what it was sent with, and what the server says it worked on, and where."""

    def __init__(self, url, path, flags, number):
        ids = random.Random(number)
        self.path = path
        self.flags = flags
        self.trace_id = f"{ids.getrandbits(128) | 1:032x}"
        self.parent_id = f"{ids.getrandbits(64) | 1:016x}"
        headers = {"traceparent": f"00-{self.trace_id}-{self.parent_id}-{flags}"}
        try:
            with urllib.request.urlopen(urllib.request.Request(url + path, headers=headers), timeout=20) as response:
                self.status, text = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            self.status, text = error.code, error.read().decode()
        self.stretches = [
            Stretch(what, int(tid), int(begin), int(end)) for what, tid, begin, end in map(str.split, text.splitlines())
        ]


class NativeServer:
    def __init__(self, kind, path=None, threads=4):
        self.path = path or harness.BUILD / "bin" / SERVERS[kind]
        self.process = subprocess.Popen([self.path, str(threads)], stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self.url = "http://" + self.process.stdout.readline().removeprefix("listening ").strip()

    def load(self, paths, count, in_flight=12, flags=(SAMPLED,)):
        """`count` requests of all paths in turn, each with a trace of its own."""
        def send(number):
            return Request(self.url, paths[number % len(paths)], flags[number // len(paths) % len(flags)], number)

        with concurrent.futures.ThreadPoolExecutor(in_flight) as clients:
            return list(clients.map(send, range(count)))

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Tool:
    """native-watch or thread_contexts, attached."""

    def __init__(self, folder, *command):
        self.folder = folder
        self.process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.said = []
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if line.split(" ")[0].rstrip() == "attached" and "_Z" not in line:
                break
        else:
            self.kill()
            raise AssertionError("it did not attach:\n" + "\n".join(self.said))

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.said += self.process.communicate(timeout=20)[0].splitlines()
        assert self.process.returncode == 0, self.said
        self.spans = harness.parse_spans((self.folder / "spans.jsonl").read_bytes())
        return self.spans

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def serve_native():
    started = []

    def start(kind, **kwargs):
        if not (harness.BUILD / "bin" / SERVERS[kind]).exists():
            pytest.skip(f"{SERVERS[kind]} was not built")
        started.append(NativeServer(kind, **kwargs))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def run_tool(privileged, tmp_path):
    started = []

    def start(name, *args):
        binary = harness.BUILD / "bin" / name
        if not binary.exists():
            pytest.skip(f"{binary} was not built")
        started.append(Tool(tmp_path, binary, *args))
        return started[-1]

    yield start
    for tool in started:
        tool.kill()


@pytest.fixture
def watch(run_tool, tmp_path):
    return lambda server: run_tool("native-watch", server.pid, tmp_path / "spans.jsonl")


@pytest.fixture
def sample(run_tool, tmp_path):
    return lambda server, publication: run_tool("thread_contexts", server.pid, publication, tmp_path)


def by_trace(spans):
    traces = collections.defaultdict(list)
    for span in spans:
        traces[span.trace_id].append(span)
    return traces


def server_span(request, spans):
    """The one span of the request itself, which continues the client's trace."""
    found = [span for span in spans if span.kind == SERVER]
    assert len(found) == 1, f"{request.path}: {spans}"
    assert (found[0].trace_id, found[0].parent_id) == (request.trace_id, request.parent_id)
    assert found[0].name == f"GET {request.path}"
    assert found[0]["http.response.status_code"] == request.status
    return found[0]


def children(spans, parent):
    return [span for span in spans if span.parent_id == parent.span_id]


def test_thread_pool_spans_are_exact(serve_native, watch):
    server = serve_native("pool")
    tool = watch(server)
    paths = ["/checkout", "/search", "/declined", "/broken", "/nowhere"]
    requests = server.load(paths, 400)
    spans = tool.stop()
    traces = by_trace(spans)
    assert [request.status for request in requests[:5]] == [200, 200, 402, 500, 404]
    assert len(traces) == len(requests)
    assert len(spans) == 400 + 3 * 80  # charge is called by three of five
    for request in requests:
        whole = server_span(request, traces[request.trace_id])
        charges = children(traces[request.trace_id], whole)
        if request.path in ("/search", "/nowhere"):
            assert not charges
            continue
        (charge,) = charges
        assert (charge.name, charge.kind) == ("charge", INTERNAL)
        assert charge["shop.amount"] == {"/checkout": 4900, "/declined": 49000, "/broken": 4900000}[request.path]
        assert charge["shop.accepted"] == (request.path == "/checkout")
        assert (charge["otel_ebpf.abandoned"] is True) == (request.path == "/broken")  # it threw: its end is not seen
        assert whole.start - 10_000 <= charge.start and charge.end <= whole.end + 10_000
        assert whole.status == (2 if request.path == "/broken" else 0)
    assert f"{len(spans)} spans, 0 lost, 0 unfinished" in tool.said
    assert "abandoned 80" in tool.said
    resource = spans[0].resource
    assert resource["telemetry.sdk.language"] == "cpp" and "process.runtime.name" not in resource


def test_coroutine_spans_are_exact(serve_native, watch):
    server = serve_native("coro")
    tool = watch(server)
    requests = server.load(["/checkout", "/search"], 300)
    time.sleep(0.5)  # audits go on after the response
    spans = tool.stop()
    traces = by_trace(spans)
    assert len(traces) == len(requests)
    hopped = 0
    for request in requests:
        whole = server_span(request, traces[request.trace_id])
        hopped += len({stretch.tid for stretch in request.stretches}) > 1
        payments = children(traces[request.trace_id], whole)
        if request.path == "/search":
            assert not payments
            continue
        (payment,) = payments
        (audit,) = children(traces[request.trace_id], payment)  # a task of its own, made inside the payment
        assert (payment.name, audit.name) == ("payment", "audit")
        assert payment.end - payment.start > 5_000_000  # the bank took 3 ms of it, off any thread
        assert audit.end > payment.end
    assert len(spans) == 300 + 2 * 150
    assert hopped > 100, "the test must see tasks that change threads"
    assert f"{len(spans)} spans, 0 lost, 0 unfinished" in tool.said
    assert not [line for line in tool.said if re.match("task_unknown|orphan_end|abandoned", line)]


class Contexts:
    """Every sample that fell into a stretch of work, against the request that the server worked on."""

    def __init__(self, tool, requests):
        self.samples = [json.loads(line) for line in (tool.folder / "samples.jsonl").read_text().splitlines()]
        self.stats = json.loads((tool.folder / "stats.json").read_text())
        assert self.stats["samples_lost"] == 0
        assert len({request.trace_id for request in requests}) == len(requests)
        work = collections.defaultdict(list)
        for request in requests:
            for stretch in request.stretches:
                work[stretch.tid].append((stretch, request))
        for stretches in work.values():
            stretches.sort(key=lambda item: item[0].begin)
        self.inside, self.outside = [], []
        for item in self.samples:
            found = [(s, r) for s, r in work.get(item["tid"], []) if s.begin <= item["time"] <= s.end]
            assert len(found) < 2, found
            if found:
                self.inside.append((item, *found[0]))
            else:
                self.outside.append((item, self.neighbours(work.get(item["tid"], []), item["time"])))

    @staticmethod
    def neighbours(work, at):
        """Traces of the work of a thread before and after a moment: what it may be busy with in between."""
        before = [request.trace_id for stretch, request in work if stretch.end < at][-1:]
        after = [request.trace_id for stretch, request in work if stretch.begin > at][:1]
        return before + after


def span_at(stretch, whole, spans):
    """The span that a stretch of work belongs to: a nested one for those that have one, else the request's."""
    nested = [span for span in spans if span.name == stretch.what]
    return nested[0] if nested else whole


@pytest.mark.parametrize("publication", ["jit", "eager"])
@pytest.mark.parametrize("kind", SERVERS)
def test_every_sample_has_the_context_of_the_request_that_its_thread_works_on(serve_native, sample, kind, publication):
    server = serve_native(kind)
    tool = sample(server, publication)
    requests = server.load(["/checkout", "/search"], 600, flags=(SAMPLED, SAMPLED, UNSAMPLED))
    time.sleep(0.3)  # idle
    traces = by_trace(tool.stop())
    contexts = Contexts(tool, requests)
    seen = collections.Counter()
    for item, stretch, request in contexts.inside:
        spans = traces[request.trace_id]
        expected = [request.trace_id, span_at(stretch, server_span(request, spans), spans).span_id]
        if request.flags == UNSAMPLED:
            expected = None
        assert item["entry"] == expected, f"traces_ctx_v1 in {stretch} of {request.path}: {item}"
        assert item["current"] == expected, f"oe_thread_current() in {stretch} of {request.path}: {item}"
        seen[stretch.what, request.flags] += 1
    assert all(seen[what, SAMPLED] > 100 for what in ("checkout", "search")), seen
    assert seen["charge" if kind == "pool" else "payment", SAMPLED] > 50 and seen["checkout", UNSAMPLED] > 30, seen

    # Between stretches: nothing, or a span of what came before or after; or the audit, which has no stretch.
    audits = {span.span_id for span in sum(traces.values(), []) if span.name == "audit"}
    for item, neighbours in contexts.outside:
        for context in (item["entry"], item["current"]):
            assert context is None or context[0] in neighbours or context[1] in audits, (item, neighbours)
    assert contexts.stats["entries_left"] == 0, "idle threads have entries"
    assert contexts.stats["dropped"] == 0 and contexts.stats["unfinished"] == 0


def test_no_context_while_the_task_of_a_thread_is_unknown(serve_native, sample):
    """Attached under load: tasks under way are unknown, and stay without a context; no thread has another one's."""
    server = serve_native("coro")
    with concurrent.futures.ThreadPoolExecutor(1) as background:
        load = background.submit(server.load, ["/checkout", "/search"], 1500, 16)
        time.sleep(0.5)
        tool = sample(server, "eager")
        requests = load.result()
    time.sleep(0.2)
    traces = by_trace(tool.stop())
    contexts = Contexts(tool, requests)
    without = 0
    roots = {}  # a payment whose request began before the tool came is a root of its own: of one request only
    for item, stretch, request in contexts.inside:
        for context in (item["entry"], item["current"]):
            if context is not None and context[0] != request.trace_id:
                assert stretch.what == "payment" and roots.setdefault(context[0], request) == request, (
                    f"{stretch} of {request.path}: {item}"
                )
        known = any(span.kind == SERVER for span in traces[request.trace_id])
        if known:
            assert item["entry"] is not None or item["time"] < min(s.begin for s in request.stretches), item
        without += item["entry"] is None
    assert 0 < without < len(contexts.inside) / 4, f"{without} of {len(contexts.inside)}"
    assert not roots.keys() & {request.trace_id for request in requests}
    assert contexts.stats["entries_left"] == 0


def test_a_process_that_is_killed_at_work_leaves_nothing_behind(serve_native, sample):
    server = serve_native("pool")
    tool = sample(server, "eager")
    with concurrent.futures.ThreadPoolExecutor(1) as background:
        load = background.submit(server.load, ["/checkout"], 4000, 8)
        time.sleep(0.5)
        server.process.kill()
        server.process.wait()
        assert load.exception() is not None  # it was at work
    time.sleep(0.2)
    tool.stop()
    samples = [json.loads(line) for line in (tool.folder / "samples.jsonl").read_text().splitlines()]
    assert sum(item["entry"] is not None for item in samples) > 100
    assert json.loads((tool.folder / "stats.json").read_text())["entries_left"] == 0


def test_another_process_of_the_file_is_no_target(serve_native, watch):
    target, other = serve_native("pool"), serve_native("pool")
    tool = watch(target)
    other.load(["/checkout"], 40)
    requests = target.load(["/search"], 20)
    spans = tool.stop()
    assert {span.trace_id for span in spans} == {request.trace_id for request in requests}
    assert len(spans) == 20


POOL = harness.ROOT / "examples/05-thread-pool"
COMPILERS = {
    "gcc-O0": ["g++", "-O0"],
    "gcc-O2-cet": ["g++", "-O2", "-fcf-protection=full"],
    "gcc-O3-no-pie": ["g++", "-O3", "-no-pie"],
    "gcc-O2-lto-static": ["g++", "-O2", "-flto=1", "-static"],
    "gcc-Os": ["g++", "-Os"],
    "clang-O2": ["clang++", "-O2", "-Wno-unknown-attributes"],
}


def build_pool(folder, command):
    binary = folder / "thread-pool-server"
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    source = [POOL / "server.cpp", "-o", binary]
    done = subprocess.run([*command, "-std=c++20", "-pthread", "-I", POOL, *source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return binary


@pytest.mark.parametrize("command", COMPILERS.values(), ids=COMPILERS)
def test_whatever_the_compiler_makes_of_it(serve_native, watch, tmp_path, command):
    server = serve_native("pool", path=build_pool(tmp_path, command))
    tool = watch(server)
    requests = server.load(["/checkout", "/search", "/declined", "/broken"], 80)
    spans = tool.stop()
    traces = by_trace(spans)
    for request in requests:
        whole = server_span(request, traces[request.trace_id])
        charges = children(traces[request.trace_id], whole)
        assert len(charges) == (request.path != "/search")
        for charge in charges:
            assert charge["shop.accepted"] == (request.path == "/checkout")
            assert (charge["otel_ebpf.abandoned"] is True) == (request.path == "/broken")
    assert len(spans) == 80 + 60 and f"{len(spans)} spans, 0 lost, 0 unfinished" in tool.said


def refusal(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    return done.stderr


def test_a_stripped_program_is_refused_with_the_reason(privileged, serve_native, tmp_path):
    stripped = build_pool(tmp_path, ["g++", "-O1", "-s"])
    server = serve_native("pool", path=stripped)
    said = refusal(harness.BUILD / "bin/native-watch", server.pid)
    assert "no such function" in said and "stripped" in said, said


def test_a_program_without_the_functions_is_refused_by_name(privileged, targets):
    with subprocess.Popen([harness.TARGETS / "bad-not-go"], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        said = refusal(harness.BUILD / "bin/native-watch", process.pid)
        process.kill()
    assert "no Probe fits" in said and "_ZN4pool5serve" in said, said


def test_a_go_tool_refuses_a_native_program_as_before(privileged, serve_native):
    said = refusal(harness.AGENT, "--pid", serve_native("pool").pid)
    assert "not a Go program" in said, said
