# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""http.route of ServeMux patterns, directly and behind middleware that copies the request."""

import pytest

from harness import all_answered, assert_matches

WITH_ROUTES = ["go1.24", "go1.24-stripped", "go1.26", "go1.27", "go1.27-stripped"]
ROUTES = {
    "/items/5": "/items/{id}",
    "/mw/items/7": "/mw/items/{id}",
    "/status/204": "/status/",
    "/": "/",
}


def routes_of(agent, rows):
    return {row["path"]: (span["http.route"], span.name) for span, row in assert_matches(agent.stop(), rows)}


@pytest.mark.parametrize("build", WITH_ROUTES)
@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_route(serve, attach, load, build, protocol):
    server = serve(build, *(["--tls"] if protocol == "h2" else []))
    agent = attach(server)
    rows = all_answered(load(server, "-n", 100 * len(ROUTES), "-proto", protocol, targets=list(ROUTES)))
    assert routes_of(agent, rows) == {path: (route, f"GET {route}") for path, route in ROUTES.items()}
    agent.assert_no_loss()


@pytest.mark.parametrize("build", WITH_ROUTES)
def test_route_of_a_pattern_with_method(serve, attach, load, build):
    server = serve(build)
    agent = attach(server)
    rows = all_answered(load(server, "-n", 10, "-method", "POST", targets=["/orders/9"]))
    assert routes_of(agent, rows) == {"/orders/9": ("/orders/{id}", "POST /orders/{id}")}


@pytest.mark.parametrize("build", WITH_ROUTES)
def test_route_behind_a_stripped_prefix_is_one_the_program_registered(serve, attach, load, build):
    server = serve(build)
    agent = attach(server)
    rows = all_answered(load(server, "-n", 100, targets=["/nested/items/3"]))
    ((_, (route, _)),) = routes_of(agent, rows).items()
    assert route in ("/items/{id}", "/nested/")


@pytest.mark.parametrize("build", WITH_ROUTES)
def test_route_without_the_route_site(serve, attach, load, build):
    server = serve(build)
    agent = attach(server, "--set", "net_http.route_site=false")
    rows = all_answered(load(server, "-n", 100, targets=["/items/5"]))
    assert routes_of(agent, rows) == {"/items/5": ("/items/{id}", "GET /items/{id}")}


def test_no_route_before_go_1_23(serve, attach, load):
    server = serve("go1.19")
    agent = attach(server)
    rows = all_answered(load(server, "-n", 100, targets=["/items/5"]))
    assert routes_of(agent, rows) == {"/items/5": (None, "GET")}
