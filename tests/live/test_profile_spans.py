# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""otel-ebpf-profile --spans on the shop: what its report holds, and what a browser shows of it."""

import json
import os
import re
import subprocess

import pytest

import browser as chromium
import harness

PROFILER = harness.BUILD / "bin" / "otel-ebpf-profile"


@pytest.fixture(scope="module")
def shop_binary():
    binary = harness.TARGETS / "shop-profiled"
    harness.TARGETS.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [harness.ROOT / "scripts/go.sh", "build", "-buildvcs=false", "-o", binary, "."],
        cwd=harness.ROOT / "examples/shop", env={**os.environ, "CGO_ENABLED": "0"}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode == 127:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return binary


@pytest.fixture(scope="module", params=["shared", "private"])
def report(request, shop_binary, tmp_path_factory):
    """A report of both services under load; the context map is pinned, or there is no bpffs to pin it in."""
    if os.geteuid() != 0:
        pytest.skip("needs root to attach uprobes and to sample")
    assert PROFILER.exists(), f"{PROFILER} was not built"
    folder = tmp_path_factory.mktemp("profile")
    root, path = folder / "bpffs", folder / "report.html"
    root.mkdir()
    started = []
    if request.param == "shared":
        subprocess.run(["mount", "-t", "bpf", "none", root], check=True)

    def start(*command, stream, ready, **kwargs):
        process = subprocess.Popen(command, text=True, **{stream: subprocess.PIPE}, **kwargs)
        started.append(process)
        for line in getattr(process, stream):
            if line.startswith(ready):
                return process, line.split()
        raise AssertionError(f"{command} did not start")

    def service(name, *args):
        process, line = start(shop_binary, name, *args, stream="stdout", ready="listening",
                              env={**os.environ, "OTEL_SERVICE_NAME": name})  # fmt: skip
        return process.pid, "http://" + line[1]

    try:
        bank, bank_url = service("bank")
        store, store_url = service("store", "-bank", bank_url)
        options = ["--spans", "--hz", "499", "--duration", "0", "--output", f"report.html:{path}"]
        profiler, _ = start(PROFILER, "--bpffs-root", root, "--pid", str(store), "--pid", str(bank), *options,
                            stream="stderr", ready="profiling")  # fmt: skip
        load = [shop_binary, "load", "-n", "64", "-c", "2", "-item", "piano", "-account", "alice", store_url]
        subprocess.run(load, check=True, timeout=120, stdout=subprocess.DEVNULL)
        profiler.terminate()
        errors = profiler.stderr.read()
        assert profiler.wait(30) == 0, errors
        yield path, errors
    finally:
        for process in started:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        if request.param == "shared":
            subprocess.run(["umount", root], check=True)


def data_of(path):
    return json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(), re.S).group(1))


def test_spans_and_samples_meet(report):
    path, errors = report
    data = data_of(path)
    text = data["strings"]
    # A checkout in the store, what it asks of the bank, and the ledger of each: settled in two halves or whole.
    names = [text[name] for name in data["spans"]["name"]]
    assert names.count("POST /checkout/{item}") == names.count("POST /pay") == names.count("GET /price/{item}") == 64
    assert "spans, nothing lost" in errors, errors
    assert (data["lost_samples"], data["lost_spans"], data["samples_dangling"]) == (0, 0, 0)

    functions = [text[name] for name in data["frames"]["function"]]
    tours = ["main.shortestTour" in (functions[frame] for frame in stack) for stack in stacks(data)]
    rows = [row for row in range(len(data["samples"]["node"])) if tours[data["samples"]["node"][row]]]
    count = {}
    for row in rows:
        span = data["samples"]["span"][row]
        name = "" if span < 0 else text[data["spans"]["name"][span]]
        count[name] = count.get(name, 0) + data["samples"]["count"][row]
    assert count.get("POST /checkout/{item}", 0) > 100, count
    assert count["POST /checkout/{item}"] == sum(count.values()), f"samples of the tour in other places: {count}"


def stacks(data):
    """Frames of each node's call path."""
    found = []
    for parent, frame in zip(data["nodes"]["parent"], data["nodes"]["frame"]):
        found.append([*(found[parent] if parent >= 0 else []), frame])
    return [*found, []]


def test_the_slow_function_is_the_widest_in_the_browser(report, tmp_path):
    if chromium.CHROMIUM is None:
        pytest.skip("no Chromium: install the package chromium")
    path, _ = report
    with chromium.Browser(tmp_path) as running:
        page = running.open(path, fragment="#all")
        widths = page.run("""[...document.querySelectorAll('#flame .frame[aria-label^="main."]')]
          .map(frame => [frame.clientWidth, frame.ariaLabel.split(',')[0]]).sort((a, b) => b[0] - a[0])""")
        own = [name for _, name in widths if not name.startswith("main.store.checkout")]
        assert own[0] == "main.shortestTour", widths
        assert widths[0][0] > 0.5 * page.run("document.getElementById('flame').clientWidth"), widths
        assert page.errors() == []


def test_spans_need_a_process(shop_binary):
    done = subprocess.run([PROFILER, "--all", "--spans"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "--spans needs --pid N" in done.stderr, done.stderr
