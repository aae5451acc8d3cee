// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What differs in functions of C and C++: they need not be in one piece, and they jump to each other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <otel_ebpf/site/callers.hpp>
#include <otel_ebpf/site/end_sites.hpp>

namespace otel_ebpf::site {

namespace detail {

// The part of a function that the compiler moved away, if it has one: bears its name with ".cold".
template <class Isa>
std::optional<Code> cold_part(const typename Isa::Function& function, const Image& image) {
    const std::string cold_name = std::string(function.code.name) + ".cold";
    for (const auto& instruction : function.instructions) {
        if (!instruction.is_branch() || function.contains(instruction.target) || !image.function_at) continue;
        auto part = image.function_at(instruction.target);
        if (part && part->name == cold_name) return part;
    }
    return std::nullopt;
}

// Every branch out of the function must lead to the start of another one.
template <class Isa>
Result<void> check_branches_out(const typename Isa::Function& function, const typename Isa::Function* other_part,
                                const Image& image) {
    for (const auto& instruction : function.instructions) {
        if (!instruction.is_branch() || function.contains(instruction.target)) continue;
        if (other_part != nullptr && other_part->contains(instruction.target)) continue;
        const auto target = image.function_at ? image.function_at(instruction.target) : std::nullopt;
        if (!target || target->vaddr != instruction.target)
            return refuse("return sites", function.code, instruction.offset,
                          "it jumps to " + hex(instruction.target) +
                              ", where no function of the symbol table begins, so it is not known "
                              "whether that is its end; use a site after its calls");
    }
    return {};
}

}  // namespace detail

// returns() of a native function, which may go on in a part that the compiler moved away.
template <class Isa>
Result<std::vector<Point>> native_returns(const Code& code, const Image& image, KernelRelease kernel,
                                          LiveRegisters needed_results) {
    return Isa::decode(code, "return sites")
        .and_then([&](const typename Isa::Function& function) -> Result<std::vector<Point>> {
            std::optional<typename Isa::Function> cold;
            if (const auto part = detail::cold_part<Isa>(function, image)) {
                auto decoded = Isa::decode(*part, "return sites");
                if (!decoded) return tl::unexpected(decoded.error());
                cold = std::move(*decoded);
            }
            const typename Isa::Function* const other = cold ? &*cold : nullptr;
            if (auto done = detail::check_branches_out<Isa>(function, other, image); !done)
                return tl::unexpected(done.error());
            if (cold)
                if (auto done = detail::check_branches_out<Isa>(*cold, &function, image); !done)
                    return tl::unexpected(done.error());
            return detail::choose_returns<Isa>(function, kernel, needed_results, other);
        });
}

}  // namespace otel_ebpf::site
