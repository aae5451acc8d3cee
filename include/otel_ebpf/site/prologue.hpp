// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Entry sites of functions on x86-64: the cheapest instruction that runs exactly once per call with arguments live.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include <otel_ebpf/site/decode_x86_64.hpp>

namespace otel_ebpf::site::x86_64 {
namespace detail {

inline constexpr unsigned longest_prologue = 8;  // instructions up to and with the site
inline constexpr std::uint32_t longest_prologue_bytes = 48;
// Between the call of morestack and the jump back lie the reloads of at most 9 integer and 15 float registers.
inline constexpr unsigned longest_reload = 24;

inline bool starts_with(const Function& function, const Instruction& instruction,
                        std::initializer_list<unsigned> wanted) {
    if (wanted.size() > instruction.encoding.length) return false;
    return std::equal(wanted.begin(), wanted.end(), function.code.bytes.begin() + instruction.offset,
                      [](unsigned value, std::byte byte) { return value == std::to_integer<unsigned>(byte); });
}

// A branch to the first instruction is harmless when it follows a call of morestack: the check runs again, that's all.
inline bool returns_from_morestack(const Function& function, std::size_t branch, const MorestackQuery& is_morestack) {
    if (function.instructions[branch].flow != Flow::jump) return false;
    for (std::size_t i = branch; i > 0 && branch - i <= longest_reload; --i) {
        if (function.is_target[function.instructions[i].offset]) return false;
        const Instruction& before = function.instructions[i - 1];
        if (before.flow == Flow::call) return is_morestack && is_morestack(before.target);
        if (before.flow != Flow::next) return false;
    }
    return false;
}

enum class Reentry : std::uint8_t { never, after_morestack, otherwise };

inline Reentry reentry_of(const Function& function, const MorestackQuery& is_morestack) {
    Reentry reentry = Reentry::never;
    for (std::size_t i = 0; i < function.instructions.size(); ++i) {
        const Instruction& instruction = function.instructions[i];
        if (!instruction.is_branch() || instruction.target != function.code.vaddr) continue;
        if (!returns_from_morestack(function, i, is_morestack)) return Reentry::otherwise;
        reentry = Reentry::after_morestack;
    }
    return reentry;
}

// Where the jumps of a stack check are, as indices of instructions.
struct StackCheck {
    std::size_t jump = 0;                           // jbe: taken when the stack must grow
    std::optional<std::size_t> overflow_jump = {};  // huge frames: jb, taken when the frame is larger than the stack
};

// The Go stack check at the start of the function. The compiler's forms, behind a load of g in assembly functions:
// cmp; or lea, cmp; or mov, sub, jb, cmp (go.googlesource.com/go, src/cmd/internal/obj/x86/obj6.go, stacksplit()).
inline std::optional<StackCheck> stack_check(const Function& function) {
    const auto is = [&](std::size_t index, std::initializer_list<unsigned> bytes) {
        return index < function.instructions.size() && starts_with(function, function.instructions[index], bytes);
    };
    StackCheck check;
    std::size_t i = 0;
    if (is(i, {0x64, 0x4c, 0x8b, 0x34, 0x25})) {  // mov %fs:DISP,%r14
        i += 1;
    } else if ((is(i, {0x49, 0xc7, 0xc6}) || is(i, {0x4c, 0x8b, 0x35})) &&  // mov $DISP,%r14 or mov GOT(%rip),%r14
               is(i + 1, {0x64, 0x4d, 0x8b, 0x36})) {                       // mov %fs:(%r14),%r14
        i += 2;
    }
    unsigned rex = 0x4d;                                                       // the compared register is %r12
    if (is(i, {0x4c, 0x8d, 0x64, 0x24}) || is(i, {0x4c, 0x8d, 0xa4, 0x24})) {  // lea -N(%rsp),%r12
        i += 1;
    } else if (is(i, {0x49, 0x89, 0xe4})) {                                                         // mov %rsp,%r12
        if (!is(i + 1, {0x49, 0x81, 0xec}) && !is(i + 1, {0x49, 0x83, 0xec})) return std::nullopt;  // sub $N,%r12
        if (!is(i + 2, {0x72}) && !is(i + 2, {0x0f, 0x82})) return std::nullopt;                    // jb
        check.overflow_jump = i + 2;
        i += 3;
    } else {
        rex = 0x49;  // %rsp itself
    }
    // cmp 0x10(%r14), or 0x18(%r14) in functions that run on system stacks
    if (!is(i, {rex, 0x3b, 0x66, 0x10}) && !is(i, {rex, 0x3b, 0x66, 0x18})) return std::nullopt;
    if (!is(i + 1, {0x76}) && !is(i + 1, {0x0f, 0x86})) return std::nullopt;  // jbe
    check.jump = i + 1;
    return check;
}

// The taken stack check must lead to morestack through nothing but spills of registers.
inline bool leads_to_morestack(const Function& function, const Instruction& jump, const MorestackQuery& is_morestack) {
    if (!function.contains(jump.target)) return false;
    const auto& code = function.instructions;
    auto at = std::lower_bound(code.begin(), code.end(), jump.target - function.code.vaddr,
                               [](const Instruction& left, std::uint64_t offset) { return left.offset < offset; });
    for (unsigned i = 0; at != code.end() && i <= longest_reload; ++at, ++i) {
        if (at->flow == Flow::call) return is_morestack && is_morestack(at->target);
        if (at->flow != Flow::next) return false;
    }
    return false;
}

// Why the instruction at INDEX can't be a site, or nothing: dominance, interior targets, registers and stack pointer.
inline std::optional<std::string> entry_obstacle(const Function& function, std::size_t index, LiveRegisters needed,
                                                 bool conditional_jumps_lead_to_morestack) {
    using site::detail::at;
    const auto& code = function.instructions;
    const Instruction& site = code[index];
    if (index >= longest_prologue || site.end() > longest_prologue_bytes)
        return "the first emulated instruction, at " + at(site.offset) + ", is too far from the entry";
    const Registers kept = kept_at_entry(needed, function.code.abi);
    for (std::size_t i = 0; i < index; ++i) {
        const bool passes =
            code[i].flow == Flow::next || (code[i].flow == Flow::conditional && conditional_jumps_lead_to_morestack);
        if (!passes) return "control leaves the straight line at " + at(code[i].offset);
        if ((code[i].writes & kept) != 0)
            return "the instruction at " + at(code[i].offset) + " overwrites an argument or moves the stack pointer";
    }
    for (std::size_t i = 1; i <= index; ++i)
        if (function.is_target[code[i].offset]) return "a branch leads to " + at(code[i].offset);
    return std::nullopt;
}

inline bool writes_before(const Function& function, std::size_t index, unsigned register_number) {
    for (std::size_t i = 0; i < index; ++i)
        if ((function.instructions[i].writes & bit(register_number)) != 0) return true;
    return false;
}

inline Point make_point(const Function& function, const Instruction& site, CostClass cost, Rule rule, std::string why) {
    return {function.vaddr_of(site), cost, FlagsFilter::none, rule, std::move(why)};
}

inline Result<Point> choose_entry(const Function& function, KernelRelease kernel, LiveRegisters needed,
                                  const MorestackQuery& is_morestack) {
    using site::detail::at;
    using site::detail::refuse;
    const auto& code = function.instructions;
    const Reentry reentry = reentry_of(function, is_morestack);
    if (reentry == Reentry::otherwise)
        return refuse("an entry site", function.code, 0,
                      std::string("the function branches back to its first instruction") +
                          (function.code.abi == Abi::go ? " without growing its stack" : "") +
                          ", so hits there are not calls; probe its callers instead");

    std::string obstacle;
    if (const auto check = function.code.abi == Abi::go ? stack_check(function) : std::nullopt) {
        const Instruction& site = code[check->jump];
        if (!leads_to_morestack(function, site, is_morestack) ||
            (check->overflow_jump && !leads_to_morestack(function, code[*check->overflow_jump], is_morestack))) {
            obstacle = "the stack check at " + at(site.offset) + " does not lead to runtime.morestack";
        } else if (auto reason = entry_obstacle(function, check->jump, needed, true)) {
            obstacle = std::move(*reason);
        } else if (treatment(site.encoding, kernel) != Treatment::emulated) {
            obstacle = "Linux " + kernel.to_string() + " does not emulate the jump of the stack check";
        } else {
            Point point = make_point(function, site, CostClass::emulated, Rule::stack_check_jump,
                                     "jbe of the stack check at " + at(site.offset));
            point.filter = FlagsFilter::stack_check;
            return point;
        }
    }
    if (reentry == Reentry::after_morestack)
        return refuse("an entry site", function.code, 0,
                      (obstacle.empty() ? "it grows its stack by a check of unknown form" : obstacle) +
                          "; any other site would count a call again after its stack grew: probe its callers instead");

    // Nothing runs the entry twice from here on.
    if (obstacle.empty()) {
        const auto site = std::find_if(code.begin(), code.end(), [&](const Instruction& i) {
            return i.flow != Flow::next || treatment(i.encoding, kernel) == Treatment::emulated;
        });
        const auto index = static_cast<std::size_t>(site - code.begin());
        if (treatment(site->encoding, kernel) != Treatment::emulated) {
            obstacle = "the straight line from the entry ends at " + at(site->offset) + " without one";
        } else if (auto reason = entry_obstacle(function, index, needed, false)) {
            obstacle = std::move(*reason);
        } else if (function.code.abi == Abi::go && writes_before(function, index, go_g)) {
            obstacle = "r14, which holds g, is overwritten before " + at(site->offset);
        } else if (index > 0 && function.has_jump_table) {
            obstacle = "a jump table may lead to " + at(site->offset);
        } else if (index == 0 && site->encoding.map == OpcodeMap::one_byte && (site->encoding.opcode & 0xf8) == 0x50) {
            return make_point(function, *site, CostClass::emulated, Rule::entry_push, "push at the entry");
        } else {
            return make_point(function, *site, CostClass::emulated, Rule::straight_line_scan,
                              "first emulated instruction, at " + at(site->offset));
        }
    }
    const auto stepped = std::find_if(code.begin(), code.end(), [&](const Instruction& i) {
        return i.flow != Flow::next || treatment(i.encoding, kernel) != Treatment::refused;
    });
    const auto index = static_cast<std::size_t>(stepped - code.begin());
    if (treatment(stepped->encoding, kernel) == Treatment::refused ||
        (index > 0 && (function.code.abi == Abi::go || function.has_jump_table ||
                       entry_obstacle(function, index, needed, false))))
        return refuse("an entry site", function.code, 0,
                      obstacle + ", and Linux " + kernel.to_string() +
                          " can't probe its first instruction; probe its callers instead");
    return make_point(function, *stepped, CostClass::stepped, Rule::slow_entry,
                      "single-stepped at " + (index == 0 ? "the first instruction" : at(stepped->offset)) +
                          ", since no emulated one serves: " + obstacle);
}

}  // namespace detail

// The entry site of a function. Registers in NEEDED hold the arguments there and rsp points at the return address; in
// Go functions r14 holds g and rdx the closure context. Falls back to the first instruction, stepped, with the reason
// in `why`; refuses where no instruction is hit exactly once per call.
inline Result<Point> entry(const Code& code, KernelRelease kernel, LiveRegisters needed,
                           const MorestackQuery& is_morestack) {
    return decode(code, "an entry site").and_then([&](const Function& function) {
        return detail::choose_entry(function, kernel, needed, is_morestack);
    });
}

}  // namespace otel_ebpf::site::x86_64
