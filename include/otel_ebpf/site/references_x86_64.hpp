// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Where x86-64 machine code may refer to an address, without decoding it: every place that reads so.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <otel_ebpf/site/function.hpp>

namespace otel_ebpf::site::x86_64 {
namespace detail {

using site::detail::load;

// Addresses of 4-byte fields in TEXT that, as an offset from their own end or as an absolute address, give TARGET.
inline std::vector<std::uint64_t> wide_references(const Section& text, std::uint64_t target) {
    std::vector<std::uint64_t> found;
    if (text.bytes.size() < sizeof(std::uint32_t)) return found;
    const std::size_t last = text.bytes.size() - sizeof(std::uint32_t);
    const auto first_relative = static_cast<std::uint32_t>(target - text.vaddr - sizeof(std::uint32_t));
    const auto absolute = static_cast<std::uint32_t>(target);
    constexpr std::size_t block = 1024;  // the inner loop has no branch, so that the compiler can make it wide
    for (std::size_t begin = 0; begin <= last; begin += block) {
        const std::size_t end = std::min(begin + block, last + 1);
        std::uint32_t any = 0;
        for (std::size_t i = begin; i < end; ++i) {
            const auto field = load<std::uint32_t>(text.bytes.data() + i);
            any |= static_cast<std::uint32_t>(field == first_relative - static_cast<std::uint32_t>(i)) |
                   static_cast<std::uint32_t>(field == absolute);
        }
        if (any == 0) continue;
        for (std::size_t i = begin; i < end; ++i) {
            const auto field = load<std::uint32_t>(text.bytes.data() + i);
            if (field == first_relative - static_cast<std::uint32_t>(i) || field == absolute)
                found.push_back(text.vaddr + i);
        }
    }
    return found;
}

// Addresses of 1-byte fields in TEXT that, behind the opcode of a short branch, lead to TARGET.
inline std::vector<std::uint64_t> short_references(const Section& text, std::uint64_t target) {
    std::vector<std::uint64_t> found;
    for (std::int64_t distance = -128; distance <= 127; ++distance) {
        const std::uint64_t field = target - static_cast<std::uint64_t>(distance) - 1;
        if (field <= text.vaddr || field - text.vaddr >= text.bytes.size()) continue;
        const std::byte* const at = text.bytes.data() + (field - text.vaddr);
        const auto opcode = std::to_integer<unsigned>(at[-1]);
        const bool branch = (opcode & 0xf0) == 0x70 || opcode == 0xeb || (opcode & 0xfc) == 0xe0;  // jcc, jmp, loop
        if (branch && std::to_integer<std::uint8_t>(*at) == static_cast<std::uint8_t>(distance)) found.push_back(field);
    }
    return found;
}

}  // namespace detail

// Fields of TEXT, in order, that by their bytes may lead to TARGET.
inline std::vector<std::uint64_t> possible_references(const Section& text, std::uint64_t target) {
    std::vector<std::uint64_t> fields = detail::wide_references(text, target);
    const std::vector<std::uint64_t> near = detail::short_references(text, target);
    fields.insert(fields.end(), near.begin(), near.end());
    std::sort(fields.begin(), fields.end());
    return fields;
}

// Whether the field at AT, outside of every function, is the end of the nops before TARGET: compilers of C align by
// long ones that end in zeros, which read as a distance of 0. Only a branch could stand there, since it does not go on.
inline bool is_padding(const Section& text, std::uint64_t at, std::uint64_t target) {
    const std::uint64_t offset = at - text.vaddr;
    if (at + sizeof(std::uint32_t) != target || offset < 2) return false;
    const auto before = [&](std::uint64_t bytes) { return std::to_integer<unsigned>(text.bytes[offset - bytes]); };
    const bool is_branch = (before(1) & 0xfe) == 0xe8 || (before(2) == 0x0f && (before(1) & 0xf0) == 0x80);
    return detail::load<std::uint32_t>(text.bytes.data() + offset) == 0 && !is_branch;
}

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

}  // namespace otel_ebpf::site::x86_64
