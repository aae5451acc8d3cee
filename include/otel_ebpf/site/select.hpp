// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The site selector: one call per kind of point, for every architecture.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <otel_ebpf/site/x86_64.hpp>

namespace otel_ebpf::site {
namespace detail {

inline Failure unsupported(Arch arch, const Code& code) {
    return fail(Stage::unsupported, "choose a site in " + std::string(code.name) + ": this executable is for " +
                                        std::string(to_string(arch)) + ", sites are known for x86-64 only");
}

}  // namespace detail

// Where a function starts: see x86_64::entry().
inline Result<Point> entry(Arch arch, const Code& code, KernelRelease kernel, LiveRegisters needed,
                           const MorestackQuery& is_morestack) {
    if (arch != Arch::x86_64) return detail::unsupported(arch, code);
    return x86_64::entry(code, kernel, needed, is_morestack);
}

// R1: the entry of the function that is always called next, as the end of an operation.
inline Result<Point> next_call(Arch arch, const Code& code, KernelRelease kernel, LiveRegisters needed,
                               const MorestackQuery& is_morestack) {
    return entry(arch, code, kernel, needed, is_morestack).map([](Point point) {
        point.rule = Rule::next_call;
        return point;
    });
}

// R2 in one caller: see x86_64::after_call().
inline Result<std::vector<Point>> after_call(Arch arch, const Code& caller, std::uint64_t callee_vaddr,
                                             KernelRelease kernel, LiveRegisters needed_results,
                                             const AfterCallOptions& options = {}) {
    if (arch != Arch::x86_64) return detail::unsupported(arch, caller);
    return x86_64::after_call(caller, callee_vaddr, kernel, needed_results, options);
}

// R3, else R4: see x86_64::returns().
inline Result<std::vector<Point>> returns(Arch arch, const Code& code, KernelRelease kernel,
                                          LiveRegisters needed_results) {
    if (arch != Arch::x86_64) return detail::unsupported(arch, code);
    return x86_64::returns(code, kernel, needed_results);
}

// The cheapest sites that are hit exactly once per return of the function: R2 in all callers when they are known to be
// all, else R3, else R4. R5: the error says why each of them failed; the operation then has no end site.
inline Result<std::vector<Point>> end_sites(Arch arch, const Code& code, const Image& image, KernelRelease kernel,
                                            LiveRegisters needed_results) {
    if (arch != Arch::x86_64) return detail::unsupported(arch, code);
    auto in_callers = x86_64::callers_of(code, image).and_then([&](const std::vector<CallerSite>& callers) {
        Result<std::vector<Point>> all = std::vector<Point>();
        for (const CallerSite& caller : callers) {
            auto points = x86_64::after_call(caller.caller, code.vaddr, kernel, needed_results);
            if (!points) return points;
            all->insert(all->end(), points->begin(), points->end());
        }
        return all;
    });
    if (in_callers) return in_callers;

    auto inside = code.abi == Abi::native ? x86_64::native_returns(code, image, kernel, needed_results)
                                          : x86_64::returns(code, kernel, needed_results);
    if (!inside)
        return fail(Stage::symbol,
                    inside.error().what + "; the operation has no end site (" + in_callers.error().what + ")");
    for (Point& point : *inside)
        if (point.cost == CostClass::stepped) point.why += "; " + in_callers.error().what;
    return inside;
}

}  // namespace otel_ebpf::site
