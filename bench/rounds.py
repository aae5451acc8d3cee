# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Rounds of a benchmark: one server, measured without an agent and then with each mode in turn; tables of figures."""

import statistics
import sys

from measure import BpfStats, Mode, Server, measure, run_load


def show_progress(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def run_rounds(arguments, binary, modes, folder):
    """{mode name: rows of its rounds}, and the row of one more round with BPF statistics per mode."""
    def load():
        return run_load(server.url, arguments.seconds, arguments.connections, arguments.threads)

    with Server(binary) as server:
        run_load(server.url, 1, arguments.connections, arguments.threads)  # page cache, heap size, frequency
        bare = Mode("no agent")
        rows = {mode.name: [] for mode in [bare, *modes]}
        for number in range(arguments.rounds):
            show_progress(f"{binary.name}: round {number + 1} of {arguments.rounds}")
            base = measure(bare, server, load)
            rows[bare.name].append(base)
            for mode in modes:
                row = measure(mode, server, load)
                row["added_us"] = row["server_us"] - base["server_us"]
                if "spans" in row:
                    row["missing"] = row["requests"] - row["spans"]
                rows[mode.name].append(row)
                for path in folder.glob("*.jsonl"):
                    path.unlink()
        with_stats = {}
        for mode in modes:
            with BpfStats():
                with_stats[mode.name] = measure(mode, server, load)
        show_progress("")
        return rows, with_stats


def spread(rows, key, decimals):
    """"median (lowest..highest)", or "-" where it was not measured."""
    values = [row[key] for row in rows if key in row]
    if not values:
        return "-"
    middle, lowest, highest = (f"{f(values):,.{decimals}f}" for f in (statistics.median, min, max))
    return middle if lowest == highest else f"{middle} ({lowest}..{highest})"


def print_table(lines):
    """Lines of text cells, the first being the heads; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join([line[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(line[1:], widths[1:]))]))
    print()


def print_programs(with_stats):
    """How often each BPF program ran per request, and for how long, from rows measured with BPF statistics."""
    lines = [["BPF program, in a round of its own", "agent", "hits/request", "ns/hit", "ns/request"]]
    for name, row in with_stats.items():
        for program, (hits, run_ns) in sorted(row["programs"].items()):
            if hits >= row["requests"] / 100:  # the others are hit per connection or process
                lines.append([program, name, f"{hits / row['requests']:.3f}", f"{run_ns / hits:.0f}",
                              f"{run_ns / row['requests']:.0f}"])
    if len(lines) > 1:
        print_table(lines)
