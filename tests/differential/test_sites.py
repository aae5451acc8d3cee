# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Every site that the selector chooses, over every function of several executables, meets its obligations."""

import collections

import pytest

import obligations
from obligations import Listing
from tools import Function, Instruction, dump, objdump, target

# (executable, its plain twin, which has the code at the same addresses, kernel)
CHOICES = [("server-go1.19", "server-go1.19", (6, 1)), ("server-go1.24-stripped", "server-go1.24", (6, 18)),
           ("server-go1.26", "server-go1.26", (6, 18)), ("server-go1.27", "server-go1.27", (6, 1)),
           ("server-go1.27-stripped", "server-go1.27", (6, 18))]


def faults_of(code, listing, kernel, counts):
    address = hex(code.function.address)
    if code.entry:
        counts["entries"] += 1
        site, cost, flags_filter, rule = code.entry
        counts[rule] += 1
        if fault := obligations.fault_of_entry(listing, site, cost, flags_filter, kernel):
            yield f"{code.function.name} {address}: entry at {site:x} ({rule}): {fault}"
    if code.returns:
        counts["returns"] += 1
        if fault := obligations.fault_of_returns(listing, *code.returns, kernel):
            yield f"{code.function.name} {address}: returns ({code.returns[0]}): {fault}"
    for callee, sites in code.after:
        counts["after calls"] += 1
        if fault := obligations.fault_of_after(listing, callee, sites, kernel):
            yield f"{code.function.name} {address}: after calls of {callee:x}: {fault}"


@pytest.mark.parametrize("name, plain, kernel", CHOICES)
def test_every_site_meets_its_obligations(name, plain, kernel):
    lines = objdump(target(plain))
    functions = dump(target(name), ".".join(map(str, kernel)))
    morestack = {code.function.address for code in functions if code.function.name.startswith("runtime.morestack")}
    counts, faults = collections.Counter(), []
    for code in functions:
        if code.lengths:
            listing = Listing(code.function, lines[code.function.address], morestack)
            faults += faults_of(code, listing, kernel, counts)
    print(f"{name}, Linux {kernel[0]}.{kernel[1]}: {dict(counts)}")
    assert not faults, f"{len(faults)} faults: " + "\n".join(faults[:10])
    assert counts["entries"] > 4000 and counts["returns"] > 4000 and counts["after calls"] > 4000
    assert counts["stack check jump"] > 3000


# A checker that finds nothing wrong anywhere would be worth nothing.

MORESTACK = 0x9000
LINES = [Instruction(*line) for line in (
    (0x1000, "cmp", "0x10(%r14),%rsp"),
    (0x1004, "jbe", "1020"),
    (0x1006, "push", "%rbp"),
    (0x1007, "mov", "%rsp,%rbp"),
    (0x100a, "call", "5000"),
    (0x100f, "test", "%rax,%rax"),
    (0x1012, "je", "1018"),
    (0x1014, "mov", "$0x1,%eax"),
    (0x1018, "nop", ""),
    (0x1019, "pop", "%rbp"),
    (0x101a, "ret", ""),
    (0x1020, "call", f"{MORESTACK:x}"),
    (0x1025, "jmp", "1000"),
)]
FUNCTION = Function(0x1000, 0x27, "f")
KERNEL = (6, 1)


@pytest.fixture
def listing():
    return Listing(FUNCTION, LINES, {MORESTACK})


def test_the_checker_accepts_what_is_right(listing):
    assert obligations.fault_of_entry(listing, 0x1004, "emulated", "stack check", KERNEL) == ""
    assert obligations.fault_of_returns(listing, "every return (R4)", [0x101a], KERNEL) == ""
    assert obligations.fault_of_returns(listing, "tail (R3)", [0x1018], KERNEL) == ""
    assert obligations.fault_of_after(listing, 0x5000, [0x1012], KERNEL) == ""


@pytest.mark.parametrize("site, cost, flags_filter, fault", [
    (0x1005, "emulated", "stack check", "no instruction starts"),
    (0x1000, "emulated", "none", "is not emulated"),
    (0x1000, "stepped", "none", "branches back to its entry"),
    (0x1004, "stepped", "stack check", "is not stepped"),
    (0x1004, "emulated", "none", "branches back to its entry"),
    (0x1006, "emulated", "none", "branches back to its entry"),
    (0x1006, "emulated", "stack check", "the filter is"),
    (0x100a, "emulated", "stack check", "overwrites ['rsp']"),
    (0x1025, "emulated", "stack check", "overwrites ['rsp']"),
])
def test_the_checker_refuses_wrong_entries(listing, site, cost, flags_filter, fault):
    assert fault in obligations.fault_of_entry(listing, site, cost, flags_filter, KERNEL)


def test_the_checker_refuses_entries_behind_calls_writes_and_branches():
    called = [Instruction(0x1000, "call", "5000"), Instruction(0x1005, "nop", ""), Instruction(0x1006, "ret", "")]
    listing = Listing(Function(0x1000, 7, "f"), called, set())
    assert "not dominated" in obligations.fault_of_entry(listing, 0x1005, "emulated", "none", KERNEL)
    moved = [Instruction(0x1000, "mov", "%rbx,%rcx"), Instruction(0x1003, "nop", ""), Instruction(0x1004, "ret", "")]
    listing = Listing(Function(0x1000, 5, "g"), moved, set())
    assert "overwrites ['rcx']" in obligations.fault_of_entry(listing, 0x1003, "emulated", "none", KERNEL)
    loop = [Instruction(0x1000, "test", "%rax,%rax"), Instruction(0x1003, "nop", ""),
            Instruction(0x1004, "jne", "1003"), Instruction(0x1006, "ret", "")]
    listing = Listing(Function(0x1000, 7, "h"), loop, set())
    assert "a branch leads" in obligations.fault_of_entry(listing, 0x1003, "emulated", "none", KERNEL)


@pytest.mark.parametrize("rule, sites, fault", [
    ("every return (R4)", [0x1019], "no site for the exit"),
    ("tail (R3)", [0x1019], "not emulated"),
    ("tail (R3)", [0x1012], "a branch leads"),
    ("tail (R3)", [0x100a], "a branch leads"),
    ("tail (R3)", [0x1018, 0x1006], "belong to no exit"),
    ("every return (R4)", [0x101a, 0x101a], "a site twice"),
])
def test_the_checker_refuses_wrong_returns(listing, rule, sites, fault):
    assert fault in obligations.fault_of_returns(listing, rule, sites, KERNEL)


@pytest.mark.parametrize("sites, fault", [
    ([], "0 sites for 1 calls"),
    ([0x100f], "not emulated"),
    ([0x1006], "no site behind"),
    ([0x1018], "between a call and its site"),
])
def test_the_checker_refuses_wrong_sites_after_calls(listing, sites, fault):
    assert fault in obligations.fault_of_after(listing, 0x5000, sites, KERNEL)
