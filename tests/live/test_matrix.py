# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Every Go release in every way of building: spans, their parents, goroutine ids, hits and their cost, a row per cell.

A cell passes, or is refused for a reason that docs/limits.md lists. The table is in test-results/matrix.txt.
OTEL_EBPF_ALL_GO=1 takes the first and the last patch of each release in all variants.
"""

import json
import os
import re
import socket
import subprocess

import pytest

import kernel_view
from harness import AGENT, BUILD, ROOT, TARGETS, Plan, Server, all_answered, assert_matches

SCRIPT = ROOT / "scripts/build-matrix.sh"
OPTIONS = ["--all-go"] if os.environ.get("OTEL_EBPF_ALL_GO") == "1" else []
CELLS = subprocess.run([SCRIPT, *OPTIONS, "--list"], capture_output=True, text=True, check=True).stdout.split()
MATRIX = TARGETS / "matrix"
GOID_READER = BUILD / "bin/goid_reader"

NOT_GO = "not a Go program (no Go build information)"
# What a variant may be refused with. All others have to pass.
REFUSED = {"packed": NOT_GO}
REQUESTS = 1000
SERIAL_REQUESTS = 200
BURN_MS = 150

COLUMNS = ["release", "variant", "spans", "parents", "goid", "goid sampled", "in C", "TLS offset", "hits/request",
           "cost", "result"]


def variants_of(*names):
    return [cell for cell in CELLS if cell.split("-", 1)[1] in names]


@pytest.fixture(scope="module")
def unbuilt(request, targets):
    """Builds the cells that were chosen; gives the reason for each one that can't be had."""
    chosen = {item.callspec.params.get("cell") for item in request.session.items if hasattr(item, "callspec")}
    done = subprocess.run([SCRIPT, MATRIX, *(cell for cell in CELLS if cell in chosen)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(re.findall(r"^SKIPPED: build (\S+): (.*)$", done.stdout, re.M))


@pytest.fixture(scope="module")
def table(request):
    """Rows of the cells that were tested; printed and written at the end."""
    rows = []
    yield rows
    widths = [max([len(name)] + [len(str(row.get(name, ""))) for row in rows]) for name in COLUMNS]
    lines = ["  ".join(str(row.get(name, "")).ljust(width) for name, width in zip(COLUMNS, widths)).rstrip()
             for row in [{name: name for name in COLUMNS}, *rows]]
    results = [row["result"].split(":")[0] for row in rows]
    lines.append(f"{len(rows)} cells: " + ", ".join(f"{results.count(name)} {name}" for name in sorted(set(results))))
    folder = BUILD / "test-results"
    folder.mkdir(exist_ok=True)
    (folder / "matrix.txt").write_text("\n".join(lines) + "\n")
    request.config.get_terminal_writer().write("\n" + "\n".join(lines) + "\n")


@pytest.fixture
def row(request, table):
    """The row of a cell: failed unless the test says otherwise."""
    cell = request.node.callspec.params["cell"]
    release, variant = cell.split("-", 1)
    made = {"release": release, "variant": variant, "result": "FAILED"}
    table.append(made)
    return made


@pytest.fixture
def start(unbuilt):
    """start(CELL, flags...): its server, which ends with the test."""
    started = []

    def run(cell, *args, program="matrix/server"):
        started.append(Server(cell, *args, program=program))
        return started[-1]

    yield run
    for server in started:
        server.kill()


@pytest.fixture
def read_goids():
    """read_goids(PID, library...): a reader whose finish() gives what it counted."""
    if not GOID_READER.exists():
        pytest.skip(f"{GOID_READER} was not built")
    started = []

    def run(*args):
        process = subprocess.Popen([GOID_READER, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "ready\n", process.stderr.read()

        def finish():
            output, errors = process.communicate(timeout=30)
            assert process.returncode == 0, errors
            return json.loads(output)

        return finish

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def skip_unbuilt(cell, unbuilt, row):
    if cell in unbuilt:
        row["result"] = f"skipped: {unbuilt[cell]}"
        pytest.skip(unbuilt[cell])


def assert_goids(goids, row, has_c):
    """Every id that was read is the one that the program told, in each context."""
    def share(*contexts):
        counts = [goids[context] for context in contexts]
        right = sum(count["right"] for count in counts)
        return f"{right}/{right + sum(count['none'] + count['wrong'] for count in counts)}"

    row["goid"] = share("register", "uprobe", "tracepoint")
    row["goid sampled"] = share("sample")
    row["in C"] = share("sample_c") if has_c else ""
    row["TLS offset"] = goids["tls_g_offset"]
    for context in ("register", "uprobe", "tracepoint"):
        assert (goids[context]["right"], goids[context]["none"], goids[context]["wrong"]) == (REQUESTS, 0, 0), goids
    for context in ("sample", "sample_c") if has_c else ("sample",):
        counts = goids[context]
        assert counts["wrong"] == 0, goids
        # A thread that was preempted runs no goroutine for a moment.
        assert counts["right"] >= 10 and counts["none"] * 10 <= counts["right"], goids


def hits_of(agent, server):
    """Hits of SERIAL_REQUESTS on one connection that is idle at both snapshots."""
    def snapshot():
        runs = sum(item.get("run_cnt", 0) for item in kernel_view.programs(agent.pid))
        return runs - kernel_view.counters(agent.pid)["stack_check"]

    with socket.create_connection(("127.0.0.1", server.port)) as client:
        answers = client.makefile("rb")

        def ask(path):
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            while answers.readline() != b"\r\n":
                pass
            answers.read(2)

        ask("/?warm")
        before = snapshot()
        for i in range(SERIAL_REQUESTS):
            ask(f"/?serial={i}")
        return snapshot() - before


def assert_refused(pid, reason):
    """The agent refuses that process for a reason that the documentation lists."""
    done = subprocess.run([AGENT, "--pid", str(pid)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=30)
    assert done.returncode != 0, done.stderr
    assert reason in done.stderr, done.stderr
    assert reason in (ROOT / "docs/limits.md").read_text(), f"docs/limits.md does not list: {reason}"
    return reason


@pytest.mark.parametrize("cell", variants_of("c-shared"))
def test_library(cell, row, unbuilt, start, load, read_goids):
    """A C program with Go code in a library gives no spans and says so; where its threads keep g is known."""
    skip_unbuilt(cell, unbuilt, row)
    library = MATRIX / f"server-{cell}"
    server = start(cell, library, program="matrix/shared_host")
    finish_goids = read_goids(server.pid, library)
    all_answered(load(server, "-n", REQUESTS, targets=["/tell"]))
    server.get(f"/burn?ms={BURN_MS}")
    assert_goids(finish_goids(), row, has_c=True)
    row["result"] = f"refused: {assert_refused(server.pid, NOT_GO)}"


@pytest.mark.parametrize("cell", variants_of("vendored", "replaced", "replaced-by-folder"))
def test_http2_of_another_module(cell, unbuilt, start, attach, load):
    """golang.org/x/net serves HTTP/2, from wherever the build took it."""
    if cell in unbuilt:
        pytest.skip(unbuilt[cell])
    server = start(cell, "--tls")
    agent = attach(server)
    rows = all_answered(load(server, "-n", REQUESTS, "-proto", "h2", "-traceparent", "valid,none"))
    for span, _ in assert_matches(agent.stop(), rows, path="/"):
        assert span["http.response.status_code"] == 200, span
    agent.assert_no_loss()


@pytest.mark.parametrize("cell", [cell for cell in CELLS if not cell.endswith("-c-shared")])
def test_cell(cell, row, unbuilt, start, attach, load, read_goids):
    skip_unbuilt(cell, unbuilt, row)
    server = start(cell)
    refusal = refusal_of(server.path)
    if refusal:
        assert row["variant"] in REFUSED, refusal
        row["result"] = f"refused: {assert_refused(server.pid, REFUSED[row['variant']])}"
        return
    plan = [line for line in Plan(server.path).text.splitlines() if "per request h1" in line]
    costs = [re.match(r" *per request \S+(?: \S+)? +(\w+)", line).group(1) for line in plan]
    row["cost"] = ", ".join(f"{costs.count(cost)} {cost}" for cost in sorted(set(costs)))
    with kernel_view.run_counts():
        agent = attach(server)
        finish_goids = read_goids(server.pid)
        rows = all_answered(load(server, "-n", REQUESTS, "-traceparent", "valid,none", targets=["/tell"]))
        server.get(f"/burn?ms={BURN_MS}")
        goids = finish_goids()
        hits = hits_of(agent, server)
    spans = agent.stop()
    of_load = [span for span in spans if span["url.path"] == "/tell"]
    row["spans"] = f"{len(of_load)}/{REQUESTS}"
    sent = {sent_row["seq"]: sent_row for sent_row in rows if sent_row["trace_id"]}
    right = sum(1 for span in of_load if span.request in sent and
                (span.trace_id, span.parent_id) ==
                (sent[span.request]["trace_id"], sent[span.request]["parent_id"]))
    row["parents"] = f"{right}/{len(sent)}"
    row["hits/request"] = f"{hits / SERIAL_REQUESTS:g}"

    assert_matches(of_load, rows, path="/tell")
    assert len(spans) == REQUESTS + 1 + 1 + SERIAL_REQUESTS
    agent.assert_no_loss()
    assert_goids(goids, row, has_c="cgo" in row["variant"] or row["variant"] in ("race", "boringcrypto"))
    assert hits == len(plan) * SERIAL_REQUESTS
    # Start, end, and since Go 1.22 the route.
    assert len(plan) == (2 if re.match(r"go1\.(19|20|21)\b", cell) else 3), plan
    row["result"] = "ok"


def refusal_of(path):
    """Why the agent takes no executable of that path; None when it does."""
    done = subprocess.run([AGENT, "--plan", "--exe", path], capture_output=True, text=True, timeout=30)
    return done.stderr if done.returncode != 0 else None
