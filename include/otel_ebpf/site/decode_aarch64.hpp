// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// arm64 machine code of one function -> instructions with control flow, written registers and branch targets.
//
// Not a disassembler: it knows all that changes the flow of control, and of everything else no more than which general
// registers it may write, too many rather than too few.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/site/emulation_aarch64.hpp>
#include <otel_ebpf/site/function.hpp>

namespace otel_ebpf::site::aarch64 {

using Instruction = BasicInstruction<Encoding>;
using Function = BasicFunction<Encoding>;

inline constexpr unsigned link_register = 30;
inline constexpr unsigned sp = 31;  // where an instruction can't name it, 31 is the zero register
inline constexpr Registers every_register = ~Registers{0};

// go.googlesource.com/go, src/cmd/compile/abi-internal.md, "arm64 architecture"
inline constexpr unsigned go_integer_registers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
inline constexpr unsigned go_g = 28;
inline constexpr unsigned go_closure_context = 26;
// Procedure Call Standard for the Arm 64-bit Architecture, 6.4.2 and 6.5: x8 has the place of a large result
inline constexpr unsigned native_arguments[] = {0, 1, 2, 3, 4, 5, 6, 7};
inline constexpr unsigned native_results[] = {0, 1};

// What must be intact at an entry, and where a call has just returned.
constexpr Registers kept_at_entry(LiveRegisters arguments, Abi abi) {
    const Registers always = bit(sp) | bit(link_register);
    if (abi == Abi::native) return registers_of(arguments, native_arguments) | always;
    return registers_of(arguments, go_integer_registers) | bit(go_closure_context) | bit(go_g) | always;
}
constexpr Registers kept_results(LiveRegisters results, Abi abi) {
    return abi == Abi::native ? registers_of(results, native_results) : registers_of(results, go_integer_registers);
}
constexpr Registers kept_after_call(LiveRegisters results, Abi abi) {
    return kept_results(results, abi) | bit(sp) | (abi == Abi::go ? bit(go_g) : Registers{0});
}

namespace detail {

constexpr std::uint32_t field(std::uint32_t word, unsigned high, unsigned low) {
    return word >> low & ((std::uint32_t{1} << (high - low + 1)) - 1);
}
// A field as a signed number.
constexpr std::int64_t signed_field(std::uint32_t word, unsigned high, unsigned low) {
    const std::int64_t value = field(word, high, low);
    const std::int64_t sign = std::int64_t{1} << (high - low);
    return (value ^ sign) - sign;
}
// Register 31 is the zero register.
constexpr Registers unless_zero(std::uint32_t number) {
    return number == 31 ? 0 : bit(number);
}

constexpr Registers written_by_immediate(std::uint32_t word) {
    const std::uint32_t rd = field(word, 4, 0), kind = field(word, 25, 23);
    const bool sets_flags = kind == 4 ? field(word, 30, 29) == 3 : field(word, 29, 29) == 1;
    // Sums and logical operations write the stack pointer, unless they set flags.
    const bool may_write_sp = kind == 3 || ((kind == 2 || kind == 4) && !sets_flags);
    return may_write_sp ? bit(rd) : unless_zero(rd);
}

constexpr Registers written_by_register_operation(std::uint32_t word) {
    if (Pattern{0x1fe00000, 0x1a400000}.matches(word)) return 0;  // ccmp, ccmn
    const std::uint32_t rd = field(word, 4, 0);
    const bool is_extended_sum = Pattern{0x1f200000, 0x0b200000}.matches(word) && field(word, 29, 29) == 0;
    const bool has_two_sources = Pattern{0x5fe00000, 0x1ac00000}.matches(word);  // irg writes the stack pointer
    return is_extended_sum || has_two_sources ? bit(rd) : unless_zero(rd);
}

constexpr Registers written_by_system(std::uint32_t word) {
    if (nop.matches(word) || Pattern{0xffffff3f, 0xd503241f}.matches(word)) return 0;  // nop, bti
    if (hint.matches(word)) return bit(link_register) | bit(17) | bit(16);             // pointer authentication
    const bool reads = field(word, 21, 21) == 1;                                       // mrs, sysl
    return reads ? unless_zero(field(word, 4, 0)) : 0;
}

constexpr Registers written_by_access(std::uint32_t word) {
    const bool is_vector = field(word, 26, 26) == 1;
    const Registers base = bit(field(word, 9, 5)), first = unless_zero(field(word, 4, 0));
    const Registers second = unless_zero(field(word, 14, 10));
    const std::uint32_t kind = field(word, 29, 27);
    if (load_literal.matches(word)) return is_vector ? 0 : first;
    if (kind == 5) {  // pairs; bit 23: writes the base back
        const bool loads = field(word, 22, 22) == 1 && !is_vector;
        return (loads ? first | second : 0) | (field(word, 23, 23) == 1 ? base : 0);
    }
    if (kind != 7) return every_register;
    const Registers value = field(word, 23, 22) == 0 || is_vector ? 0 : first;
    if (field(word, 24, 24) == 1) return value;  // unsigned offset
    const std::uint32_t form = field(word, 11, 10);
    if (field(word, 21, 21) == 0) return value | (form == 1 || form == 3 ? base : 0);
    if (form == 2) return value;  // register offset
    if (form != 0) return first | base;
    const bool is_atomic = field(word, 15, 15) == 0 || field(word, 14, 12) == 0 || field(word, 14, 12) == 4;
    return is_atomic && !is_vector ? first : every_register;
}

}  // namespace detail

// General registers that an instruction may write; a call writes what the callee does, which is not told here.
constexpr Registers written_registers(std::uint32_t word) {
    if (exclusive.matches(word)) return every_register;  // sites must not lie between the two halves of an access
    switch (detail::field(word, 28, 25)) {
        case 8:
        case 9: return detail::written_by_immediate(word);
        case 10:
        case 11:
            if (system.matches(word)) return detail::written_by_system(word);
            if (Pattern{0xff000000, 0xd4000000}.matches(word)) return every_register;  // svc
            return bl.matches(word) || blr.matches(word) ? bit(link_register) : 0;
        case 5:
        case 13: return detail::written_by_register_operation(word);
        case 7:
        case 15: return detail::unless_zero(detail::field(word, 4, 0));  // vectors: at most one general register
        case 4:
        case 6:
        case 12:
        case 14: return detail::written_by_access(word);
        default: return every_register;
    }
}

// Where control goes after an instruction; nothing for branches of a kind unknown here.
constexpr std::optional<Flow> flow_of(std::uint32_t word) {
    using detail::field;
    if (field(word, 31, 16) == 0) return Flow::trap;  // udf
    if (!branch_or_system.matches(word)) return Flow::next;
    if (b.matches(word)) return Flow::jump;
    if (bl.matches(word)) return Flow::call;
    if (Pattern{0xff000000, 0x54000000}.matches(word) || compare_and_branch.matches(word) ||
        test_and_branch.matches(word))
        return Flow::conditional;
    if (system.matches(word)) return Flow::next;
    if (Pattern{0xff000000, 0xd4000000}.matches(word))
        return Pattern{0xffe0001f, 0xd4000001}.matches(word) ? Flow::next : Flow::trap;  // svc; brk, hlt and so on
    if (!Pattern{0xfe1f0000, 0xd61f0000}.matches(word)) return std::nullopt;
    switch (field(word, 24, 21)) {
        case 0:
        case 8: return Flow::indirect_jump;
        case 1:
        case 9: return Flow::indirect_call;
        case 2: return Flow::ret;
        case 4:
        case 5: return Flow::trap;  // eret, drps
        default: return std::nullopt;
    }
}

// The target of a direct branch or call at VADDR.
constexpr std::optional<std::uint64_t> target_of(std::uint32_t word, std::uint64_t vaddr) {
    std::int64_t words = 0;
    if (b.matches(word) || bl.matches(word)) words = detail::signed_field(word, 25, 0);
    else if (Pattern{0xff000000, 0x54000000}.matches(word) || compare_and_branch.matches(word))
        words = detail::signed_field(word, 23, 5);
    else if (test_and_branch.matches(word)) words = detail::signed_field(word, 18, 5);
    else return std::nullopt;
    return vaddr + static_cast<std::uint64_t>(words * 4);
}

namespace detail {

// What adr or adrp at VADDR makes.
constexpr std::uint64_t made_address(std::uint32_t word, std::uint64_t vaddr) {
    const std::int64_t distance = signed_field(word, 23, 5) * 4 + field(word, 30, 29);
    if (adr.matches(word)) return vaddr + static_cast<std::uint64_t>(distance);
    return (vaddr & ~std::uint64_t{0xfff}) + static_cast<std::uint64_t>(distance * 4096);
}

// Words of a function that its instructions load, by index; compilers put large constants behind the code.
class Literals {
public:
    explicit Literals(const Code& code) : code_(code), is_data_(code.bytes.size() / 4, false) {}

