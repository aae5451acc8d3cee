# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Where instructions start: every function of several executables, as objdump has it."""

import pytest

from tools import dump, objdump, target

KERNEL = "6.18"
# The plain twin has the code at the same addresses, and symbols by which objdump starts anew at each function.
EXECUTABLES = [("server-go1.19", None), ("server-go1.27", None), ("server-go1.27-stripped", "server-go1.27"),
               ("server-go1.24-stripped", "server-go1.24"), ("burn-cpp", None), ("burn-cpp-pie", None)]
# Assembly. Functions of crypto/internal/boring/sig hold bytes that are no code; the others change the stack's depth
# where no instruction ends, so the library, which checks the code of a stripped executable by it, does without them.
REFUSED = ("crypto/internal/boring/sig.", "go:textfips", "runtime.cgoSigtramp", "runtime.sigreturn__sigaction",
           "vendor/golang.org/x/crypto/chacha20poly1305.")


@pytest.mark.parametrize("name, plain", EXECUTABLES)
def test_boundaries_are_those_of_objdump(name, plain):
    listing = objdump(target(plain or name))
    compared, instructions, undecoded = 0, 0, []
    for code in dump(target(name), KERNEL):
        address, size, symbol = code.function
        if not code.lengths:
            undecoded.append((symbol, code.refusals["lengths"]))
            continue
        ours = code.boundaries()
        end = ours[-1] + code.lengths[-1]
        theirs = [line.address for line in listing[address] if line.address < end]
        assert ours == theirs, f"{symbol}: {[hex(at) for at in sorted(set(ours) ^ set(theirs))[:5]]}"
        rest = {line.mnemonic for line in listing[address] if end <= line.address < address + size}
        assert rest <= {"int3", "add", "nop", "ud2"}, f"{symbol}: {rest} behind its last instruction"
        compared += 1
        instructions += len(ours)
    print(f"{name}: {instructions} instructions of {compared} functions; not decoded: {undecoded}")
    assert compared >= 4 and (name.startswith("burn-cpp") or compared > 4000)
    assert all(symbol.startswith(REFUSED) for symbol, _ in undecoded), undecoded
