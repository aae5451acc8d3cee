# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""The offset tables against DWARF: a build of each module, of the newest version in the table that is at hand.

With OTEL_EBPF_TEST_ALL_OFFSETS=1, of every version in the module cache, and of std by every toolchain there.
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

import harness

MODULES = harness.ROOT / "tools/offsets/modules"
CHECKER = harness.BUILD / "bin" / "offset_agreement"
ALL = os.environ.get("OTEL_EBPF_TEST_ALL_OFFSETS") == "1"


def go(*arguments, folder=MODULES.parent, toolchain="local"):
    environment = {**os.environ, "GOTOOLCHAIN": toolchain, "GOFLAGS": "-mod=mod -buildvcs=false", "CGO_ENABLED": "0"}
    return subprocess.run(
        [harness.ROOT / "scripts/go.sh", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def checker():
    if not CHECKER.exists():
        pytest.skip(f"{CHECKER} was not built")
    if subprocess.run([harness.ROOT / "scripts/go.sh", "--usable"], check=False).returncode != 0:
        pytest.skip("no Go >= 1.21: run scripts/setup.sh")
    return CHECKER


@pytest.fixture(scope="module")
def cache(checker):
    return pathlib.Path(go("env", "GOMODCACHE").stdout.strip())


def module_of(name):
    return re.search(r"^@module (\S+)", (MODULES / name / "structs.txt").read_text(), re.M).group(1)


def in_cache(cache, module):
    """Versions whose source is there, oldest first."""
    escaped = re.sub("[A-Z]", lambda letter: "!" + letter.group().lower(), module)
    found = (path.stem for path in (cache / "cache/download" / escaped / "@v").glob("v*.zip"))
    return sorted(found, key=lambda version: [int(number) for number in re.findall(r"\d+", version)])


def in_table(checker, module):
    lines = subprocess.run([checker], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split()[1] for line in lines if line.split()[0] == module]


def build(name, version, folder, toolchain="local"):
    """Builds a module's program; skips where the module or a dependency can't be had."""
    folder = folder / f"{version}-{toolchain}"
    shutil.copytree(MODULES / name, folder)
    release = go("env", "GOVERSION", toolchain=toolchain).stdout.strip()
    requirement = f"require {module_of(name)} {version}\n" if version else ""
    language = "1.19" if name == "std" else re.match(r"go(\d+\.\d+)", release).group(1)
    (folder / "go.mod").write_text(f"module otel_ebpf.test/offsets\n\ngo {language}\n\n{requirement}")
    done = go("build", "-o", "program", ".", folder=folder, toolchain=toolchain)
    if done.returncode != 0:
        pytest.skip(f"{name} {version} by {release}: {done.stderr.strip().splitlines()[-1]}")
    return folder / "program"


def compared(checker, program, module):
    """How many values of the module were compared; fails when one differs."""
    done = subprocess.run([checker, program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return sum(int(count) for count in re.findall(rf"^(\d+) {re.escape(module)} ", done.stdout, re.M))


@pytest.mark.parametrize("name", sorted(path.name for path in MODULES.iterdir() if path.name != "std"))
def test_table_and_dwarf_agree(checker, cache, tmp_path, name):
    module = module_of(name)
    listed = in_table(checker, module)
    assert listed, f"no table for {module}"
    known = [
        version
        for version in in_cache(cache, module)
        if version in listed or any(version.startswith(f"v0.0.0-{date}") for date in listed)
    ]
    if not known and not listed[-1].startswith("v"):
        pytest.skip(f"no version of {module} in {cache}")
    versions = known if ALL and known else [(known or listed)[-1]]
    values = {version: compared(checker, build(name, version, tmp_path), module) for version in versions}
    print(f"{module}: {values} values")
    assert all(count > 2 for count in values.values()), values


@pytest.mark.skipif(not ALL, reason="OTEL_EBPF_TEST_ALL_OFFSETS=1 builds std by every toolchain in the module cache")
def test_std_and_dwarf_agree_by_every_toolchain(checker, cache, tmp_path):
    folders = (cache / "golang.org").glob("toolchain@v0.0.1-go*.linux-amd64")
    toolchains = [folder.name.split("-")[1].removesuffix(".linux") for folder in folders]
    releases = in_table(checker, "std")
    values = {}
    for toolchain in ["local", *toolchains]:
        release = go("env", "GOVERSION", toolchain=toolchain).stdout.strip().removeprefix("go")
        if "v" + (release if release.count(".") == 2 else release + ".0") in releases:
            values[release] = compared(checker, build("std", "", tmp_path, toolchain), "std")
    print(f"std: {values} values")
    assert values and all(count > 200 for count in values.values()), values
