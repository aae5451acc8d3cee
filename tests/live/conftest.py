# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Fixtures of the live tests: what they need, and what they start and end."""

import os
import re
import subprocess

import pytest

import correlation
import harness


@pytest.fixture(scope="session")
def targets():
    """Builds the target programs; gives the reason for each one that can't be had."""
    done = subprocess.run(
        [harness.ROOT / "scripts/build-targets.sh", harness.TARGETS], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(re.findall(r"^SKIPPED: build (\S+): (.*)$", done.stdout, re.M))


@pytest.fixture(scope="session")
def agent_binary():
    if not harness.AGENT.exists():
        pytest.skip(f"{harness.AGENT} was not built")
    return harness.AGENT


@pytest.fixture(scope="session")
def privileged(agent_binary):
    if os.geteuid() != 0:
        pytest.skip("needs root to attach uprobes")


@pytest.fixture
def serve(targets):
    """serve(BUILD, flags...): starts a server that ends with the test."""
    started = []

    def start(build, *args, program="server", **kwargs):
        for name in (f"{program}-{build}", "client"):
            if name in targets:
                pytest.skip(f"{name}: {targets[name]}")
        started.append(harness.Server(build, *args, program=program, **kwargs))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def attach(privileged, tmp_path):
    """attach(SERVER or option...): starts the agent on it; the agent ends with the test."""
    started = []

    def start(*args, **kwargs):
        options = []
        for arg in args:
            options += ["--pid", arg.pid] if isinstance(arg, harness.Server) else [arg]
        started.append(harness.Agent(tmp_path / f"agent-{len(started)}", *options, **kwargs))
        return started[-1]

    yield start
    for agent in started:
        agent.kill()


@pytest.fixture
def load(tmp_path):
    """load(SERVER, flags..., targets=[...]): runs the client, gives its rows; load.start leaves it running."""
    started = []

    class Runner:
        def start(self, server, *args, **kwargs):
            started.append(harness.Load(tmp_path, server, *map(str, args), **kwargs))
            return started[-1]

        def __call__(self, server, *args, **kwargs):
            return self.start(server, *args, **kwargs).finish()

    yield Runner()
    for client in started:
        if client.process.poll() is None:
            client.process.kill()
            client.process.communicate()


@pytest.fixture
def bpffs(privileged, tmp_path):
    """The root of a bpffs of the test's own, so that no other tool's map is in it."""
    root = tmp_path / "bpffs"
    root.mkdir()
    subprocess.run(["mount", "-t", "bpf", "none", root], check=True)
    yield root
    subprocess.run(["umount", "--lazy", root], check=True)


@pytest.fixture
def read_contexts(bpffs):
    """read_contexts(SERVER..., hz=97): starts the profiler of the tests; it ends with the test."""
    if not correlation.READER.exists():
        pytest.skip(f"{correlation.READER} was not built")
    started = []

    def start(*servers, hz=97):
        started.append(correlation.Reader(bpffs, *servers, hz=hz))
        return started[-1]

    yield start
    for reader in started:
        reader.kill()


@pytest.fixture
def burner(serve):
    """burner(BUILD, ...): starts a server whose functions say for which span they burn CPU."""
    return lambda build, *args, **kwargs: serve(build, *args, program="burner", **kwargs)


@pytest.fixture
def trace(attach, bpffs):
    """trace(SERVER or option...): the agent with the burner's Probe, publishing in trace.bpffs, the test's own."""
    if not correlation.BURNER_AGENT.exists():
        pytest.skip(f"{correlation.BURNER_AGENT} was not built")

    def start(*args, **kwargs):
        return attach(*args, "--bpffs-root", bpffs, program=correlation.BURNER_AGENT, **kwargs)

    start.bpffs = bpffs
    return start
