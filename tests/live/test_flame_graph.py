# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Profiles of a server under load in every form: in `go tool pprof`, in a real browser, and in a real Collector.

Screenshots are left in the folder OTEL_EBPF_SCREENSHOTS, or in pytest's temporary folder.
"""

import gzip
import json
import os
import pathlib
import re
import subprocess

import pytest

import browser as chromium
import harness
from test_collector import collector, collector_binary  # noqa: F401  (fixtures)

PROFILER = harness.BUILD / "bin" / "otel-ebpf-profile"


@pytest.fixture
def recorded(privileged, serve, load, tmp_path):
    """recorded(output...): profiles a server under load, with spans; (server, what the profiler said)."""
    if not PROFILER.exists():
        pytest.skip(f"{PROFILER} was not built")

    def record(*outputs):
        server = serve("go1.26")
        running = load.start(server, "-d", "4s", "-c", 4)
        options = [option for output in outputs for option in ("--output", output)]
        command = [PROFILER, "--pid", str(server.pid), "--spans", "--hz", "499", "--duration", "3", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        running.finish()
        assert done.returncode == 0, done.stderr
        return server, done.stderr

    return record


@pytest.fixture
def shots(tmp_path):
    folder = pathlib.Path(os.environ.get("OTEL_EBPF_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_pprof_shows_functions_and_the_traces_of_samples(recorded, tmp_path):
    server, _ = recorded("pprof:cpu.pb.gz", "otlp:profile.json")
    with gzip.open(tmp_path / "cpu.pb.gz") as file:
        assert len(file.read()) > 1000

    def pprof(*options):
        command = [harness.ROOT / "scripts/go.sh", "tool", "pprof", *options, tmp_path / "cpu.pb.gz"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    tags = pprof("-tags")
    assert re.search(r"^ *trace_id: Total", tags, re.M) and re.search(r"^ *span_id: Total", tags, re.M), tags
    links = json.loads((tmp_path / "profile.json").read_text())["dictionary"]["linkTable"][1:]
    shown = set(re.findall(r"\b[0-9a-f]{32}\b", tags))
    assert shown and shown <= {link["traceId"] for link in links}
    assert "net/http.serverHandler.ServeHTTP" in pprof("-top", "-cum", "-nodecount=200")
    assert str(server.pid) in tags


def test_the_flame_graph_in_a_browser(recorded, tmp_path, shots):
    if chromium.CHROMIUM is None:
        pytest.skip("no Chromium: install the package chromium")
    recorded("flame.svg:flame.svg", "otlp:profile.json")
    with chromium.Browser(tmp_path / "chromium") as browser:
        page = browser.open(tmp_path / "flame.svg")
        page.screenshot(shots / "flame-light.png")
        titles = page.run("[...document.querySelectorAll('.f title')].map(title => title.textContent)")
        total = int(re.match(r"all, (\d+) samples", titles[0]).group(1))
        assert total > 50
        assert any(re.match(r"(GET|HTTP).*, \d+ samples", title) for title in titles)
        assert any(title.startswith("(no span), ") for title in titles)

        def visible():
            return page.run("[...document.querySelectorAll('.f')].filter(g => g.style.display !== 'none').length")

        before = visible()
        page.click(".none rect")  # what is outside of spans
        assert 0 < visible() < before
        assert page.run("document.querySelector('.none rect').getAttribute('width')") == "1200.00"
        page.key("Escape")
        assert visible() == before
        page.key("ArrowDown", "Enter")
        assert page.run("document.querySelector('.process rect').getAttribute('width')") == "1200.00"
        page.key("Escape", "/")
        page.type("net/http")
        matched = page.run("document.querySelectorAll('.match').length")
        found = page.run("document.getElementById('found').textContent")
        share = float(re.search(r"found in ([\d.]+) %", found).group(1))
        assert matched > 0 and 0 < share <= 100
        page.screenshot(shots / "flame-search.png")
        assert page.errors() == []
        dark = browser.open(tmp_path / "flame.svg", dark=True)
        dark.screenshot(shots / "flame-dark.png")
        assert dark.errors() == []


def without_defaults(value):
    """Members with their default are left out or not, as a writer likes; elements of lists stay: their place counts."""
    if isinstance(value, list):
        return [without_defaults(item) for item in value]
    if not isinstance(value, dict):
        return value
    members = {name: without_defaults(member) for name, member in value.items()}
    defaults = (0, "", "0", [], {}, None, "0" * 32, "0" * 16)
    return {name: member for name, member in members.items() if member not in defaults}


def with_resource_texts(request):
    """The Collector moves keys and texts of resources to the end of the string table: here they are where they were."""
    strings = request["dictionary"]["stringTable"]
    moved = set()

    def text(index):
        moved.add(index)
        return strings[index]

    for resource in request["resourceProfiles"]:
        for attribute in resource["resource"]["attributes"]:
            if "keyStrindex" in attribute:
                attribute["key"] = text(attribute.pop("keyStrindex"))
            if "stringValueStrindex" in attribute["value"]:
                attribute["value"]["stringValue"] = text(attribute["value"].pop("stringValueStrindex"))
    while len(strings) - 1 in moved:
        strings.pop()
    return request


def test_a_collector_takes_the_profile_and_writes_what_we_write(recorded, collector, tmp_path):  # noqa: F811
    recorded("otlp:profile.pb", "folded:stacks")  # protobuf: what is sent
    _, said = recorded(f"otlp:{collector.url}")
    theirs = collector.stop().decode().strip()
    assert theirs, (said, collector.log.read_text())
    request = with_resource_texts(without_defaults(json.loads(theirs.splitlines()[0])))
    dictionary = request["dictionary"]
    assert any(link for link in dictionary["linkTable"])
    (resource,) = request["resourceProfiles"]
    attributes = harness.attributes(resource["resource"])
    assert attributes["process.runtime.name"] == "go"
    (profile,) = resource["scopeProfiles"][0]["profiles"]
    functions = {dictionary["stringTable"][entry["nameStrindex"]] for entry in dictionary["functionTable"] if entry}
    assert "net/http.serverHandler.ServeHTTP" in functions
    linked = [sample for sample in profile["samples"] if sample.get("linkIndex")]
    assert linked and all(len(sample["timestampsUnixNano"]) >= 1 for sample in profile["samples"])


def test_the_collectors_file_is_the_json_that_we_write(collector, tmp_path):  # noqa: F811
    program = harness.BUILD / "bin" / "post_profile"
    if not program.exists():
        pytest.skip(f"{program} was not built")
    done = subprocess.run([program, collector.url, tmp_path / "ours"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    ours = without_defaults(json.loads((tmp_path / "ours").read_text()))
    theirs = with_resource_texts(without_defaults(json.loads(collector.stop().decode())))
    for request in (ours, theirs):
        for resource in request["resourceProfiles"]:
            for scope in resource["scopeProfiles"]:
                for profile in scope["profiles"]:
                    profile.pop("profileId")  # random, and of another encoding
    assert ours == theirs


def test_a_server_that_is_not_there_is_an_error(privileged, serve, tmp_path):
    server = serve("go1.26")
    done = subprocess.run(
        [PROFILER, "--all", "--duration", "1", "--output", "otlp:http://127.0.0.1:9"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert server.pid and done.returncode == 5
    assert "send a profile of" in done.stderr and "127.0.0.1:9" in done.stderr
