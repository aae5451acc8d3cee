// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// End sites: after a call in the caller (R2), before each exit (R3), at each return (R4).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <otel_ebpf/site/function.hpp>

namespace otel_ebpf::site {
namespace detail {

inline constexpr unsigned longest_tail = 16;  // instructions between a call or exit and its site

// The site after the call at CALL, or why there is none.
template <class Isa>
tl::expected<Point, std::string> site_after(const typename Isa::Function& function, std::size_t call,
                                            KernelRelease kernel, LiveRegisters needed,
                                            const AfterCallOptions& options) {
    const auto& code = function.instructions;
    const auto none = [](std::string reason) { return tl::unexpected<std::string>(std::move(reason)); };
    if (function.has_jump_table && !options.allow_joins)
        return none("a jump table of the function may lead between the call and a site");
    const Registers kept = Isa::kept_after_call(needed, function.code.abi);
    bool joined = false;
    for (std::size_t i = call + 1; i < code.size() && i - call <= longest_tail; ++i) {
        if (function.is_target[code[i].offset]) {
            if (!options.allow_joins) return none("a branch leads to " + at(code[i].offset));
            joined = true;
        }
        if (Isa::treatment(code[i].encoding, kernel) == Treatment::emulated)
            return Point{function.vaddr_of(code[i]), CostClass::emulated, FlagsFilter::none, Rule::after_call,
                         "at " + at(code[i].offset) + ", after the call at " + at(code[call].offset) +
                             (joined ? ", also reached without it" : "")};
        if (code[i].flow != Flow::next) return none("control leaves the straight line at " + at(code[i].offset));
        if ((code[i].writes & kept) != 0)
            return none("the instruction at " + at(code[i].offset) + " overwrites a result or moves the stack pointer");
    }
    return none("no emulated instruction follows closely");
}

template <class Isa>
Result<std::vector<Point>> choose_after_call(const typename Isa::Function& function, std::uint64_t callee_vaddr,
                                             KernelRelease kernel, LiveRegisters needed,
                                             const AfterCallOptions& options) {
    const std::string what = "a site after the call of " + hex(callee_vaddr);
    std::vector<Point> points;
    const auto& code = function.instructions;
    for (std::size_t i = 0; i < code.size(); ++i) {
        if (!code[i].has_target || code[i].target != callee_vaddr) continue;
        if (code[i].is_branch() && callee_vaddr == function.code.vaddr) continue;  // a loop, or after morestack
        if (code[i].flow != Flow::call)
            return refuse(what, function.code, code[i].offset,
                          "the function ends by a jump to the callee, which then returns elsewhere; use the callee's "
                          "returns");
        auto point = site_after<Isa>(function, i, kernel, needed, options);
        if (point) {
            points.push_back(std::move(*point));
            continue;
        }
        const bool exists = i + 1 < code.size();
        const bool reached_otherwise =
            exists && (function.is_target[code[i + 1].offset] || function.has_jump_table) && !options.allow_joins;
        if (!options.allow_stepped || !exists || reached_otherwise ||
            Isa::treatment(code[i + 1].encoding, kernel) == Treatment::refused)
            return refuse(what, function.code, code[i].offset,
                          point.error() + "; use another end site, or the callee's returns");
        points.push_back({function.vaddr_of(code[i + 1]), CostClass::stepped, FlagsFilter::none, Rule::after_call,
                          "single-stepped right after the call at " + at(code[i].offset) + ": " + point.error()});
    }
    if (points.empty())
        return refuse(what, function.code, 0,
                      "the function does not call it directly (inlined, or through an interface or a closure); use "
                      "another end site");
    return points;
}

// Instructions by which the function is left; empty when it never returns. OTHER_PART: the same function goes on there.
template <class Isa>
std::vector<std::size_t> exits_of(const typename Isa::Function& function,
                                  const typename Isa::Function* other_part = nullptr) {
    std::vector<std::size_t> exits;
    for (std::size_t i = 0; i < function.instructions.size(); ++i) {
        const auto& instruction = function.instructions[i];
        const bool inside = function.contains(instruction.target) ||
                            (other_part != nullptr && other_part->contains(instruction.target));
        if (instruction.flow == Flow::ret || instruction.flow == Flow::indirect_jump ||
            (instruction.is_branch() && !inside))
            exits.push_back(i);
    }
    return exits;
}

// The last emulated instruction of the straight line that ends at the return EXIT, or nothing. Results must be final.
template <class Isa>
std::optional<std::size_t> tail_site(const typename Isa::Function& function, std::size_t exit, KernelRelease kernel,
                                     LiveRegisters needed) {
    const auto& code = function.instructions;
    if (function.has_jump_table) return std::nullopt;
    const Registers results = Isa::kept_results(needed, function.code.abi);
    for (std::size_t i = exit; i > 0 && exit - i < longest_tail; --i) {
        if (function.is_target[code[i].offset]) return std::nullopt;
        const auto& before = code[i - 1];
        if (before.flow != Flow::next || (before.writes & results) != 0) return std::nullopt;
        if (Isa::treatment(before.encoding, kernel) == Treatment::emulated) return i - 1;
    }
    return std::nullopt;
}

// Sites of all exits: where every exit has a fast one, those serve.
struct ExitPoints {
    std::vector<Point> fast;
    std::vector<Point> slow;
};

template <class Isa>
Result<void> add_exit_points(const typename Isa::Function& function, const typename Isa::Function* other_part,
                             KernelRelease kernel, LiveRegisters needed, ExitPoints& points) {
    const std::string what = "return sites";
    const auto& code = function.instructions;
    auto& [fast, slow] = points;
    for (const std::size_t exit : exits_of<Isa>(function, other_part)) {
        const auto& leaving = code[exit];
        if (leaving.flow != Flow::ret) {
            if (needed != 0)
                return refuse(what, function.code, leaving.offset,
                              "the function ends by a jump to another one, before its results exist; use a site "
                              "after its calls");
            if (leaving.flow == Flow::conditional)
                return refuse(what, function.code, leaving.offset,
                              "the function is left by a conditional jump, where a hit does not mean an end; use a "
                              "site after its calls");
            if (leaving.flow == Flow::indirect_jump && function.code.abi == Abi::native)
                return refuse(what, function.code, leaving.offset,
                              "an indirect jump may lead to another part of the function as well as out of it; use a "
                              "site after its calls");
        }
        const Treatment at_exit = Isa::treatment(leaving.encoding, kernel);
        if (at_exit == Treatment::refused)
            return refuse(what, function.code, leaving.offset,
                          "Linux " + kernel.to_string() + " can't probe this exit; use a site after its calls");
        if (at_exit == Treatment::emulated) {
            const bool returns = leaving.flow == Flow::ret;
            Point point{function.vaddr_of(leaving), CostClass::emulated, FlagsFilter::none,
                        returns ? Rule::every_return : Rule::tail,
                        (returns ? "return at " : "jump to another function at ") + at(leaving.offset)};
            fast.push_back(point);
            slow.push_back(std::move(point));
            continue;
        }
        slow.push_back({function.vaddr_of(leaving), CostClass::stepped, FlagsFilter::none, Rule::every_return,
                        "single-stepped at the exit at " + at(leaving.offset) +
                            ": no emulated instruction stands right before every exit"});
        if (const auto tail = tail_site<Isa>(function, exit, kernel, needed))
            fast.push_back({function.vaddr_of(code[*tail]), CostClass::emulated, FlagsFilter::none, Rule::tail,
                            "at " + at(code[*tail].offset) + ", before the return at " + at(leaving.offset)});
    }
    return {};
}

// COLD: the part of a native function that was moved away from the rest, if there is one.
template <class Isa>
Result<std::vector<Point>> choose_returns(const typename Isa::Function& function, KernelRelease kernel,
                                          LiveRegisters needed, const typename Isa::Function* cold = nullptr) {
    ExitPoints points;
    if (auto done = add_exit_points<Isa>(function, cold, kernel, needed, points); !done)
        return tl::unexpected(done.error());
    if (cold != nullptr)
        if (auto done = add_exit_points<Isa>(*cold, &function, kernel, needed, points); !done)
            return tl::unexpected(done.error());
    if (points.slow.empty())
        return refuse("return sites", function.code, 0, "the function never returns; its operation has no end site");
    return points.fast.size() == points.slow.size() ? points.fast : points.slow;
}

}  // namespace detail

// R2: a site after every direct call of the function at CALLEE_VADDR in CALLER, where the result registers in
// NEEDED_RESULTS are still intact. One call without a site refuses them all.
template <class Isa>
Result<std::vector<Point>> after_call(const Code& caller, std::uint64_t callee_vaddr, KernelRelease kernel,
                                      LiveRegisters needed_results, const AfterCallOptions& options = {}) {
    return Isa::decode(caller, "a site after a call").and_then([&](const typename Isa::Function& function) {
        return detail::choose_after_call<Isa>(function, callee_vaddr, kernel, needed_results, options);
    });
}

// R3, else R4: sites that together are hit exactly once per return, with the result registers in NEEDED_RESULTS in
// place. A function left by a panic hits none of them.
template <class Isa>
Result<std::vector<Point>> returns(const Code& code, KernelRelease kernel, LiveRegisters needed_results) {
    return Isa::decode(code, "return sites").and_then([&](const typename Isa::Function& function) {
        return detail::choose_returns<Isa>(function, kernel, needed_results);
    });
}

}  // namespace otel_ebpf::site
