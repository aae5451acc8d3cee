// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What the rules for sites know of machine code, whatever its architecture: instructions with control flow, written
// registers and branch targets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <otel_ebpf/site/site.hpp>

namespace otel_ebpf::site {

// What a kernel does with a uprobe on an instruction.
enum class Treatment : std::uint8_t { emulated, stepped, refused };

// General-purpose registers as bits of their hardware numbers; the stack pointer is one of them.
using Registers = std::uint32_t;
constexpr Registers bit(unsigned register_number) {
    return Registers{1} << register_number;
}

// The registers that an ABI gives to LIVE.
constexpr Registers registers_of(LiveRegisters live, std::span<const unsigned> in_order) {
    Registers registers = 0;
    for (unsigned i = 0; i < in_order.size(); ++i)
        if ((live >> i & 1) != 0) registers |= bit(in_order[i]);
    return registers;
}

// Where control goes after an instruction.
enum class Flow : std::uint8_t {
    next,
    call,  // direct
    indirect_call,
    jump,           // direct
    conditional,    // falls through or jumps
    jump_table,     // to a case of the same function
    indirect_jump,  // any other: leaves the function
    ret,
    trap,  // never continues
};

// ENCODING: what decides about the treatment by a kernel; its `length` is in bytes.
template <class Encoding>
struct BasicInstruction {
    std::uint32_t offset = 0;  // from the start of the function
    Flow flow = Flow::next;
    Encoding encoding = {};
    Registers writes = 0;             // general-purpose registers written, in part or whole
    bool makes_case_address = false;  // by its form it may compute where a jump through a table goes
    Registers jumps_to = 0;           // the register of an indirect jump; 0: the address comes from memory
    bool has_target = false;
    std::uint64_t target = 0;  // of a direct branch or call
    bool has_reference = false;
    std::uint64_t reference = 0;  // an address that the instruction reads from, or makes

    [[nodiscard]] std::uint32_t end() const { return offset + encoding.length; }
    [[nodiscard]] bool falls_through() const { return flow == Flow::next || flow == Flow::conditional; }
    [[nodiscard]] bool is_branch() const { return flow == Flow::jump || flow == Flow::conditional; }
};

// A decoded function. Every branch of the function that stays inside it lands on an instruction.
template <class Encoding>
struct BasicFunction {
    Code code = {};
    std::vector<BasicInstruction<Encoding>> instructions = {};
    std::vector<bool> is_target = {};  // by offset: a branch or an address taken inside the function leads here
    bool has_jump_table = false;       // then is_target lacks the cases

    [[nodiscard]] bool contains(std::uint64_t vaddr) const {
        return vaddr >= code.vaddr && vaddr - code.vaddr < code.bytes.size();
    }
    [[nodiscard]] std::uint64_t vaddr_of(const BasicInstruction<Encoding>& instruction) const {
        return code.vaddr + instruction.offset;
    }
};

// Where the jumps of a Go stack check are, as indices of instructions.
struct StackCheck {
    std::size_t jump = 0;                           // taken when the stack must grow
    std::optional<std::size_t> overflow_jump = {};  // huge frames: taken when the frame is larger than the stack
};

namespace detail {

template <class T>
T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof(value));
    return value;
}

// A jump goes through a table when the instruction that made its address looks so. Any other is left as an indirect
// jump, of which nobody knows where it leads.
template <class Encoding>
void find_switches(std::vector<BasicInstruction<Encoding>>& instructions) {
    for (std::size_t i = 0; i < instructions.size(); ++i) {
        const Registers jumps_to = instructions[i].jumps_to;
        std::size_t writer = i;
        while (writer > 0 && instructions[writer - 1].flow == Flow::next &&
               (instructions[writer - 1].writes & jumps_to) == 0)
            --writer;
        if (jumps_to != 0 && writer > 0 && (instructions[writer - 1].writes & jumps_to) != 0 &&
            instructions[writer - 1].makes_case_address)
            instructions[i].flow = Flow::jump_table;
    }
}

template <class Encoding>
void mark_targets(BasicFunction<Encoding>& function) {
    function.is_target.assign(function.code.bytes.size(), false);
    for (const std::uint64_t vaddr : function.code.entered_at)
        if (function.contains(vaddr)) function.is_target[vaddr - function.code.vaddr] = true;
    for (const BasicInstruction<Encoding>& instruction : function.instructions) {
        if (instruction.flow == Flow::jump_table ||
            (instruction.flow == Flow::indirect_jump && function.code.abi == Abi::native))
            function.has_jump_table = true;
        // The entry is reached from outside anyway; a reference to it makes a call, not a branch.
        if (instruction.has_target && function.contains(instruction.target) &&
            (instruction.flow != Flow::call || instruction.target != function.code.vaddr))
            function.is_target[instruction.target - function.code.vaddr] = true;
        if (instruction.has_reference && function.contains(instruction.reference) &&
            instruction.reference != function.code.vaddr)
            function.is_target[instruction.reference - function.code.vaddr] = true;
    }
}

// Whether every branch inside the function leads to the start of an instruction; STARTS is by offset.
template <class Encoding>
Result<void> check_targets(const BasicFunction<Encoding>& function, const std::vector<bool>& starts,
                           std::string_view what) {
    for (const BasicInstruction<Encoding>& instruction : function.instructions) {
        if (!instruction.has_target || !function.contains(instruction.target)) continue;
        if (!starts[instruction.target - function.code.vaddr])
            return refuse(what, function.code, instruction.offset,
                          "it branches into the middle of an instruction; this code can't be followed");
    }
    return {};
}

// Whether the bounds of a function can be true.
inline Result<void> check_bounds(const Code& code, std::string_view what) {
    constexpr std::size_t largest = std::size_t{1} << 24;  // far above what compilers make; bounds the work
    if (code.bytes.empty()) return refuse(what, code, 0, "the function has no bytes; use a file with its text section");
    if (code.bytes.size() > largest || code.vaddr + code.bytes.size() < code.vaddr)
        return refuse(what, code, 0, "the bounds of the function are impossible; the symbol table is damaged");
    return {};
}

}  // namespace detail
}  // namespace otel_ebpf::site
