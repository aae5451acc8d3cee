# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Where the agent attaches and how often that is hit."""

import socket
import subprocess

import pytest

import kernel_view
from harness import BUILDS, OLDEST_AND_NEWEST, TARGETS, Plan, breakpoints

ROUTE_OPTION = pytest.mark.parametrize("route_site", [True, False], ids=["with-route-site", "without-route-site"])


def options(route_site):
    return [] if route_site else ["--set", "net_http.route_site=false"]


def hits_expected(build, route_site):
    # Request.Pattern came with Go 1.23: an older release has no route to read.
    return 3 if route_site and build.split("-")[0] != "go1.19" else 2


@pytest.fixture
def plan(agent_binary, targets):
    def make(build, *args):
        if f"server-{build}" in targets:
            pytest.skip(targets[f"server-{build}"])
        return Plan(TARGETS / f"server-{build}", *args)

    return make


@pytest.mark.parametrize("build", BUILDS)
@ROUTE_OPTION
def test_plan_labels_the_rows_of_a_request(plan, build, route_site):
    made = plan(build, *options(route_site))
    labelled = [line for line in made.text.splitlines() if "per request h1" in line]
    assert len(labelled) == hits_expected(build, route_site), made.text
    assert all("emulated" in line for line in labelled), made.text


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_plan_needs_no_privilege(agent_binary, targets, build):
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
         "/bin/sh", "-c", f"exec 3<{TARGETS}/server-{build}; exec {agent_binary} --plan --exe /proc/self/fd/3"],
        capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "per request h1" in done.stdout


@pytest.mark.parametrize("build", BUILDS)
@ROUTE_OPTION
def test_hits_per_request(serve, attach, build, route_site):
    """One idle keep-alive connection at both snapshots, so that only requests come between them."""
    requests = 1_000
    server = serve(build)
    with kernel_view.run_counts():
        agent = attach(server, *options(route_site))

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
            for i in range(requests):
                ask(f"/?r={i}")
            after = snapshot()
    spans = agent.stop()
    assert len(spans) == requests + 1
    assert after - before == hits_expected(build, route_site) * requests


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_every_planned_site_has_its_breakpoint(serve, attach, plan, build):
    server = serve(build)
    made = plan(build)
    assert breakpoints(made, server.pid) == []
    attach(server)
    assert sorted(breakpoints(made, server.pid)) == sorted(row["symbol"] for row in made.rows)
