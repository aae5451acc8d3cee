# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""What a span and its resource say of a request, by OpenTelemetry's HTTP conventions."""

import http.client
import re

import pytest

from harness import BUILDS, OLDEST_AND_NEWEST


@pytest.fixture
def exchange(serve, attach):
    """exchange(build, method, target, headers, body): the span of one request, and the client's port."""

    def run(build, method, target, headers=None, body=None, env=None):
        server = serve(build, env=env)
        agent = attach(server)
        client = http.client.HTTPConnection("127.0.0.1", server.port)
        client.putrequest(method, target, skip_accept_encoding=True)
        for name, value in {**(headers or {}), **({"Content-Length": str(len(body))} if body else {})}.items():
            client.putheader(name, value)
        client.endheaders(body)
        client.getresponse().read()
        port = client.sock.getsockname()[1]
        client.close()
        (span,) = agent.stop()
        return span, server, port

    return run


@pytest.mark.parametrize("build", BUILDS)
def test_attributes_of_a_request(exchange, build):
    span, server, port = exchange(build, "POST", "/echo?page=2", {"User-Agent": "live-test/1.0"}, b"x" * 1234)
    expected = {
        "http.request.method": "POST",
        "url.path": "/echo",
        "url.query": "page=2",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "client.address": "127.0.0.1",
        "network.peer.address": "127.0.0.1",
        "network.peer.port": port,
        "network.protocol.version": "1.1",
        "user_agent.original": "live-test/1.0",
        "http.request.body.size": 1234,
        "http.response.body.size": len("1234 1234\n"),
    }
    if server.has_routes:
        expected["http.route"] = "/echo"
    assert {key: span[key] for key in expected} == expected
    assert span.name == ("POST /echo" if server.has_routes else "POST")
    assert "error.type" not in span.attributes
    assert "http.request.method_original" not in span.attributes


@pytest.mark.parametrize("build", BUILDS)
def test_resource(exchange, build):
    span, server, _ = exchange(build, "GET", "/")
    version = re.search(r"go1\.\d+", build).group()
    assert span.resource["service.name"] == f"unknown_service:{server.path.name}"
    assert span.resource["process.pid"] == server.pid
    assert span.resource["process.executable.path"] == str(server.path.resolve())
    assert span.resource["process.runtime.name"] == "go"
    assert span.resource["process.runtime.version"].startswith(version)
    assert {"telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version"} <= span.resource.keys()


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
@pytest.mark.parametrize(
    "env",
    [{"OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": "service.name=other"},
     {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.name=shop"}],
    ids=["service-name", "resource-attributes"],
)
def test_service_name_of_the_environment(exchange, build, env):
    span, _, _ = exchange(build, "GET", "/", env=env)
    assert span.resource["service.name"] == "shop"


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_unknown_method(exchange, build):
    span, server, _ = exchange(build, "BREW", "/")
    assert span["http.request.method"] == "_OTHER"
    assert span["http.request.method_original"] == "BREW"
    assert span.name == ("HTTP /" if server.has_routes else "HTTP")


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_secrets_in_the_query_are_redacted(exchange, build):
    span, _, _ = exchange(build, "GET", "/?sig=c2VjcmV0&X-Goog-Signature=c2VjcmV0&color=blue")
    assert span["url.query"] == "sig=REDACTED&X-Goog-Signature=REDACTED&color=blue"


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_long_target_is_cut_and_marked(exchange, build):
    path = "/" + "long" * 500
    span, _, _ = exchange(build, "GET", path)
    assert path.startswith(span["url.path"])
    assert 256 <= len(span["url.path"]) < len(path)
    assert any("truncated" in key for key in span.attributes), f"not marked: {span.attributes}"
