// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Entry sites of functions: the cheapest instruction that runs exactly once per call with arguments live.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <otel_ebpf/site/function.hpp>

namespace otel_ebpf::site {
namespace detail {

// A branch to the first instruction is harmless when it follows a call of morestack: the check runs again, that's all.
template <class Isa>
bool returns_from_morestack(const typename Isa::Function& function, std::size_t branch,
                            const MorestackQuery& is_morestack) {
    if (function.instructions[branch].flow != Flow::jump) return false;
    for (std::size_t i = branch; i > 0 && branch - i <= Isa::longest_reload; --i) {
        if (function.is_target[function.instructions[i].offset]) return false;
        const auto& before = function.instructions[i - 1];
        if (before.flow == Flow::call) return is_morestack && is_morestack(before.target);
        if (before.flow != Flow::next) return false;
    }
    return false;
}

enum class Reentry : std::uint8_t { never, after_morestack, otherwise };

template <class Isa>
Reentry reentry_of(const typename Isa::Function& function, const MorestackQuery& is_morestack) {
    Reentry reentry = Reentry::never;
    for (std::size_t i = 0; i < function.instructions.size(); ++i) {
        const auto& instruction = function.instructions[i];
        if (!instruction.is_branch() || instruction.target != function.code.vaddr) continue;
        if (!returns_from_morestack<Isa>(function, i, is_morestack)) return Reentry::otherwise;
        reentry = Reentry::after_morestack;
    }
    return reentry;
}

// The taken stack check must lead to morestack through nothing but spills of registers.
template <class Isa>
bool leads_to_morestack(const typename Isa::Function& function, const typename Isa::Instruction& jump,
                        const MorestackQuery& is_morestack) {
    if (!function.contains(jump.target)) return false;
    const auto& code = function.instructions;
    auto at = std::lower_bound(code.begin(), code.end(), jump.target - function.code.vaddr,
                               [](const auto& left, std::uint64_t offset) { return left.offset < offset; });
    for (unsigned i = 0; at != code.end() && i <= Isa::longest_reload; ++at, ++i) {
        if (at->flow == Flow::call) return is_morestack && is_morestack(at->target);
        if (at->flow != Flow::next) return false;
    }
    return false;
}

// Why the instruction at INDEX can't be a site, or nothing: dominance, interior targets, registers and stack pointer.
template <class Isa>
std::optional<std::string> entry_obstacle(const typename Isa::Function& function, std::size_t index,
                                          LiveRegisters needed, bool conditional_jumps_lead_to_morestack) {
    const auto& code = function.instructions;
    const auto& site = code[index];
    if (index >= Isa::longest_prologue || site.end() > Isa::longest_prologue_bytes)
        return "the first emulated instruction, at " + at(site.offset) + ", is too far from the entry";
    const Registers kept = Isa::kept_at_entry(needed, function.code.abi);
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

template <class Isa>
bool writes_before(const typename Isa::Function& function, std::size_t index, unsigned register_number) {
    for (std::size_t i = 0; i < index; ++i)
        if ((function.instructions[i].writes & bit(register_number)) != 0) return true;
    return false;
}

template <class Isa>
Point make_point(const typename Isa::Function& function, const typename Isa::Instruction& site, CostClass cost,
                 Rule rule, std::string why) {
    return {function.vaddr_of(site), cost, FlagsFilter::none, rule, std::move(why)};
}

template <class Isa>
Result<Point> choose_entry(const typename Isa::Function& function, KernelRelease kernel, LiveRegisters needed,
                           const MorestackQuery& is_morestack) {
    const auto& code = function.instructions;
    const Reentry reentry = reentry_of<Isa>(function, is_morestack);
    if (reentry == Reentry::otherwise)
        return refuse("an entry site", function.code, 0,
                      std::string("the function branches back to its first instruction") +
                          (function.code.abi == Abi::go ? " without growing its stack" : "") +
                          ", so hits there are not calls; probe its callers instead");

    std::string obstacle;
    if (const auto check = function.code.abi == Abi::go ? Isa::stack_check(function) : std::nullopt) {
        const auto& site = code[check->jump];
        if (!leads_to_morestack<Isa>(function, site, is_morestack) ||
            (check->overflow_jump && !leads_to_morestack<Isa>(function, code[*check->overflow_jump], is_morestack))) {
            obstacle = "the stack check at " + at(site.offset) + " does not lead to runtime.morestack";
        } else if (auto reason = entry_obstacle<Isa>(function, check->jump, needed, true)) {
            obstacle = std::move(*reason);
        } else if (Isa::treatment(site.encoding, kernel) != Treatment::emulated) {
            obstacle = "Linux " + kernel.to_string() + " does not emulate the jump of the stack check";
        } else {
            Point point =
                make_point<Isa>(function, site, CostClass::emulated, Rule::stack_check_jump,
                                std::string(Isa::stack_check_jump_name) + " of the stack check at " + at(site.offset));
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
        const auto site = std::find_if(code.begin(), code.end(), [&](const auto& i) {
            return i.flow != Flow::next || Isa::treatment(i.encoding, kernel) == Treatment::emulated;
        });
        const auto index = static_cast<std::size_t>(site - code.begin());
        if (Isa::treatment(site->encoding, kernel) != Treatment::emulated) {
            obstacle = "the straight line from the entry ends at " + at(site->offset) + " without one";
        } else if (auto reason = entry_obstacle<Isa>(function, index, needed, false)) {
            obstacle = std::move(*reason);
        } else if (function.code.abi == Abi::go && writes_before<Isa>(function, index, Isa::go_g)) {
            obstacle = std::string(Isa::go_g_name) + ", which holds g, is overwritten before " + at(site->offset);
        } else if (index > 0 && function.has_jump_table) {
            obstacle = "a jump table may lead to " + at(site->offset);
        } else if (index == 0 && Isa::is_push(*site)) {
            return make_point<Isa>(function, *site, CostClass::emulated, Rule::entry_push, "push at the entry");
        } else {
            return make_point<Isa>(function, *site, CostClass::emulated, Rule::straight_line_scan,
                                   "first emulated instruction, at " + at(site->offset));
        }
    }
    const auto stepped = std::find_if(code.begin(), code.end(), [&](const auto& i) {
        return i.flow != Flow::next || Isa::treatment(i.encoding, kernel) != Treatment::refused;
    });
    const auto index = static_cast<std::size_t>(stepped - code.begin());
    if (Isa::treatment(stepped->encoding, kernel) == Treatment::refused ||
        (index > 0 && (function.code.abi == Abi::go || function.has_jump_table ||
                       entry_obstacle<Isa>(function, index, needed, false))))
        return refuse("an entry site", function.code, 0,
                      obstacle + ", and Linux " + kernel.to_string() +
                          " can't probe its first instruction; probe its callers instead");
    return make_point<Isa>(function, *stepped, CostClass::stepped, Rule::slow_entry,
                           "single-stepped at " + (index == 0 ? "the first instruction" : at(stepped->offset)) +
                               ", since no emulated one serves: " + obstacle);
}

}  // namespace detail

// The entry site of a function. Registers in NEEDED hold the arguments there and the stack pointer is that of the first
// instruction; in Go functions g and the closure context are in their registers. Falls back to the first instruction,
// stepped, with the reason in `why`; refuses where no instruction is hit exactly once per call.
template <class Isa>
Result<Point> entry(const Code& code, KernelRelease kernel, LiveRegisters needed, const MorestackQuery& is_morestack) {
    return Isa::decode(code, "an entry site").and_then([&](const typename Isa::Function& function) {
        return detail::choose_entry<Isa>(function, kernel, needed, is_morestack);
    });
}

}  // namespace otel_ebpf::site
