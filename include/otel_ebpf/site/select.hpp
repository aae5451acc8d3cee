// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The site selector: one call per kind of point, for every architecture.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include <otel_ebpf/site/aarch64.hpp>
#include <otel_ebpf/site/callers.hpp>
#include <otel_ebpf/site/end_sites.hpp>
#include <otel_ebpf/site/native.hpp>
#include <otel_ebpf/site/prologue.hpp>
#include <otel_ebpf/site/x86_64.hpp>

namespace otel_ebpf::site {
namespace detail {

// CHOOSE(isa) for the architecture.
template <class Choose>
auto with_isa(Arch arch, const Code& code, Choose choose) -> decltype(choose(x86_64::Isa())) {
    switch (arch) {
        case Arch::x86_64: return choose(x86_64::Isa());
        case Arch::aarch64: return choose(aarch64::Isa());
        case Arch::other: break;
    }
    return fail(Stage::unsupported, "choose a site in " + std::string(code.name) + ": this executable is for " +
                                        std::string(to_string(arch)) + ", sites are known for x86-64 and arm64");
}

template <class Isa>
Result<std::vector<Point>> in_all_callers(const Code& code, const Image& image, KernelRelease kernel,
                                          LiveRegisters needed_results) {
    return callers_of<Isa>(code, image).and_then([&](const std::vector<CallerSite>& callers) {
        Result<std::vector<Point>> all = std::vector<Point>();
        for (const CallerSite& caller : callers) {
            auto points = after_call<Isa>(caller.caller, code.vaddr, kernel, needed_results);
            if (!points) return points;
            all->insert(all->end(), points->begin(), points->end());
        }
        return all;
    });
}

template <class Isa>
Result<std::vector<Point>> inside(const Code& code, const Image& image, KernelRelease kernel,
                                  LiveRegisters needed_results) {
    return code.abi == Abi::native ? native_returns<Isa>(code, image, kernel, needed_results)
                                   : returns<Isa>(code, kernel, needed_results);
}

inline Failure no_end_site(const Error& in_callers, const Error& inside) {
    return fail(Stage::symbol, inside.what + "; the operation has no end site (" + in_callers.what + ")");
}

}  // namespace detail

// Where a function starts: see prologue.hpp.
inline Result<Point> entry(Arch arch, const Code& code, KernelRelease kernel, LiveRegisters needed,
                           const MorestackQuery& is_morestack) {
    return detail::with_isa(arch, code,
                            [&](auto isa) { return entry<decltype(isa)>(code, kernel, needed, is_morestack); });
}

// R1: the entry of the function that is always called next, as the end of an operation.
inline Result<Point> next_call(Arch arch, const Code& code, KernelRelease kernel, LiveRegisters needed,
                               const MorestackQuery& is_morestack) {
    return entry(arch, code, kernel, needed, is_morestack).map([](Point point) {
        point.rule = Rule::next_call;
        return point;
    });
}

// R2 in one caller: see end_sites.hpp.
inline Result<std::vector<Point>> after_call(Arch arch, const Code& caller, std::uint64_t callee_vaddr,
                                             KernelRelease kernel, LiveRegisters needed_results,
                                             const AfterCallOptions& options = {}) {
    return detail::with_isa(arch, caller, [&](auto isa) {
        return after_call<decltype(isa)>(caller, callee_vaddr, kernel, needed_results, options);
    });
}

// R3, else R4: see end_sites.hpp.
inline Result<std::vector<Point>> returns(Arch arch, const Code& code, KernelRelease kernel,
                                          LiveRegisters needed_results) {
    return detail::with_isa(arch, code, [&](auto isa) { return returns<decltype(isa)>(code, kernel, needed_results); });
}

// Every direct call of a function, when all are known: see callers.hpp.
inline Result<std::vector<CallerSite>> callers_of(Arch arch, const Code& callee, const Image& image) {
    return detail::with_isa(arch, callee, [&](auto isa) { return callers_of<decltype(isa)>(callee, image); });
}

// Addresses inside the SIZE bytes at VADDR, but for the first, to which a branch of code outside may lead.
inline std::vector<std::uint64_t> entered_from_outside(Arch arch, std::span<const Section> text, std::uint64_t vaddr,
                                                       std::uint64_t size) {
    return arch == Arch::aarch64 ? aarch64::entered_from_outside(text, vaddr, size)
                                 : x86_64::entered_from_outside(text, vaddr, size);
}

// The cheapest sites that are hit exactly once per return of the function: R2 in all callers when they are known to be
// all, else R3, else R4; where returns cost no more than anything else, these come first. R5: the error says why each
// of them failed; the operation then has no end site.
inline Result<std::vector<Point>> end_sites(Arch arch, const Code& code, const Image& image, KernelRelease kernel,
                                            LiveRegisters needed_results) {
    return detail::with_isa(arch, code, [&](auto isa) -> Result<std::vector<Point>> {
        using Isa = decltype(isa);
        if constexpr (Isa::emulates_returns) {
            auto inside = detail::inside<Isa>(code, image, kernel, needed_results);
            if (inside) return inside;
            auto in_callers = detail::in_all_callers<Isa>(code, image, kernel, needed_results);
            if (in_callers) return in_callers;
            return detail::no_end_site(in_callers.error(), inside.error());
        } else {
            auto in_callers = detail::in_all_callers<Isa>(code, image, kernel, needed_results);
            if (in_callers) return in_callers;
            auto inside = detail::inside<Isa>(code, image, kernel, needed_results);
            if (!inside) return detail::no_end_site(in_callers.error(), inside.error());
            for (Point& point : *inside)
                if (point.cost == CostClass::stepped) point.why += "; " + in_callers.error().what;
            return inside;
        }
    });
}

}  // namespace otel_ebpf::site
