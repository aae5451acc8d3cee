# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Attaching and detaching under load, in order and by force: the target serves every request."""

import signal
import subprocess
import time

import pytest

import kernel_view
from harness import BUILD, OLDEST_AND_NEWEST, Plan, all_answered, assert_untouched, breakpoints, wait_until

ATTACH_LOOP = BUILD / "bin" / "attach_loop"


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_200_times_attached_under_load(serve, privileged, load, build):
    if not ATTACH_LOOP.exists():
        pytest.skip(f"{ATTACH_LOOP} was not built")
    server = serve(build)
    plan = Plan(server.path)
    traffic = load.start(server, "-d", "300s", "-c", "4")
    done = subprocess.run([ATTACH_LOOP, str(server.pid), "200"], capture_output=True, text=True, timeout=300)
    rows = traffic.finish(interrupt=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(rows) > 200
    all_answered(rows)
    assert server.process.poll() is None
    assert_untouched(plan, server.pid)


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_agent_started_and_stopped_under_load(serve, attach, load, build):
    server = serve(build)
    plan = Plan(server.path)
    traffic = load.start(server, "-d", "300s", "-c", "4")
    for _ in range(10):
        agent = attach(server)
        time.sleep(0.05)
        assert len(agent.stop()) > 0
    rows = traffic.finish(interrupt=True)
    all_answered(rows)
    assert_untouched(plan, server.pid)


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_agent_killed_under_load(serve, attach, load, build):
    server = serve(build)
    plan = Plan(server.path)
    traffic = load.start(server, "-d", "300s", "-c", "4")
    for _ in range(5):
        agent = attach(server)
        programs = [item["id"] for item in kernel_view.programs(agent.pid)]
        assert programs, "the agent holds no uprobe program"
        assert breakpoints(plan, server.pid), "nothing is attached"
        time.sleep(0.1)
        agent.kill()
        wait_until(lambda: not kernel_view.exists(programs), "the programs and their links are gone")
        assert_untouched(plan, server.pid)
    rows = traffic.finish(interrupt=True)
    all_answered(rows)


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM], ids=lambda end: end.name)
def test_signal_ends_the_agent_and_its_links(serve, attach, load, build, end):
    server = serve(build)
    plan = Plan(server.path)
    agent = attach(server)
    programs = [item["id"] for item in kernel_view.programs(agent.pid)]
    all_answered(load(server, "-n", 100))
    agent.process.send_signal(end)
    agent.wait()
    wait_until(lambda: not kernel_view.exists(programs), "the programs and their links are gone")
    assert_untouched(plan, server.pid)
    assert agent.stats["spans"] == 100
