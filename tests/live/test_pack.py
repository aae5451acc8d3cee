# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""The ledger probe pack in two tools: the agent, beside net/http, and settle-watch with a BPF program of its own."""

import os
import pathlib
import re
import subprocess

import pytest

import harness

SETTLE_WATCH = harness.BUILD / "bin" / "settle-watch"
SHOP_SOURCE = harness.ROOT / "examples/shop"
PACK = harness.ROOT / "examples/packs/ledger"
ERROR = 2  # OTLP status code


@pytest.fixture(scope="module", params=["shop", "shop-stripped"])
def shop_binary(request):
    """The shop, with and without symbols and DWARF."""
    binary = harness.TARGETS / request.param
    harness.TARGETS.mkdir(parents=True, exist_ok=True)
    flags = ["-ldflags=-s -w"] if request.param.endswith("stripped") else []
    done = subprocess.run(
        [harness.ROOT / "scripts/go.sh", "build", "-buildvcs=false", *flags, "-o", binary, "."],
        cwd=SHOP_SOURCE, env={**os.environ, "CGO_ENABLED": "0"}, capture_output=True, text=True,
    )
    if done.returncode == 127:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return binary


class Service:
    def __init__(self, binary, name, *args):
        self.process = subprocess.Popen(
            [binary, name, *args], stdout=subprocess.PIPE, text=True, env={**os.environ, "OTEL_SERVICE_NAME": name}
        )
        self.pid = self.process.pid
        self.url = "http://" + self.process.stdout.readline().removeprefix("listening ").strip()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Shop:
    def __init__(self, binary):
        self.binary = binary
        self.bank = Service(binary, "bank")
        self.store = Service(binary, "store", "-bank", self.bank.url)

    def sell(self, count, in_flight, item, account="alice"):
        """Sends requests, each with a trace of its own."""
        load = ["load", "-n", str(count), "-c", str(in_flight), "-item", item, "-account", account, self.store.url]
        done = subprocess.run([self.binary, *load], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stdout.startswith(f"{count} requests"), done.stdout + done.stderr


@pytest.fixture
def shop(shop_binary):
    started = Shop(shop_binary)
    yield started
    started.store.end()
    started.bank.end()


@pytest.fixture
def trace(shop, attach):
    """The agent on both services."""
    return attach("--pid", shop.store.pid, "--pid", shop.bank.pid)


class SettleWatch:
    def __init__(self, pid, seconds):
        self.process = subprocess.Popen(
            [SETTLE_WATCH, str(pid), str(seconds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = self.process.stderr.readline()
        assert line.startswith("attached"), line + self.process.stderr.read()

    def finish(self):
        self.text, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, errors
        rows = re.findall(r"^(\w+) +(\d+) +(\d+) +[\d.]+ +[\d.]+ ", self.text, re.M)
        calls = {account: 0 for account, _, _ in rows}
        for account, count, _ in rows:
            calls[account] += int(count)
        total, lost = map(int, re.search(r"^(\d+) calls, (\d+) lost$", self.text, re.M).groups())
        assert (total, lost) == (sum(calls.values()), 0), self.text
        return calls

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def settle_watch(privileged):
    if not SETTLE_WATCH.exists():
        pytest.skip(f"{SETTLE_WATCH} was not built")
    started = []

    def start(*args):
        started.append(SettleWatch(*args))
        return started[-1]

    yield start
    for tool in started:
        tool.kill()


def traces_of(spans):
    traces = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    return traces


def the(spans, service, name):
    found = [span for span in spans if (span.resource["service.name"], span.name) == (service, name)]
    assert len(found) == 1, f"{len(found)} spans '{name}' of {service} in {spans}"
    return found[0]


def assert_inside(child, parent):
    assert (child.trace_id, child.parent_id) == (parent.trace_id, parent.span_id), f"{child} is not in {parent}"
    # Both clocks are converted by the same rule, in batches that may be a few microseconds apart.
    assert parent.start - 10_000 <= child.start and child.end <= parent.end + 10_000, f"{child} sticks out of {parent}"


def assert_sales(spans, count, has_dwarf):
    """Each sale: three requests, and a settlement in two of them."""
    traces = traces_of(spans)
    assert (len(traces), len(spans)) == (count, 5 * count)
    for sale in traces.values():
        checkout, payment = the(sale, "store", "POST /checkout/{item}"), the(sale, "bank", "POST /pay")
        assert checkout.parent_id == payment.parent_id == the(sale, "bank", "GET /price/{item}").parent_id
        for service, request, book in (("store", checkout, "sales"), ("bank", payment, "bank")):
            settle = the(sale, service, "settle")
            assert_inside(settle, request)
            assert (settle.kind, settle.scope, settle.status) == (1, "example.com/ledger", 0)
            assert (settle["ledger.account"], settle["ledger.amount"]) == ("alice", 4900)
            assert settle["ledger.book"] == (book if has_dwarf else None)


def test_settlements_are_children_of_their_request(shop, trace):
    shop.sell(2_000, in_flight=100, item="lamp")
    spans = trace.stop()
    assert_sales(spans, 2_000, has_dwarf="stripped" not in shop.binary.name)
    trace.assert_no_loss()


def test_calls_within_calls(shop, trace):
    """The bank settles a sofa in two halves."""
    shop.sell(200, in_flight=20, item="sofa")
    traces = traces_of(trace.stop())
    assert len(traces) == 200
    for sale in traces.values():
        at_bank = [span for span in sale if (span.resource["service.name"], span.name) == ("bank", "settle")]
        whole = [span for span in at_bank if span["ledger.amount"] == 160_000]
        halves = [span for span in at_bank if span["ledger.amount"] == 80_000]
        assert (len(at_bank), len(whole), len(halves)) == (3, 1, 2)
        assert_inside(whole[0], the(sale, "bank", "POST /pay"))
        for half in halves:
            assert_inside(half, whole[0])
    trace.assert_no_loss()


def test_an_error_is_the_status(shop, trace):
    shop.sell(100, in_flight=10, item="book", account="mallory")
    spans = trace.stop()
    settled = [span for span in spans if span.name == "settle"]
    assert len(settled) == 100, "one at the bank for each request, none in the store"
    assert all(span.status == ERROR for span in settled)
    failed = [span["http.response.status_code"] for span in spans if span.kind == 2 and span.status == ERROR]
    assert sorted(failed) == [502] * 100 + [503] * 100
    trace.assert_no_loss()


def test_a_text_that_does_not_fit_is_cut_and_marked(shop, trace):
    shop.sell(1, in_flight=1, item="book", account="x" * 40)
    cut = [span for span in trace.stop() if span.name == "settle"]
    assert [span["ledger.account"] for span in cut] == ["x" * 32] * 2
    assert all(span["otel_ebpf.truncated"] for span in cut)


def test_the_second_tool_counts_every_call(shop, settle_watch):
    tool = settle_watch(shop.bank.pid, 3)
    for account, count in (("alice", 700), ("bob", 300), ("mallory", 50)):
        shop.sell(count, in_flight=50, item="book", account=account)
    assert tool.finish() == {"alice": 700, "bob": 300, "mallory": 50}
    waits, preempted = map(int, re.findall(r"(\d+) times", tool.text)[-2:])
    assert waits > 0, "its own BPF program counts too"


def test_both_tools_at_once(shop, trace, settle_watch):
    tool = settle_watch(shop.bank.pid, 3)
    shop.sell(1_000, in_flight=50, item="lamp")
    assert tool.finish() == {"alice": 1_000}
    assert_sales(trace.stop(), 1_000, has_dwarf="stripped" not in shop.binary.name)
    trace.assert_no_loss()


def test_the_second_tool_says_what_is_wrong(settle_watch):
    for argument, code, message in (("0", 2, "usage:"), ("4194305", 1, "no such process"), ("1", 1, "settle-watch: ")):
        done = subprocess.run([SETTLE_WATCH, argument], capture_output=True, text=True, timeout=30)
        assert (done.returncode, message in done.stderr, done.stdout) == (code, True, ""), done


def test_every_site_of_the_pack_is_emulated(agent_binary, shop_binary):
    rows = [row for row in harness.Plan(shop_binary).rows if row["probe"] == "ledger"]
    assert [row["program"] for row in rows] == ["ledger_start"] + 4 * ["ledger_end"], "the end: after each call"
    assert {row["cost"] for row in rows} == {"emulated"}


def test_both_tools_include_the_same_files():
    """Neither has a copy of the pack, and the pack knows public headers only."""
    pack_files = {PACK / "ledger.bpf.h", PACK / "ledger.programs.h"}
    for depfile in ("agent/agent_skel/agent", "02-settle-watch/settle_watch_skel/settle_watch"):
        path = harness.BUILD / "examples" / f"{depfile}.tmp.bpf.o.d"
        if not path.exists():
            pytest.skip(f"{path} is missing: the tools were not built")
        included = {pathlib.Path(word) for word in path.read_text().split() if word.endswith(".h")}
        assert {file for file in included if file.name.startswith("ledger")} == pack_files
    for file in sorted(pack_files | {PACK / "ledger.hpp"}):
        text = file.read_text()
        assert "detail" not in text, file
        assert not re.search(r"\b__oe_", text), file
    main = (harness.ROOT / "examples/02-settle-watch/main.cpp").read_text()
    assert len(main.splitlines()) < 100 and "detail" not in main
