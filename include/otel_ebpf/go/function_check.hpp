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
#include <otel_ebpf/site/decode_aarch64.hpp>
#include <otel_ebpf/site/decode_x86_64.hpp>

namespace otel_ebpf::go {

namespace detail {

inline Failure not_this_function(const std::string& reason) {
    return fail(Stage::symbol, "has other code where its function table says: " + reason);
}

// One function's instructions by the offset at which they end.
struct InstructionEnds {
    explicit InstructionEnds(std::size_t code_bytes) : at(code_bytes + 1, Kind::none) {}

    enum class Kind : std::uint8_t {
        none,         // no instruction ends here
        other,
        moves_stack,  // writes the stack pointer and goes on
        leaves,       // a call, a return or a jump: what follows may be reached from elsewhere
    };

    // A nop keeps the return address of a call that never returns inside the function.
    void add(std::size_t begin, std::size_t end, Kind kind, bool is_nop) {
        at[end] = is_nop && at[begin] == Kind::leaves ? Kind::leaves : kind;
    }

    std::vector<Kind> at;
};

inline Result<InstructionEnds> instruction_ends_x86_64(std::uint64_t vaddr, std::span<const std::byte> code) {
    using Kind = InstructionEnds::Kind;
    using site::x86_64::OpcodeMap;
    const auto function = site::x86_64::decode({vaddr, code}, "its instructions");
    if (!function) return not_this_function(function.error().what);
    InstructionEnds ends(code.size());
    for (const site::x86_64::Instruction& instruction : function->instructions) {
        const bool is_nop = instruction.encoding.map == OpcodeMap::one_byte && instruction.encoding.opcode == 0x90;
        const bool moves = (instruction.writes & site::bit(site::x86_64::rsp)) != 0;
        const Kind kind = !instruction.falls_through() ? Kind::leaves : moves ? Kind::moves_stack : Kind::other;
        ends.add(instruction.offset, instruction.end(), kind, is_nop);
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

inline Result<InstructionEnds> instruction_ends_arm64(std::uint64_t vaddr, std::span<const std::byte> code) {
    using Kind = InstructionEnds::Kind;
    const auto function = site::aarch64::decode({vaddr, code}, "its instructions");
    if (!function) return not_this_function(function.error().what);
    InstructionEnds ends(code.size());
    for (const site::aarch64::Instruction& instruction : function->instructions) {
        const std::uint32_t word = instruction.encoding.word;
        const Kind kind = !instruction.falls_through()       ? Kind::leaves
                          : writes_stack_pointer_arm64(word) ? Kind::moves_stack
                                                             : Kind::other;
        ends.add(instruction.offset, instruction.end(), kind, site::aarch64::nop.matches(word));
    }
    if (ends.at.back() == Kind::none) ends.at.back() = Kind::leaves;  // behind constants
    return ends;
}

}  // namespace detail

// `code`: the bytes at `vaddr` up to the next function. Refuses with what contradicts the table.
inline Result<void> check_function(const FunctionIndex& functions, const FunctionIndex::Entry& entry, Arch arch,
                                   std::uint64_t vaddr, std::span<const std::byte> code) {
    using detail::not_this_function;
    using Kind = detail::InstructionEnds::Kind;
    const std::uint32_t size = functions.code_size(entry);
    if (code.size() != entry.distance() || size > code.size()) return not_this_function("it has another size");
    const std::byte padding{arch == Arch::x86_64 ? std::uint8_t{0xcc} : std::uint8_t{0}};  // int3; not an instruction
    if (!std::ranges::all_of(code.subspan(size), [&](std::byte b) { return b == padding; }))
        return not_this_function("no padding behind it");
    auto ends = arch == Arch::x86_64 ? detail::instruction_ends_x86_64(vaddr, code.first(size))
                                     : detail::instruction_ends_arm64(vaddr, code.first(size));
    if (!ends) return tl::unexpected(std::move(ends).error());

    const auto stack = functions.pc_values(entry, PclntabHeader::pcsp_at);
    if (stack.empty()) return not_this_function("its use of the stack is not recorded");
    for (std::size_t i = 0; i < stack.size(); ++i) {
        const Kind kind = ends->at[stack[i].end];
        if (kind == Kind::none || (kind == Kind::other && i + 1 < stack.size()))
            return not_this_function("the stack pointer does not move at +" + std::to_string(stack[i].end));
        if (kind == Kind::moves_stack) ends->at[stack[i].end] = Kind::other;
    }
    for (std::size_t end = 0; end < ends->at.size(); ++end)
        if (ends->at[end] == Kind::moves_stack)
            return not_this_function("the stack pointer moves at +" + std::to_string(end));
    for (const FunctionIndex::PcValue& line : functions.pc_values(entry, PclntabHeader::pcln_at))
        if (line.end < ends->at.size() && ends->at[line.end] == Kind::none)
            return not_this_function("no instruction ends at +" + std::to_string(line.end));
    return {};
}

}  // namespace otel_ebpf::go
