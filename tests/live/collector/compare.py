#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Whether two files of OTLP/JSON lines hold the same spans: compare.py OURS THEIRS

Field names, value types and values have to be equal. A field that has its default value may be missing (the proto3 JSON
mapping leaves that open), and spans may be in another order or on other lines.
"""

import json
import sys

# Fields whose default a writer may leave out. https://protobuf.dev/programming-guides/json/
DEFAULTS = [0, "", "0", [], {}]
# A value is an empty string or 0 because it was set so: a oneof has no default.
KEPT = {"stringValue", "intValue", "doubleValue", "boolValue"}


def without_defaults(value):
    if isinstance(value, list):
        return [without_defaults(item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {name: without_defaults(field) for name, field in value.items()}
    return {
        name: field
        for name, field in fields.items()
        if name in KEPT or isinstance(field, bool) or field not in DEFAULTS
    }


def spans_by_id(text):
    """Every span of OTLP/JSON lines, with its resource and scope, by (trace id, span id)."""
    spans = {}
    for line in text.splitlines():
        for resource_spans in without_defaults(json.loads(line))["resourceSpans"]:
            for scope_spans in resource_spans.pop("scopeSpans", []):
                for span in scope_spans.pop("spans", []):
                    key = span["traceId"], span["spanId"]
                    assert key not in spans, f"span {key} is there twice"
                    spans[key] = {"span": span, "scope": scope_spans, "resource": resource_spans}
    return spans


def differences(ours, theirs):
    """One line per span that is not in both, or not the same in both."""
    ours, theirs = spans_by_id(ours), spans_by_id(theirs)
    return [
        f"{'/'.join(key)}:\n  ours:   {json.dumps(ours.get(key))}\n  theirs: {json.dumps(theirs.get(key))}"
        for key in sorted(ours.keys() | theirs.keys())
        if json.dumps(ours.get(key), sort_keys=True) != json.dumps(theirs.get(key), sort_keys=True)
    ]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    texts = [open(path, encoding="utf-8").read() for path in sys.argv[1:]]
    found = differences(*texts)
    print("\n".join(found[:10]) if found else f"{len(spans_by_id(texts[0]))} spans, all the same")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
