# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""pprof labels of the goroutine that a sample interrupts, on every Go release."""

import bisect
import json
import os
import subprocess

import pytest

from harness import BUILD, RELEASES, TARGETS

SAMPLER = BUILD / "bin/go_labels"


@pytest.fixture(params=RELEASES)
def labelled(request, targets):
    name = f"labels-{request.param}"
    if name in targets:
        pytest.skip(targets[name])
    process = subprocess.Popen([TARGETS / name], stdin=subprocess.PIPE)
    yield process, TARGETS / name
    process.kill()
    process.wait()


def functions_of(binary):
    lines = subprocess.run(["nm", "-n", binary], capture_output=True, text=True, check=True).stdout.split("\n")
    symbols = [line.split(" ", 2) for line in lines if line[17:18] in "tT" and line[:1] != " "]
    symbols = [(int(symbol[0], 16), symbol[2]) for symbol in symbols if len(symbol) == 3]
    addresses = [address for address, _ in symbols]
    return lambda ip: symbols[bisect.bisect_right(addresses, ip) - 1][1]


def test_go_labels(labelled):
    process, binary = labelled
    if not SAMPLER.exists():
        pytest.skip(f"{SAMPLER} was not built")
    if os.geteuid() != 0:
        pytest.skip("needs root to sample another process")
    done = subprocess.run([SAMPLER, str(process.pid), "2000"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    function_at = functions_of(binary)
    seen = {"main.burnLabelled": set(), "main.burnChild": set(), "main.burnPlain": set()}
    for line in done.stdout.splitlines():
        sample = json.loads(line)
        function = function_at(sample["ip"])
        if function not in seen:
            continue
        labels = sample["labels"]
        assert not sample["cut"], sample
        if function == "main.burnPlain":
            assert labels == {} and sample["dropped"] == 0, sample
            seen[function].add("")
            continue
        # The last worker has 14 labels; which 10 of them are read is up to the release.
        assert (len(labels), sample["dropped"]) in [(2, 0), (10, 4)], sample
        worker = labels.get("worker", "w3")
        if len(labels) == 10:
            assert worker == "w3", sample
        assert labels.get("trace_id", "04" * 16) == f"{int(worker[1:]) + 1:02x}" * 16, sample
        seen[function].add(worker)
    # A child goroutine has its creator's labels.
    assert seen == {"main.burnLabelled": {"w0", "w1", "w2", "w3"}, "main.burnChild": {"w0", "w1", "w2", "w3"},
                    "main.burnPlain": {""}}