    [[nodiscard]] bool has(std::size_t index) const { return is_data_[index]; }

    // The constant that the load at INDEX gives, where it is one word of 32 or 64 bits. False: it lies outside of the
    // function, or before the load, where it may have been taken for code.
    [[nodiscard]] bool add(std::uint32_t word, std::size_t index, std::optional<std::uint64_t>& value) {
        const std::int64_t first = static_cast<std::int64_t>(index) + signed_field(word, 23, 5);
        const bool is_vector = field(word, 26, 26) == 1;
        const std::uint32_t size = field(word, 31, 30);
        if (size == 3 && !is_vector) return true;  // a prefetch
        const std::int64_t words = is_vector ? std::int64_t{1} << (size & 3) : size == 1 ? 2 : 1;
        const auto count = static_cast<std::int64_t>(is_data_.size());
        if (first <= static_cast<std::int64_t>(index) || first + words > count) return false;
        for (std::int64_t i = first; i < first + words; ++i) is_data_[static_cast<std::size_t>(i)] = true;
        const std::byte* const at = code_.bytes.data() + first * 4;
        if (!is_vector)
            value = words == 2 ? site::detail::load<std::uint64_t>(at) : site::detail::load<std::uint32_t>(at);
        return true;
    }

private:
    const Code& code_;
    std::vector<bool> is_data_;
};

// Addresses made of a page (adrp) and a place on it (add).
class Pages {
public:
    // What INSTRUCTION, which is WORD, makes.
    std::optional<std::uint64_t> follow(std::uint32_t word, const Instruction& instruction, std::uint64_t vaddr) {
        std::optional<std::uint64_t> made;
        const std::uint32_t to = field(word, 4, 0), from = field(word, 9, 5);
        if (adr.matches(word)) made = made_address(word, vaddr);
        if (Pattern{0xffc00000, 0x91000000}.matches(word) && (known_ & bit(from)) != 0)
            made = page_[from] + field(word, 21, 10);
        known_ &= ~instruction.writes;
        if (adrp.matches(word)) {
            page_[to] = made_address(word, vaddr);
            known_ |= bit(to);
        }
        return made;
    }

private:
    std::array<std::uint64_t, 32> page_{};
    Registers known_ = 0;
};

// By its form the load of a case's address in Go, ldr x27, [TABLE, INDEX, lsl #3], or the sum that is one in C and C++.
constexpr bool makes_case_address(std::uint32_t word, Abi abi) {
    return abi == Abi::go ? Pattern{0xffe0fc00, 0xf8607800}.matches(word)
                          : Pattern{0xff000000, 0x8b000000}.matches(word);
}

// A function can't continue behind its last instruction. A call that never returns may come last, with nops.
inline bool ends_here(const std::vector<Instruction>& instructions) {
    for (auto last = instructions.rbegin(); last != instructions.rend(); ++last) {
        if (!last->falls_through()) return true;
        if (!nop.matches(last->encoding.word)) return false;
    }
    return false;
}

// Constants that no load names any more may come last: words behind the last instruction that leaves, to which nothing
// leads (go1.19.13: runtime.(*mheap).reclaim).
inline void drop_dead_constants(Function& function) {
    auto& instructions = function.instructions;
    auto last = instructions.rbegin();
    while (last != instructions.rend() && last->flow == Flow::next) ++last;
    if (last == instructions.rend() || function.has_jump_table) return;
    const bool leaves = last->flow == Flow::jump || last->flow == Flow::indirect_jump || last->flow == Flow::ret ||
                        last->flow == Flow::trap;
    const auto is_target = function.is_target.begin() + last->end();
    if (!leaves || std::find(is_target, function.is_target.end(), true) != function.is_target.end()) return;
    instructions.erase(last.base(), instructions.end());
}

}  // namespace detail

// Decodes a whole function; WHAT names the purpose in errors ("entry site"). Refuses what is not aligned, branches of
// an unknown kind or onto a constant, an end that continues, and constants that run.
inline Result<Function> decode(const Code& code, std::string_view what) {
    using site::detail::refuse;
    if (auto checked = site::detail::check_bounds(code, what); !checked) return tl::unexpected(checked.error());
    if (code.vaddr % 4 != 0 || code.bytes.size() % 4 != 0)
        return refuse(what, code, 0, "the function is not made of whole instructions; its bounds are wrong");

    Function function;
    function.code = code;
    function.instructions.reserve(code.bytes.size() / 4);
    std::vector<bool> starts(code.bytes.size(), false);
    detail::Literals literals(code);
    detail::Pages pages;
    for (std::size_t offset = 0; offset < code.bytes.size(); offset += 4) {
        if (literals.has(offset / 4)) {
            if (!detail::ends_here(function.instructions))
                return refuse(what, code, offset, "control runs into a constant; this code can't be followed");
            continue;
        }
        const auto word = site::detail::load<std::uint32_t>(code.bytes.data() + offset);
        const std::uint64_t vaddr = code.vaddr + offset;
        const std::optional<Flow> flow = flow_of(word);
        if (!flow)
            return refuse(what, code, offset,
                          site::detail::hex(word) +
                              " is a branch of an unknown kind; the text is damaged, or newer than the decoder");
        Instruction instruction;
        instruction.offset = static_cast<std::uint32_t>(offset);
        instruction.encoding.word = word;
        instruction.flow = *flow;
        instruction.writes = written_registers(word);
        instruction.makes_case_address = detail::makes_case_address(word, code.abi);
        if (*flow == Flow::indirect_jump) instruction.jumps_to = bit(detail::field(word, 9, 5));
        const auto target = target_of(word, vaddr);
        instruction.has_target = target.has_value();
        instruction.target = target.value_or(0);
        auto reference = pages.follow(word, instruction, vaddr);
        if (load_literal.matches(word) && !literals.add(word, offset / 4, reference))
            return refuse(
                what, code, offset,
                "it loads a constant that does not lie behind it in the function; this code can't be followed");
        instruction.has_reference = reference.has_value();
        instruction.reference = reference.value_or(0);
        starts[offset] = true;
        function.instructions.push_back(instruction);
    }
    site::detail::find_switches(function.instructions);
    site::detail::mark_targets(function);
    if (!detail::ends_here(function.instructions)) detail::drop_dead_constants(function);
    if (!detail::ends_here(function.instructions))
        return refuse(what, code, code.bytes.size() - 4,
                      "the last instruction continues behind the function; its bounds are wrong");
    if (auto checked = site::detail::check_targets(function, starts, what); !checked)
        return tl::unexpected(checked.error());
    return function;
}

}  // namespace otel_ebpf::site::aarch64
