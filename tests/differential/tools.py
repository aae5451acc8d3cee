# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""What the library reads in an executable (dump-code), and what other tools read in it: go tool nm, objdump."""

import collections
import functools
import re
import shutil
import subprocess

import pytest

from harness import BUILD, ROOT, TARGETS

DUMP = BUILD / "bin" / "dump-code"

Function = collections.namedtuple("Function", "address size name")
Instruction = collections.namedtuple("Instruction", "address mnemonic operands")


class Code:
    """What dump-code prints of one function."""

    def __init__(self, words):
        self.function = Function(int(words[1], 16), int(words[2], 16), words[3])
        self.lengths = []       # of instructions
        self.refusals = {}      # "lengths", "entry", "returns" -> reason
        self.entry = None       # (address, cost, filter, rule)
        self.returns = None     # (rule, addresses)
        self.after = []         # (callee, addresses)

    def add(self, words):
        kind = words[0]
        if kind == "lengths":
            self.lengths = [int(digit, 16) for digit in words[1]]
        elif kind == "entry":
            self.entry = (int(words[1], 16), *words[2:])
        elif kind == "returns":
            self.returns = (words[1], [int(word, 16) for word in words[2:]])
        elif kind == "after":
            self.after.append((int(words[1], 16), [int(word, 16) for word in words[2:]]))
        else:
            self.refusals[kind.removeprefix("no-")] = words[1]

    def boundaries(self):
        """Addresses at which instructions start."""
        addresses, at = [], self.function.address
        for length in self.lengths:
            addresses.append(at)
            at += length
        return addresses


def need(path):
    if not path.exists():
        pytest.skip(f"{path} was not built")
    return path


def target(name):
    return need(TARGETS / name)


def output_of(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.splitlines()


def dump(path, *kernel):
    """Every function of the file, in its order."""
    functions = []
    for line in output_of(need(DUMP), path, *kernel):
        words = line.split("\t")
        if words[0] == "function":
            functions.append(Code(words))
        else:
            functions[-1].add(words)
    assert functions, f"dump-code sees no function in {path}"
    return functions


def go_tool_nm(path):
    """Functions by the Go toolchain."""
    go = ROOT / "scripts" / "go.sh"
    if subprocess.run([go, "--usable"], capture_output=True).returncode != 0:
        pytest.skip("no Go >= 1.21 (scripts/setup.sh)")
    functions = []
    for line in output_of(go, "tool", "nm", "-size", "-sort", "address", path):
        words = line.split(None, 3)
        if len(words) == 4 and words[2] in ("T", "t"):
            functions.append(Function(int(words[0], 16), int(words[1]), words[3]))
    assert functions, f"go tool nm sees no function in {path}"
    return functions


@functools.lru_cache(maxsize=1)
def objdump(path):
    """{address of a symbol: [Instruction, ...] up to the next symbol}, by GNU binutils."""
    if shutil.which("objdump") is None:
        pytest.skip("no objdump (apt-get install binutils)")
    label = re.compile(r"([0-9a-f]{16}) <.*>:$")
    functions, current = {}, []
    for line in output_of("objdump", "--disassemble", "--wide", "--no-show-raw-insn", path):
        if line.startswith("  "):
            address, text = line.split(":\t", 1)
            text = re.split(r"\s*[<#]", text, maxsplit=1)[0]
            # A prefix stands alone before what it belongs to: "rep stos %al,(%rdi)", "bnd jmp 401000".
            mnemonic, _, operands = text.partition(" ")
            while mnemonic in PREFIXES and operands:
                mnemonic, _, operands = operands.strip().partition(" ")
            current.append(Instruction(int(address, 16), mnemonic, operands.strip()))
        elif found := label.match(line):
            current = functions.setdefault(int(found[1], 16), [])
    assert functions, f"objdump sees no function in {path}"
    return functions


PREFIXES = {"bnd", "notrack", "rep", "repz", "repnz", "lock", "data16", "addr32", "cs", "ds", "es", "ss", "fs", "gs"}
