# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""What a site on x86-64 owes, checked slowly on objdump's text: shares no code and no decoder with the library.

Each fault_of_...() gives what is wrong with a choice, or "" when it holds.
"""

import bisect
import re

EMULATED_JUMPS = {
    "jmp", "ja", "jae", "jb", "jbe", "je", "jne", "jg", "jge", "jl", "jle", "jo", "jno", "js", "jns", "jp", "jnp",
}
ADDRESS = re.compile(r"[0-9a-f]+$")
# Integer registers of Go's ABI that hold arguments or results, the closure context (rdx) and the stack pointer.
FAMILIES = {
    "rax": "rax eax ax al ah", "rbx": "rbx ebx bx bl bh", "rcx": "rcx ecx cx cl ch", "rdx": "rdx edx dx dl dh",
    "rdi": "rdi edi di dil", "rsi": "rsi esi si sil", "rsp": "rsp esp sp spl",
    "r8": "r8 r8d r8w r8b", "r9": "r9 r9d r9w r9b", "r10": "r10 r10d r10w r10b", "r11": "r11 r11d r11w r11b",
}
FAMILY = {f"%{name}": whole for whole, names in FAMILIES.items() for name in names.split()}
READS_ONLY = ("cmp", "test", "bt", "nop", "prefetch", "ucomis", "comis", "j", "ptest", "vptest")
IMPLICIT = {  # what instructions write without naming it
    "mul": {"rax", "rdx"}, "imul": {"rax", "rdx"}, "div": {"rax", "rdx"}, "idiv": {"rax", "rdx"}, "cltq": {"rax"},
    "cqto": {"rdx"}, "cltd": {"rdx"}, "cwtl": {"rax"}, "cpuid": {"rax", "rbx", "rcx", "rdx"},
    "rdtsc": {"rax", "rdx"}, "rdtscp": {"rax", "rcx", "rdx"}, "xgetbv": {"rax", "rdx"},
    "syscall": {"rax", "rcx", "r11"},
    "push": {"rsp"}, "pop": {"rsp"}, "leave": {"rsp"}, "pushf": {"rsp"}, "popf": {"rsp"}, "cmpxchg": {"rax"},
    "stos": {"rdi", "rcx"}, "movs": {"rdi", "rsi", "rcx"}, "lods": {"rax", "rsi", "rcx"}, "scas": {"rdi", "rcx"},
    "cmpxchg16b": {"rax", "rdx"},
}


def target(line):
    """Where a direct branch or call leads, else None."""
    is_branch = line.mnemonic.startswith(("j", "call", "loop"))
    return int(line.operands, 16) if is_branch and ADDRESS.match(line.operands) else None


def written(line):
    """Those of FAMILIES that the instruction may write."""
    mnemonic = line.mnemonic
    if mnemonic.startswith("call"):
        return set(FAMILIES)
    operands = re.split(r",(?![^(]*\))", line.operands)
    result = set(IMPLICIT.get(mnemonic, IMPLICIT.get(mnemonic.rstrip("bwlq"), set())))
    if mnemonic == "imul" and len(operands) > 1:
        result = set()
    if mnemonic.startswith(("xchg", "xadd")):
        result |= {FAMILY[name] for name in operands if name in FAMILY}
    elif not mnemonic.startswith(READS_ONLY) and not mnemonic.startswith("push") and operands[-1] in FAMILY:
        result.add(FAMILY[operands[-1]])
    return result


def is_emulated(line, length, kernel):
    """Linux: arch/x86/kernel/uprobes.c, branch_setup_xol_ops() and push_setup_xol_ops()."""
    if line.mnemonic.startswith(("nop", "xchg")) and (line.operands == "" or line.operands == "%ax,%ax"):
        return length <= 2
    if line.mnemonic.startswith("nop"):
        # 0f 1f since 6.18, but for the one of 5 bytes, which is rewritten; never with a segment prefix.
        return kernel >= (6, 18) and length != 5 and "%cs:" not in line.operands
    if line.mnemonic in EMULATED_JUMPS or line.mnemonic == "call":
        return target(line) is not None
    return line.mnemonic == "push" and length <= 2 and line.operands.startswith("%r")


class Listing:
    """The instructions of one function, and where its branches lead."""

    def __init__(self, function, lines, morestack):
        end = function.address + function.size
        self.function = function
        self.lines = [line for line in lines if line.address < end]
        self.addresses = [line.address for line in self.lines]
        self.morestack = morestack
        self.branches = sorted(
            (to, i) for i, line in enumerate(self.lines)
            if (to := target(line)) is not None and not line.mnemonic.startswith("call")
            and function.address <= to < end
        )
        self.has_jump_table = any(
            line.mnemonic == "jmp" and line.operands.startswith("*") and ",8)" in line.operands for line in self.lines
        )

    def index(self, address):
        i = bisect.bisect_left(self.addresses, address)
        return i if i < len(self.addresses) and self.addresses[i] == address else None

    def length(self, i):
        end = self.addresses[i + 1] if i + 1 < len(self.addresses) else self.function.address + self.function.size
        return end - self.addresses[i]

    def branch_into(self, first, last):
        """A line that branches to an address in [first, last], or None."""
        i = bisect.bisect_left(self.branches, (first, 0))
        if i < len(self.branches) and self.branches[i][0] <= last:
            return self.lines[self.branches[i][1]]
        return None

    def calls_morestack_first(self, i):
        """Whether the first call or branch from line i on is a call of morestack."""
        for line in self.lines[i : i + 30]:
            if line.mnemonic.startswith(("call", "j", "ret")):
                return line.mnemonic == "call" and target(line) in self.morestack
        return False

    def follows_morestack(self, i):
        """Whether only reloads of registers lie between a call of morestack and line i."""
        for line in reversed(self.lines[max(0, i - 30) : i]):
            if line.mnemonic.startswith(("call", "j", "ret")):
                return line.mnemonic == "call" and target(line) in self.morestack
        return False


def fault_of_cost(listing, i, cost, kernel):
    emulated = is_emulated(listing.lines[i], listing.length(i), kernel)
    if (cost == "emulated") == emulated:
        return ""
    return f"{listing.lines[i].mnemonic} {listing.lines[i].operands} is not {cost}"


def fault_of_entry(listing, address, cost, flags_filter, kernel):
    function, site = listing.function, listing.index(address)
    if site is None:
        return "no instruction starts at the site"
    if fault := fault_of_cost(listing, site, cost, kernel):
        return fault
    for i, line in enumerate(listing.lines[:site]):
        if line.mnemonic.startswith(("call", "ret", "jmp", "ud2", "int3", "hlt")):
            return f"not dominated: {line.mnemonic} before it"
        if line.mnemonic.startswith("j"):
            to = listing.index(target(line)) if target(line) is not None else None
            if to is None or not listing.calls_morestack_first(to):
                return f"{line.mnemonic} before it leads past it"
        if kept := written(line):
            return f"{line.mnemonic} {line.operands} overwrites {sorted(kept)}"
    if address > function.address and listing.branch_into(function.address + 1, address):
        return "a branch leads between the entry and the site"
    for to, i in listing.branches:
        if to != function.address:
            continue
        if flags_filter == "none":
            return "the function branches back to its entry"
        if not listing.follows_morestack(i):
            return "the function branches back to its entry, not from morestack"
    line = listing.lines[site]
    is_check = site > 0 and line.mnemonic == "jbe" and bool(
        re.match(r"0x1[08]\(%r14\),%(rsp|r12)$", listing.lines[site - 1].operands)
    ) and listing.lines[site - 1].mnemonic == "cmp"
    if is_check and not listing.calls_morestack_first(listing.index(target(line)) or 0):
        is_check = False
    if (flags_filter == "stack check") != is_check:
        return f"the filter is {flags_filter!r} at {line.mnemonic} {line.operands}"
    return ""


def leaves(listing, line):
    if line.mnemonic.startswith("ret"):
        return True
    if line.mnemonic != "jmp":
        return False
    to = target(line)
    if to is not None:
        return not listing.function.address <= to < listing.function.address + listing.function.size
    return ",8)" not in line.operands


def fault_of_returns(listing, rule, sites, kernel):
    """Every exit has one site: the exit itself, or (R3) an emulated instruction right above it."""
    left = set(sites)
    if len(left) != len(sites):
        return "a site twice"
    for i, line in enumerate(listing.lines):
        if not leaves(listing, line):
            continue
        if line.address in left:
            left.remove(line.address)
            continue
        if rule == "every return (R4)":
            return f"no site for the exit at {line.address:x}"
        for j in range(i - 1, -1, -1):
            above = listing.lines[j]
            if listing.branch_into(above.address + 1, line.address):
                return f"a branch leads between the site and the exit at {line.address:x}"
            if above.mnemonic.startswith(("j", "call", "ret")) or written(above) & {"rax", "rbx"}:
                return f"no site for the exit at {line.address:x}"
            if above.address in left:
                if not is_emulated(above, listing.length(j), kernel):
                    return f"the site at {above.address:x} is not emulated"
                left.remove(above.address)
                break
        else:
            return f"no site for the exit at {line.address:x}"
    return f"sites that belong to no exit: {[hex(site) for site in left]}" if left else ""


def fault_of_after(listing, callee, sites, kernel):
    """Every direct call has one site behind it, which is not reached otherwise; rax, rbx and rsp are as returned."""
    calls = [i for i, line in enumerate(listing.lines) if line.mnemonic == "call" and target(line) == callee]
    if len(calls) != len(sites):
        return f"{len(sites)} sites for {len(calls)} calls"
    if listing.has_jump_table:
        return "a jump table may lead to a site"
    for call, address in zip(calls, sorted(sites)):
        site = listing.index(address)
        if site is None or site <= call:
            return f"no site behind the call at {listing.lines[call].address:x}"
        if not is_emulated(listing.lines[site], listing.length(site), kernel):
            return f"the site at {address:x} is not emulated"
        for line in listing.lines[call + 1 : site]:
            if line.mnemonic.startswith(("call", "j", "ret")) or written(line) & {"rax", "rbx", "rsp"}:
                return f"{line.mnemonic} {line.operands} between a call and its site"
        if listing.branch_into(listing.lines[call].address + 1, address):
            return f"a branch leads between the call and the site at {address:x}"
    return ""
