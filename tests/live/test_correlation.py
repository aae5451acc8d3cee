# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Samples of a profiler carry the span that their thread works for, the innermost live one: of whole runs, by mode."""

import time

import pytest

import correlation
from correlation import BURN, Judge, options_for

SECONDS = 20
RELEASES = ["go1.19", "go1.24", "go1.27"]
BUILDS = [release + suffix for release in RELEASES for suffix in ("", "-stripped")]
SEVERAL = ["go1.19", "go1.24", "go1.27-stripped"]
LEAVE = "/leave?us=8000&sleep=5000"  # microseconds of CPU after the answer


def run(server, agent, reader, load, seconds, *client, targets=(BURN,)):
    """A load from its first to its last request: the verdict on the samples, all dumps, when the load ended."""
    rows = load(server, "-d", f"{seconds}s", "-c", 8, *client, targets=targets)
    load_ended = time.monotonic_ns()
    time.sleep(0.3)
    recording = reader.finish()
    return Judge.of(server, rows, agent.stop()).judge(recording), recording.dumps, load_ended


@pytest.mark.parametrize("build", BUILDS)
def test_every_sample_inside_a_span_carries_it(burner, trace, read_contexts, load, build):
    server = burner(build)
    agent = trace(server, "--profile-link", "jit", *options_for(build))
    reader = read_contexts(server)
    judgement, dumps, load_ended = run(server, agent, reader, load, SECONDS)
    print(judgement)
    judgement.assert_right(least=SECONDS * 20)
    assert correlation.publication_of(agent, server) == ("jit", "")
    assert len(dumps) > SECONDS * 50
    assert not correlation.keys_in_two_dumps(dumps, server.pid)
    assert not any(keys for at, keys in dumps if at > load_ended + 50_000_000)
    if not build.startswith("go1.19"):
        assert correlation.runtime_rows(agent) == set()
    counts = correlation.published_counts(agent, server)
    assert counts["published"] >= judgement.total("right", correlation.NESTED, correlation.PARENT)
    assert counts["foreign"] == counts["failed"] == 0
    agent.assert_no_loss()


@pytest.mark.parametrize("build", SEVERAL)
def test_eager_says_the_same(burner, trace, read_contexts, load, build):
    server = burner(build)
    agent = trace(server, "--profile-link", "eager", *options_for(build))
    reader = read_contexts(server)
    judgement, dumps, load_ended = run(server, agent, reader, load, 6)
    print(judgement)
    judgement.assert_right(least=6 * 20)
    assert correlation.publication_of(agent, server) == ("eager", "")
    assert {"runtime.execute", "runtime.schedule"} <= correlation.runtime_rows(agent)
    assert any(keys for _, keys in dumps), "an entry stays while its span is on the thread"
    assert not any(keys for at, keys in dumps if at > load_ended + 50_000_000)
    assert correlation.published_counts(agent, server)["foreign"] == 0
    agent.assert_no_loss()


def test_off_publishes_nothing(burner, trace, read_contexts, load):
    server = burner("go1.24")
    agent = trace(server, "--profile-link", "off")
    reader = read_contexts(server)
    judgement, dumps, _ = run(server, agent, reader, load, 3)
    judgement.assert_no_context(least=3 * 20)
    assert not any(keys for _, keys in dumps)
    assert correlation.publication_of(agent, server) == ("off", "")


@pytest.mark.parametrize("mode", ["jit", "eager"])
def test_an_unsampled_span_is_not_published(burner, trace, read_contexts, load, mode):
    server = burner("go1.24")
    agent = trace(server, "--profile-link", mode)
    reader = read_contexts(server)
    judgement, dumps, _ = run(server, agent, reader, load, 3, "-traceparent", "unsampled")
    judgement.assert_no_context(least=3 * 20)
    assert not any(keys for _, keys in dumps)


@pytest.mark.parametrize("mode", ["jit", "eager"])
@pytest.mark.parametrize("variables", [{"GOGC": "1"}, {"GODEBUG": "gccheckmark=1"}], ids=lambda v: next(iter(v)))
def test_the_garbage_collector_does_not_mind(burner, trace, read_contexts, load, mode, variables):
    server = burner("go1.27", env=variables)
    agent = trace(server, "--profile-link", mode)
    reader = read_contexts(server)
    judgement, _, _ = run(server, agent, reader, load, 3)
    judgement.assert_right(least=3 * 20, share=0.99)
    assert server.process.poll() is None


# A goroutine whose creation was not hooked works for the span that its parent had when it was first seen on a CPU. On a
# connection that is kept, that may be the next request's, so each connection has one request where nothing is hooked.
@pytest.mark.parametrize(
    "build, options, client",
    [
        ("go1.24", ["--set", "goroutines.creation_hook=true"], []),
        ("go1.19", ["--set", "goroutines.creation_hook=true"], []),
        ("go1.24", [], ["-keepalive=false"]),
    ],
    ids=["hooked", "hooked-go1.19", "not-hooked"],
)
@pytest.mark.parametrize("mode", ["jit", "eager"])
def test_what_outlives_its_request_has_no_span(burner, trace, read_contexts, load, build, options, client, mode):
    server = burner(build)
    agent = trace(server, "--profile-link", mode, *options)
    reader = read_contexts(server)
    judgement, _, _ = run(server, agent, reader, load, 3, *client, targets=[LEAVE, BURN])
    assert judgement.by_function["main.burnLeft", "right"] >= 10, judgement
    judgement.assert_right(least=3 * 10)
