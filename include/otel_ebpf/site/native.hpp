// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What differs in functions of C and C++ on x86-64: they need not be in one piece, and they jump to each other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <otel_ebpf/site/callers.hpp>
#include <otel_ebpf/site/end_sites.hpp>

namespace otel_ebpf::site::x86_64 {

// Addresses inside the SIZE bytes at VADDR, but for the first, to which a branch of code outside may lead: all bytes of
// TEXT that read as one. Compilers and linkers join separate parts by branches with 4 bytes of distance only.
inline std::vector<std::uint64_t> entered_from_outside(std::span<const Section> text, std::uint64_t vaddr,
                                                       std::uint64_t size) {
    std::vector<std::uint64_t> found;
    for (const Section& section : text) {
        if (section.bytes.size() < sizeof(std::uint32_t) || size < 2) continue;
        const std::byte* const bytes = section.bytes.data();
        const std::size_t last = section.bytes.size() - sizeof(std::uint32_t);
        // How far behind the second byte of the function the field at offset I leads, modulo 2^32.
        const auto first = static_cast<std::uint32_t>(vaddr + 1 - section.vaddr - sizeof(std::uint32_t));
        const auto distance = [&](std::size_t i) {
            return detail::load<std::uint32_t>(bytes + i) - first + static_cast<std::uint32_t>(i);
        };
        const auto is_branch = [&](std::size_t i) {
            const auto opcode = i > 0 ? std::to_integer<unsigned>(bytes[i - 1]) : 0;
            return (opcode & 0xfe) == 0xe8 ||  // call, jmp
                   (i > 1 && bytes[i - 2] == std::byte{0x0f} && (opcode & 0xf0) == 0x80);
        };
        constexpr std::size_t block = 1024;  // the inner loop has no branch, so that the compiler can make it wide
        for (std::size_t begin = 0; begin <= last; begin += block) {
            const std::size_t end = std::min(begin + block, last + 1);
            std::uint32_t any = 0;
            for (std::size_t i = begin; i < end; ++i) any |= static_cast<std::uint32_t>(distance(i) < size - 1);
            if (any == 0) continue;
            for (std::size_t i = begin; i < end; ++i) {
                const std::uint64_t at = section.vaddr + i;
                if (distance(i) >= size - 1 || !is_branch(i) || (at >= vaddr && at - vaddr < size)) continue;
                found.push_back(vaddr + 1 + distance(i));
            }
        }
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

namespace detail {

// The part of a function that the compiler moved away, if it has one: bears its name with ".cold".
inline std::optional<Code> cold_part(const Function& function, const Image& image) {
    const std::string cold_name = std::string(function.code.name) + ".cold";
    for (const Instruction& instruction : function.instructions) {
        if (!instruction.is_branch() || function.contains(instruction.target) || !image.function_at) continue;
        auto part = image.function_at(instruction.target);
        if (part && part->name == cold_name) return part;
    }
    return std::nullopt;
}

// Every branch out of the function must lead to the start of another one.
inline Result<void> check_branches_out(const Function& function, const Function* other_part, const Image& image) {
    for (const Instruction& instruction : function.instructions) {
        if (!instruction.is_branch() || function.contains(instruction.target)) continue;
        if (other_part != nullptr && other_part->contains(instruction.target)) continue;
        const auto target = image.function_at ? image.function_at(instruction.target) : std::nullopt;
        if (!target || target->vaddr != instruction.target)
            return site::detail::refuse("return sites", function.code, instruction.offset,
                                        "it jumps to " + site::detail::hex(instruction.target) +
                                            ", where no function of the symbol table begins, so it is not known "
                                            "whether that is its end; use a site after its calls");
    }
    return {};
}

}  // namespace detail

// returns() of a native function, which may go on in a part that the compiler moved away.
inline Result<std::vector<Point>> native_returns(const Code& code, const Image& image, KernelRelease kernel,
                                                 LiveRegisters needed_results) {
    return decode(code, "return sites").and_then([&](const Function& function) -> Result<std::vector<Point>> {
        std::optional<Function> cold;
        if (const auto part = detail::cold_part(function, image)) {
            auto decoded = decode(*part, "return sites");
            if (!decoded) return tl::unexpected(decoded.error());
            cold = std::move(*decoded);
        }
        const Function* const other = cold ? &*cold : nullptr;
        if (auto done = detail::check_branches_out(function, other, image); !done) return tl::unexpected(done.error());
        if (cold)
            if (auto done = detail::check_branches_out(*cold, &function, image); !done)
                return tl::unexpected(done.error());
        return detail::choose_returns(function, kernel, needed_results, other);
    });
}

}  // namespace otel_ebpf::site::x86_64
