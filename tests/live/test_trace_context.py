# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""traceparent: continued when valid, ignored when not, wherever it stands in the header."""

import pytest

from harness import BUILDS, OLDEST_AND_NEWEST, SEVERAL, all_answered, assert_matches

VALID = ["valid", "unsampled", "future"]
INVALID = ["none", "malformed", "uppercase", "ff", "zero", "zero-parent", "duplicate"]


@pytest.mark.parametrize("build", BUILDS)
def test_each_kind_of_traceparent(serve, attach, load, build):
    server = serve(build)
    agent = attach(server)
    modes = VALID + INVALID
    rows = all_answered(load(server, "-n", 20 * len(modes), "-traceparent", ",".join(modes)))
    pairs = assert_matches(agent.stop(), rows, path="/")
    for span, row in pairs:
        mode = modes[row["seq"] % len(modes)]
        if mode in VALID:
            assert span.flags & 0x1 == (mode != "unsampled"), f"sampled bit of {mode}: {span.flags:#x}"
    agent.assert_no_loss()
    assert agent.counter("bad_traceparent") == 20 * len(set(INVALID) - {"none"})


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_remote_parent_is_marked(serve, attach, load, build):
    server = serve(build)
    agent = attach(server)
    rows = all_answered(load(server, "-n", 20, "-traceparent", "valid,none"))
    for span, row in assert_matches(agent.stop(), rows):
        if row["trace_id"]:  # OTLP span flags: 0x100 the next bit is known, 0x200 the parent is remote
            assert span.flags & 0x300 == 0x300, f"{span.flags:#x}"


@pytest.mark.parametrize("build", SEVERAL)
@pytest.mark.parametrize("position", ["first", "middle", "last"])
def test_among_other_headers(serve, attach, load, build, position):
    server = serve(build)
    agent = attach(server)
    spans_expected = []
    for i, headers in enumerate([1, 6, 7, 8, 9, 40, 200]):
        rows = all_answered(load(server, "-n", 40, "-c", 2, "-headers", headers, "-position", position,
                                 "-traceparent", "valid,valid,none,duplicate", targets=[f"/headers?of={headers}"]))
        spans_expected.append((headers, rows))
    spans = agent.stop()
    for headers, rows in spans_expected:
        assert_matches([span for span in spans if f"of={headers}&" in (span["url.query"] or "")], rows, path="/headers")
    agent.assert_no_loss()


@pytest.mark.parametrize("build", SEVERAL)
@pytest.mark.parametrize("headers", [1, 9, 40])
def test_header_in_several_segments(serve, attach, load, build, headers):
    server = serve(build)
    agent = attach(server)
    rows = all_answered(load(server, "-n", 60, "-segments", 7, "-headers", headers, "-position", "middle",
                             "-traceparent", "valid,none"))
    assert_matches(agent.stop(), rows, path="/")
    agent.assert_no_loss()


@pytest.mark.parametrize("build", SEVERAL)
@pytest.mark.parametrize("headers", [1, 40])
@pytest.mark.parametrize("segments", [1, 4], ids=["whole", "segments"])
def test_header_of_more_than_4096_bytes(serve, attach, load, build, headers, segments):
    server = serve(build)
    agent = attach(server)
    rows = all_answered(load(server, "-n", 60, "-pad", 9_000, "-segments", segments, "-headers", headers,
                             "-traceparent", "valid,none"))
    assert_matches(agent.stop(), rows, path="/")
    agent.assert_no_loss()


@pytest.mark.parametrize("build", SEVERAL)
def test_request_body_behind_the_header(serve, attach, load, build):
    server = serve(build)
    agent = attach(server)
    rows = all_answered(load(server, "-n", 60, "-method", "POST", "-body", 20_000, "-headers", 9,
                             "-traceparent", "valid,none", targets=["/echo"]))
    for span, _ in assert_matches(agent.stop(), rows, path="/echo"):
        assert span["http.request.method"] == "POST"
    agent.assert_no_loss()
