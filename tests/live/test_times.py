# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""A span lies within what the client saw, on the wall clock."""

import pytest

from harness import BUILDS, all_answered, assert_matches

MILLISECOND = 1_000_000


@pytest.mark.parametrize("build", BUILDS)
def test_span_within_the_clients_view(serve, attach, load, build):
    server = serve(build)
    agent = attach(server)
    rows = all_answered(load(server, "-n", 200, targets=["/", "/slow?ms=20"]))
    for span, row in assert_matches(agent.stop(), rows):
        client_took = row["end_unix_ns"] - row["start_unix_ns"]
        took = span.end - span.start
        assert 0 < took <= client_took, f"{took} ns, the client waited {client_took} ns: {span}"
        assert took >= 20 * MILLISECOND or row["path"] != "/slow", f"{took} ns: {span}"
        # The two clocks are read at different moments, so the comparison allows a millisecond.
        assert row["start_unix_ns"] - MILLISECOND <= span.start, f"{span} starts before its request {row}"
        assert span.end <= row["end_unix_ns"] + MILLISECOND, f"{span} ends after its response {row}"
