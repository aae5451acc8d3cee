# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""judge.py FOLDER: judges the samples that a guest recorded, a folder for each mode; prints VERDICT lines."""

import json
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "live"))

from correlation import Judge, Recording, keys_in_two_dumps  # noqa: E402
from harness import parse_spans  # noqa: E402

LEAST = 30    # samples inside spans: an emulated CPU is slow
APART = 0.10  # share of those in traps, which take milliseconds there


def judge(folder, mode):
    """Fails unless almost all samples carry their span, none a wrong one, and the report says which mode is active."""
    pid = int((folder / "pid").read_text())
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    spans = parse_spans((folder / "spans.jsonl").read_bytes())
    plan = json.loads((folder / "plan.json").read_text())
    recording = Recording((folder / "samples.jsonl").read_bytes())
    judgement = Judge("go1.24", pid, rows, spans, plan["rows"]).judge(recording)
    print(f"{mode}: {judgement}")
    judgement.assert_right(least=LEAST, apart=APART)

    (target,) = json.loads((folder / "stats.json").read_text())["targets"]
    active, reason = target["publication"], target["publication_reason"]
    print(f"{mode}: active is {active} {reason}")
    assert active == mode or active == "eager" and reason, f"{mode} was asked for, {active} is active: '{reason}'"
    if active == "jit":
        assert not keys_in_two_dumps(recording.dumps, pid), "an entry stayed after the interrupt"
    load_ended_ns = max(row["end_unix_ns"] for row in rows) - recording.unix_offset_ns
    late = [keys for at, keys in recording.dumps if at > load_ended_ns + 500_000_000]
    assert late and not any(late), "entries are left when the load has ended"


def main():
    for mode in ("jit", "eager"):
        name = f"samples-{mode}"
        try:
            judge(pathlib.Path(sys.argv[1]) / mode, mode)
            print(f"VERDICT passed {name}")
        except (AssertionError, OSError, ValueError, KeyError) as error:
            lines = str(error).splitlines() or [type(error).__name__]
            print("".join(f"{name}| {line}\n" for line in lines), end="")
            print(f"VERDICT failed {name} {lines[0]}")


if __name__ == "__main__":
    main()
