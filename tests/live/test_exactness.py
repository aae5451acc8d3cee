# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""N requests give N spans, each with the trace context of its own request."""

import pytest

from harness import BUILDS, OLDEST_AND_NEWEST, all_answered, assert_matches

KEEP_ALIVE = pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "connection-per-request"])


@pytest.mark.parametrize("build", BUILDS)
@KEEP_ALIVE
def test_10000_requests(serve, attach, load, build, keep_alive):
    server = serve(build)
    agent = attach(server)
    rows = all_answered(load(server, "-n", 10_000, f"-keepalive={keep_alive}", "-traceparent", "valid,none"))
    spans = agent.stop()
    assert len(rows) == 10_000
    assert_matches(spans, rows, path="/")
    agent.assert_no_loss()


@pytest.mark.parametrize("build", BUILDS)
@KEEP_ALIVE
def test_2000_requests_in_flight(serve, attach, load, build, keep_alive):
    server = serve(build)
    agent = attach(server)
    rows = all_answered(load(server, "-n", 2_000, "-gate", f"-keepalive={keep_alive}", "-traceparent", "valid,none"))
    spans = agent.stop()
    # The request that releases the others has a sequence of its own.
    gate = [row for row in rows if row["path"] == "/sleep-gate"]
    assert (len(gate), len(rows)) == (2_000, 2_001)
    assert_matches([span for span in spans if span["url.path"] == "/sleep-gate"], gate)
    assert len(spans) == len(rows)
    agent.assert_no_loss()


@pytest.mark.parametrize("pair", [("go1.19", "go1.27-stripped"), ("go1.24-stripped", "go1.26")], ids="+".join)
def test_two_servers_of_different_builds_at_once(serve, attach, load, pair):
    servers = [serve(build) for build in pair]
    agent = attach(*servers)
    clients = [load.start(server, "-n", "10000", "-traceparent", "valid,none") for server in servers]
    rows = [all_answered(client.finish()) for client in clients]
    spans = agent.stop()
    for server, expected in zip(servers, rows):
        assert_matches([span for span in spans if span.pid == server.pid], expected, path="/")
    assert len(spans) == 20_000
    agent.assert_no_loss()


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_two_servers_of_one_build_at_once(serve, attach, load, build):
    servers = [serve(build), serve(build)]
    agent = attach(*servers)
    clients = [load.start(server, "-n", "5000", "-traceparent", "valid,none") for server in servers]
    rows = [all_answered(client.finish()) for client in clients]
    spans = agent.stop()
    for server, expected in zip(servers, rows):
        assert_matches([span for span in spans if span.pid == server.pid], expected, path="/")
    agent.assert_no_loss()


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_a_process_that_is_no_target_gives_no_span(serve, attach, load, build):
    target, bystander = serve(build), serve(build)
    agent = attach(target)
    load(bystander, "-n", 500)
    rows = all_answered(load(target, "-n", 500))
    assert_matches(agent.stop(), rows, path="/")


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_stacks_that_grow_give_no_duplicate(serve, attach, load, build):
    # GOGC=1 makes preemption requests frequent too: they enter a function a second time like a stack growth.
    server = serve(build, env={"GOGC": "1"})
    agent = attach(server)
    rows = all_answered(
        load(server, "-n", 2_000, "-keepalive=false", "-traceparent", "valid,none",
             targets=["/deep?n=3", "/deep?n=40", "/deep?n=2000"])
    )
    assert_matches(agent.stop(), rows, path="/deep")
    agent.assert_no_loss()
