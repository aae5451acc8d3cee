# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Servers that use the HTTP/2 of golang.org/x/net: its layouts come from DWARF, or from the offset table."""

import pytest

from harness import all_answered, assert_matches


@pytest.mark.parametrize("build", ["go1.26", "go1.26-stripped"])
@pytest.mark.parametrize("status", [200, 404, 503])
def test_status_and_size(serve, attach, load, build, status):
    server = serve(build, "--tls", program="xnet")
    agent = attach(server)
    path = f"/status/{status}"
    rows = all_answered(load(server, "-proto", "h2", "-n", 200, "-c", 10, "-traceparent", "valid,none", targets=[path]))
    for span, row in assert_matches(agent.stop(), rows, path=path):
        assert row["status"] == status
        assert span["network.protocol.version"] == "2", str(span)
        assert span["http.response.status_code"] == status, str(span)
        assert span["http.response.body.size"] == 100, str(span)
    agent.assert_no_loss()
