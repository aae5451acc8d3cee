# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""The comparison that every other test leans on notices what it is there for. Needs neither root nor agent."""

import copy

import pytest

import correlation
from harness import Span, assert_matches, enum_values


def span_of(row):
    data = {
        "name": "GET", "kind": 2, "startTimeUnixNano": "1", "endTimeUnixNano": "2",
        "traceId": row["trace_id"] or f"{row['seq'] + 1:032x}",
        "spanId": f"{row['seq'] + 1:016x}",
        "parentSpanId": row["parent_id"],
        "attributes": [{"key": "url.path", "value": {"stringValue": "/"}},
                       {"key": "url.query", "value": {"stringValue": f"a=1&r={row['seq']}"}}],
    }
    return Span({"process.pid": 1}, "net/http", data)


@pytest.fixture
def rows():
    with_parent = {"trace_id": "ab" * 16, "parent_id": "cd" * 8, "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    without = {"trace_id": "", "parent_id": "", "traceparent": ""}
    return [{"seq": 0, **with_parent}, {"seq": 1, **without}, {"seq": 2, **without}]


@pytest.fixture
def spans(rows):
    return [span_of(row) for row in rows]


def test_accepts_what_is_right(spans, rows):
    assert [row["seq"] for _, row in assert_matches(spans, rows, path="/")] == [0, 1, 2]


def change(name, value, index=1):
    def apply(spans):
        setattr(spans[index], name, value)

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        lambda spans: spans.pop(),
        lambda spans: spans.append(copy.copy(spans[0])),
        lambda spans: spans[0].attributes.update({"url.query": "r=7"}),
        lambda spans: spans[0].attributes.update({"url.query": "r=1"}),
        lambda spans: spans[0].attributes.update({"url.path": "/other"}),
        change("trace_id", "ee" * 16, index=0),
        change("parent_id", "ee" * 8, index=0),
        change("parent_id", "ee" * 8),
        change("trace_id", f"{3:032x}"),
        change("trace_id", "0" * 32),
        change("span_id", f"{1:016x}"),
        change("span_id", "0" * 16),
        change("kind", 3),
    ],
    ids=["missing", "doubled", "foreign", "mixed-up", "path", "trace", "parent", "parent-of-a-root", "shared-root",
         "zero-trace", "repeated-span-id", "zero-span-id", "kind"],
)
def test_refuses(spans, rows, damage):
    damage(spans)
    with pytest.raises(AssertionError):
        assert_matches(spans, rows, path="/")


def test_counters_come_from_the_header():
    names = enum_values("oe_stat")
    assert "ringbuf_full" in names and names[-1] == "max"


def test_an_entry_that_stays_is_seen_in_two_dumps():
    ms, key, other = 1_000_000, 7 << 32 | 1, 8 << 32 | 1
    stays = lambda *dumps: correlation.keys_in_two_dumps([(at * ms, keys) for at, keys in dumps], 7)
    assert stays((0, {key}), (10, {key})) == {key}
    assert stays((0, {key, other}), (1, {key}), (11, {key, other})) == {key}
    assert stays((0, {key}), (1, set()), (10, {key})) == {key}, "a dump close behind hides nothing"
    assert stays((0, {key}), (1, {key}), (11, set())) == set(), "one interrupt in two dumps"
    assert stays((0, {other}), (10, {other})) == set(), "of another process"
