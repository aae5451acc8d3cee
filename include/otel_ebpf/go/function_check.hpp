// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Whether the code at an address is the function that an entry of the function table describes.
//
// A probe on a wrong instruction can crash the target, and everything that says where the text starts may be damaged or
// of a release that moved it. So the code itself is asked: the table says at which instructions source lines change and
// the stack pointer moves, and other code does not happen to agree.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/go/function_index.hpp>
#include <otel_ebpf/site/decode_x86_64.hpp>

namespace otel_ebpf::go {

namespace detail {

inline Failure not_this_function(const std::string& reason) {
    return fail(Stage::symbol, "has other code where its function table says: " + reason);
}

// Instructions of one function by where they end: what may come before a change of the stack pointer.
struct InstructionEnds {
    std::vector<bool> is_end;          // by offset
    std::vector<bool> may_move_stack;  // writes the stack pointer, or what follows is reached from elsewhere
};

inline Result<InstructionEnds> instruction_ends_x86_64(std::uint64_t vaddr, std::span<const std::byte> code) {
    const auto function = site::x86_64::decode({vaddr, code}, "its instructions");
    if (!function) return not_this_function(function.error().what);
    InstructionEnds ends{std::vector<bool>(code.size() + 1), std::vector<bool>(code.size() + 1)};
    for (const site::x86_64::Instruction& instruction : function->instructions) {
        ends.is_end[instruction.end()] = true;
        // A nop keeps the return address of a call that never returns inside the function.
        const bool is_nop = instruction.encoding.map == site::x86_64::OpcodeMap::one_byte && instruction.encoding.opcode == 0x90;
        ends.may_move_stack[instruction.end()] =
            !instruction.falls_through() || (instruction.writes & site::x86_64::bit(site::x86_64::rsp)) != 0 ||
            (is_nop && ends.may_move_stack[instruction.offset]);
    }
    return ends;
}

// Instructions of arm64 that write the stack pointer: loads and stores with write-back, sums, and logical ones (Arm
// Architecture Reference Manual, C4.1).
constexpr bool writes_stack_pointer_arm64(std::uint32_t word) {
    constexpr std::uint32_t sp = 31;
    const bool is_result = (word & 0x1f) == sp, is_base = (word >> 5 & 0x1f) == sp;
    if ((word & 0x3b20'0400) == 0x3800'0400) return is_base;                                // ldr, str
    if ((word & 0x3a80'0000) == 0x2880'0000) return is_base;                                // ldp, stp
    if ((word & 0x3f80'0000) == 0x1100'0000 || (word & 0x3fe0'0000) == 0x0b20'0000) return is_result;  // add
    return (word & 0x1f80'0000) == 0x1200'0000 && (word & 0x6000'0000) != 0x6000'0000 && is_result;
}

constexpr bool may_leave_arm64(std::uint32_t word) {
    const bool branches = (word & 0x7c00'0000) == 0x1400'0000 || (word & 0xfe00'0000) == 0xd600'0000;
    return branches || (word & 0xffe0'0000) == 0xd420'0000 || word == 0;  // brk, undefined
}

inline Result<InstructionEnds> instruction_ends_arm64(std::span<const std::byte> code) {
    constexpr std::size_t bytes = 4;
    if (code.size() % bytes != 0) return not_this_function("it ends inside an instruction");
    InstructionEnds ends{std::vector<bool>(code.size() + 1), std::vector<bool>(code.size() + 1)};
    for (std::size_t at = 0; at < code.size(); at += bytes) {
        const auto word = load<std::uint32_t>(code, at);
        ends.is_end[at + bytes] = true;
        ends.may_move_stack[at + bytes] = writes_stack_pointer_arm64(word) || may_leave_arm64(word);
    }
    return ends;
}

}  // namespace detail

// `code`: the bytes at `vaddr` up to the next function. Refuses with what contradicts the table.
inline Result<void> check_function(const FunctionIndex& functions, const FunctionIndex::Entry& entry, Arch arch,
                                   std::uint64_t vaddr, std::span<const std::byte> code) {
    using detail::not_this_function;
    const std::uint32_t size = functions.code_size(entry);
    if (code.size() != entry.distance() || size > code.size()) return not_this_function("it has another size");
    constexpr std::byte int3{0xcc};  // what the linker pads with on x86-64
    if (arch == Arch::x86_64 && !std::ranges::all_of(code.subspan(size), [](std::byte b) { return b == int3; }))
        return not_this_function("no padding behind it");
    auto ends = arch == Arch::x86_64 ? detail::instruction_ends_x86_64(vaddr, code.first(size))
                                     : detail::instruction_ends_arm64(code.first(size));
    if (!ends) return tl::unexpected(std::move(ends).error());

    const auto stack = functions.pc_values(entry, PclntabHeader::pcsp_at);
    if (stack.empty()) return not_this_function("its use of the stack is not recorded");
    for (std::size_t i = 0; i < stack.size(); ++i)
        if (!ends->is_end[stack[i].end] || (i + 1 < stack.size() && !ends->may_move_stack[stack[i].end]))
            return not_this_function("its stack pointer does not move at +" + std::to_string(stack[i].end));
    for (const FunctionIndex::PcValue& line : functions.pc_values(entry, PclntabHeader::pcln_at))
        if (line.end < ends->is_end.size() && !ends->is_end[line.end])
            return not_this_function("no instruction ends at +" + std::to_string(line.end));
    return {};
}

}  // namespace otel_ebpf::go
