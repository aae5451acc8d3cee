# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""HTTP/2, pipelining, and handlers that end in unusual ways."""

import pytest

from harness import BUILDS, OLDEST_AND_NEWEST, SEVERAL, all_answered, assert_matches


@pytest.mark.parametrize("build", BUILDS)
def test_h2_over_tls(serve, attach, load, build):
    server = serve(build, "--tls")
    agent = attach(server)
    rows = all_answered(load(server, "-proto", "h2", "-n", 5_000, "-c", 100, "-traceparent", "valid,none"))
    for span, _ in assert_matches(agent.stop(), rows, path="/"):
        assert (span["network.protocol.version"], span["url.scheme"]) == ("2", "https"), str(span)
        assert span["http.response.status_code"] == 200, str(span)
    agent.assert_no_loss()


@pytest.mark.parametrize("build", BUILDS)
def test_100_h2_streams_in_flight(serve, attach, load, build):
    server = serve(build, "--tls")
    agent = attach(server)
    rows = all_answered(load(server, "-proto", "h2", "-n", 100, "-gate", "-traceparent", "valid,none"))
    spans = agent.stop()
    gate = [row for row in rows if row["path"] == "/sleep-gate"]
    assert_matches([span for span in spans if span["url.path"] == "/sleep-gate"], gate)
    assert len(spans) == len(rows) == 101
    agent.assert_no_loss()


@pytest.mark.parametrize("build", ["go1.24", "go1.26-stripped", "go1.27"])
def test_h2c_and_h1_on_one_port(serve, attach, load, build):
    server = serve(build, "--h2c")
    agent = attach(server)
    h2 = all_answered(load(server, "-proto", "h2c", "-n", 1_000, "-c", 100, "-traceparent", "valid,none"))
    h1 = all_answered(load(server, "-n", 1_000, "-traceparent", "valid,none"))
    spans = agent.stop()
    assert_matches([span for span in spans if span["network.protocol.version"] == "2"], h2, path="/")
    assert_matches([span for span in spans if span["network.protocol.version"] == "1.1"], h1, path="/")
    assert len(spans) == 2_000
    agent.assert_no_loss()


@pytest.mark.parametrize("build", SEVERAL)
@pytest.mark.parametrize("headers", [1, 8, 9, 40, 200])
def test_h2_header_counts(serve, attach, load, build, headers):
    server = serve(build, "--tls")
    agent = attach(server)
    rows = all_answered(load(server, "-proto", "h2", "-n", 40, "-headers", headers, "-traceparent", "valid,none"))
    assert_matches(agent.stop(), rows, path="/")
    agent.assert_no_loss()


@pytest.mark.parametrize("build", SEVERAL)
def test_pipelining(serve, attach, load, build):
    server = serve(build)
    agent = attach(server)
    rows = all_answered(load(server, "-n", 2_000, "-c", 4, "-pipeline", 20, "-traceparent", "valid,none"))
    assert_matches(agent.stop(), rows, path="/")
    agent.assert_no_loss()


# path: (status the client sees, status of the span); None: the handler ended without a status.
ENDINGS = {
    "/hijack": (200, None),
    "/panic": (0, None),
    "/abort": (0, None),
    "/goexit": (0, None),
    "/recover-panic": (500, 500),
    "/nothing": (200, 200),
    "/chunked": (200, 200),
    "/notfound": (404, 404),
    "/status/404": (404, 404),
    "/status/503": (503, 503),
    "/mutate": (200, 200),
}


def check_endings(server, agent, load, *args, without=None):
    paths = [path for path in ENDINGS if path != without]
    rows = load(server, "-n", 20 * len(paths), "-traceparent", "valid,none,valid", *args, targets=paths)
    for span, row in assert_matches(agent.stop(), rows):
        client_status, span_status = ENDINGS[row["path"]]
        assert row["status"] == client_status, str(row)
        assert span["url.path"] == row["path"], f"{span} for {row}"
        assert span["http.request.method"] == "GET", str(span)
        assert span["http.response.status_code"] == span_status, f"{span} for {row}"
        if span_status is not None:
            assert (span.status == 2) == (span_status >= 500), f"error only for 5xx: {span} {span.status}"
            assert (span["error.type"] == str(span_status)) == (span_status >= 500), str(span)
    agent.assert_no_loss()


@pytest.mark.parametrize("build", BUILDS)
def test_unusual_ends_of_handlers(serve, attach, load, build):
    server = serve(build)
    check_endings(server, attach(server), load)


@pytest.mark.parametrize("build", SEVERAL)
def test_unusual_ends_of_h2_handlers(serve, attach, load, build):
    server = serve(build, "--tls")
    check_endings(server, attach(server), load, "-proto", "h2", without="/hijack")


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_a_span_after_a_panic_is_not_its_child(serve, attach, load, build):
    server = serve(build)
    agent = attach(server)
    rows = load(server, "-n", 200, "-c", 1, "-traceparent", "none", targets=["/panic", "/", "/hijack", "/goexit"])
    assert_matches(agent.stop(), rows)
    agent.assert_no_loss()
