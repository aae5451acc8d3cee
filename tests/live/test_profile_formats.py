# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Profiles as others read them: the official Go bindings of OTLP, the Collector's JSON reader, and pprof's own package.

tests/interop/profiles holds what they read to the rules of the data model.
"""

import json
import subprocess

import pytest

import harness
from test_flame_graph import recorded  # noqa: F401  (fixture)

SOURCES = harness.ROOT / "tests/interop/profiles"
WRITER = harness.BUILD / "bin" / "write_profiles"


def go(*arguments):
    command = [harness.ROOT / "scripts/go.sh", *arguments]
    return subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="session")
def checker(tmp_path_factory):
    """Path of the program of tests/interop/profiles."""
    modules = go("mod", "download")
    if modules.returncode != 0:
        reason = (modules.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"the Go modules that read profiles can't be had: {reason}")
    path = tmp_path_factory.mktemp("checker") / "check-profiles"
    built = go("build", "-o", path, ".")
    assert built.returncode == 0, built.stderr
    return path


@pytest.fixture
def check(checker):
    """check(FILE.pb...): what is in each file and beside it, by its name; fails when a rule is broken."""

    def run(*files):
        done = subprocess.run([checker, *files], capture_output=True, text=True, timeout=120)
        results = {result["file"].rpartition("/")[2]: result for result in map(json.loads, done.stdout.splitlines())}
        broken = {file: result["problems"][:20] for file, result in results.items() if result["problems"]}
        assert done.returncode == 0 and not broken, (broken, done.stderr)
        assert len(results) == len(files)
        return results

    return run


def test_a_broken_rule_is_found(checker):
    done = go("test", "-count=1", "./...")
    assert done.returncode == 0, done.stdout + done.stderr


def test_profiles_of_every_kind(check, tmp_path):
    if not WRITER.exists():
        pytest.skip(f"{WRITER} was not built")
    done = subprocess.run([WRITER, tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    written = {name: int(count) for name, count in map(str.split, done.stdout.splitlines())}
    assert set(written) == {"empty", "ordinary", "hostile", "large"}
    results = check(*(tmp_path / f"{name}.pb" for name in written))
    for name, count in written.items():
        result = results[f"{name}.pb"]
        assert len(result["read"]) == 3, result
        assert sum(result["samples"].values()) == count
        assert result["processes"] == (0 if name == "empty" else 2)  # one of the three has no samples
    assert len(results["large.pb"]["samples"]) == 5_000
    assert results["ordinary.pb"]["samples"] == {
        "": 6, "0100000000000000": 4, "0200000000000000": 2, "0300000000000000": 2,
    }  # fmt: skip


def test_a_recorded_profile(check, recorded, tmp_path):  # noqa: F811
    recorded("otlp:cpu.pb", "pprof:cpu.pb.gz")
    result = check(tmp_path / "cpu.pb")["cpu.pb"]
    assert len(result["read"]) == 2 and result["processes"] == 1
    spans = {span: count for span, count in result["samples"].items() if span}
    assert spans and sum(spans.values()) > 50, result["samples"]
