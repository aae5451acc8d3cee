# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Tables of functions: as go tool nm gives them, and of a stripped executable as of its plain twin."""

import collections

import pytest

from harness import TARGETS
from tools import dump, go_tool_nm, target

PLAIN = sorted(path.name for path in TARGETS.glob("*-go1.*[0-9]")) or ["server-go1.24"]
TWINS = sorted(name for name in PLAIN if (TARGETS / f"{name}-stripped").exists()) or ["server-go1.24"]
MARKS = {"runtime.text", "runtime.etext"}  # symbols for places, not functions


def by_address(functions):
    table = collections.defaultdict(set)
    for function in functions:
        table[function.address].add(function)
    return table


def differences(left, right):
    return [(left.get(at), right.get(at)) for at in sorted(left.keys() | right.keys()) if left.get(at) != right.get(at)]


@pytest.mark.parametrize("name", PLAIN)
def test_functions_are_those_of_go_tool_nm(name):
    path = target(name)
    theirs = [function for function in go_tool_nm(path) if function.name not in MARKS]
    ours = [code.function for code in dump(path)]
    assert len(ours) > 1000
    assert not differences(by_address(ours), by_address(theirs))[:5]


def twin_name(name):
    """What both call a function: without the ABI and the shapes of type parameters, which the function table of Go does
    not name, and without the middle dots that the symbol table can't."""
    name = name.removesuffix(".abi0").removesuffix(".abiinternal").replace("\u00b7", ".")
    begin, end = name.find("["), name.rfind("]")
    return name[: begin + 1] + "..." + name[end:] if 0 <= begin < end else name


@pytest.mark.parametrize("name", TWINS)
def test_functions_of_a_stripped_twin_are_the_same(name):
    # go:textfipsstart and go:textfipsend are labels: how far they reach is the linker's choice.
    def key(function):
        size = None if function.name.startswith("go:textfips") else function.size
        return function._replace(name=twin_name(function.name), size=size)

    plain = by_address(key(code.function) for code in dump(target(name)))
    stripped = by_address(key(code.function) for code in dump(target(f"{name}-stripped")))
    assert len(plain) > 1000
    assert not differences(plain, stripped)[:5]
