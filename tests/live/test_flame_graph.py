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
from xml.etree import ElementTree

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


@pytest.fixture
def drawn(tmp_path):
    """A flame graph that needs no privileges: see make_flame_graph.cpp."""
    program = harness.BUILD / "bin" / "make_flame_graph"
    if not program.exists():
        pytest.skip(f"{program} was not built")
    subprocess.run([program, tmp_path / "drawn.svg"], check=True)
    return tmp_path / "drawn.svg"


@pytest.fixture
def browser(tmp_path):
    if chromium.CHROMIUM is None:
        pytest.skip("no Chromium: install the package chromium")
    with chromium.Browser(tmp_path / "chromium") as running:
        yield running


def test_hostile_names_are_text(drawn, browser):
    texts = [text.text or "" for text in ElementTree.parse(drawn).iter("{http://www.w3.org/2000/svg}text")]
    page = browser.open(drawn)
    assert "deep & <hostile>" in texts and page.run("document.title") != "owned"
    assert 'sh<o>p & "co" (7)' in texts and 'GET /"<a>"' in texts
    assert page.run("document.querySelectorAll('script').length") == 1
    # Two boxes whose name has what a title has: they keep it when the script writes names anew.
    page.click(".none rect")
    shown = page.run("[...document.querySelectorAll('.f text')].map(text => text.textContent)")
    assert "\ufffd" * 4 + ", 9 samples, 1 ms, 2.00 %" in shown, shown
    assert page.errors() == []


def test_names_stay_inside_their_boxes(drawn, browser):
    page = browser.open(drawn)
    too_wide = """[...document.querySelectorAll('.f')].filter(g => g.style.display !== 'none' &&
      g.querySelector('text').getBBox().width > g.querySelector('rect').getBBox().width - 4 &&
      g.querySelector('text').textContent).map(g => g.textContent)"""
    assert page.run(too_wide) == []
    page.click(".none rect")
    assert page.run(too_wide) == []


def test_stack_that_is_higher_than_the_window(drawn, browser, shots):
    page = browser.open(drawn, width=1200, height=600, dark=True)
    assert page.run("document.querySelector('.f text').getBoundingClientRect().height") > 10, "shrunk to fit"
    page.key(*["ArrowDown"] * 100)
    name, bottom = page.run("""(() => { const g = document.activeElement;
      return [g.querySelector('text').textContent, g.getBoundingClientRect().bottom]; })()""")
    details = page.run("""(() => { const text = document.getElementById('details'), box = text.getBoundingClientRect();
      return [text.textContent, box.top, box.bottom]; })()""")
    page.screenshot(shots / "flame-deep.png")
    assert name == "main.deep97" and details[0] == "main.deep97, 500 samples, 5.00 s, 50.00 %"
    assert 0 < bottom <= details[1] < details[2] <= 600, "the chosen box or its details can't be seen"
    hidden = "getComputedStyle(document.getElementById('reset')).visibility"
    assert page.run(hidden) == "hidden"
    page.key("Enter")
    assert page.run(hidden) == "visible"
    page.click("#reset")
    assert page.run(hidden) == "hidden" and page.run("scrollY") == 0
    assert page.errors() == []


@pytest.mark.parametrize("dark", [False, True])
def test_colours_are_readable(drawn, browser, dark):
    """WCAG 2.2, 1.4.3: text and what is behind it differ by 4.5 to 1, also where they are dimmed or found."""
    page = browser.open(drawn, dark=dark)
    page.key("ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "Enter", "/")
    page.type("e")
    assert page.run("document.querySelectorAll('.above').length") > 2
    colours = page.run("""[...document.querySelectorAll('.f')].map(g => {
      const fill = name => getComputedStyle(g.querySelector(name)).fill;
      return [g.getAttribute('class'), fill('text'), fill('rect'), getComputedStyle(g).opacity,
        getComputedStyle(document.documentElement).backgroundColor]; })""")
    shown = {}
    for name, *values, opacity, behind in colours:
        under = rgb(behind)
        text, box = ([float(opacity) * c + (1 - float(opacity)) * u for c, u in zip(rgb(v), under)] for v in values)
        light, dim = sorted((luminance(text), luminance(box)), reverse=True)
        shown[name] = (light + 0.05) / (dim + 0.05)
    for kind in ("all", "process", "span", "none", "kernel", "runtime", "user", "match", "above"):
        assert any(kind in name.split() for name in shown), kind
    assert {name: ratio for name, ratio in shown.items() if ratio < 4.5} == {}
    assert luminance(rgb(colours[0][-1])) < 0.02 if dark else luminance(rgb(colours[0][-1])) > 0.8


def rgb(colour):
    return [int(part) for part in re.findall(r"\d+", colour)[:3]]


def luminance(colour):
    parts = [part / 255 for part in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


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
