// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Where arm64 machine code may refer to an address, without decoding functions: every word that reads so.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <otel_ebpf/site/decode_aarch64.hpp>

namespace otel_ebpf::site::aarch64 {
namespace detail {

// Calls USE(address, word) for each word of SECTION.
template <class Use>
void for_each_word(const Section& section, Use use) {
    for (std::size_t i = (0 - section.vaddr) % 4; i + 4 <= section.bytes.size(); i += 4)
        use(section.vaddr + i, site::detail::load<std::uint32_t>(section.bytes.data() + i));
}

}  // namespace detail

// Words of TEXT, in order, that may lead to TARGET: branches, addresses of its page, constants.
inline std::vector<std::uint64_t> possible_references(const Section& text, std::uint64_t target) {
    std::vector<std::uint64_t> found;
    const auto low = static_cast<std::uint32_t>(target), high = static_cast<std::uint32_t>(target >> 32);
    std::uint32_t before = 0;
    detail::for_each_word(text, [&](std::uint64_t vaddr, std::uint32_t word) {
        const bool is_page =
            adrp.matches(word) && detail::made_address(word, vaddr) == (target & ~std::uint64_t{0xfff});
        const bool is_address = adr.matches(word) && detail::made_address(word, vaddr) == target;
        const bool is_constant = (high == 0 && word == low) || (high != 0 && before == low && word == high);
        if (target_of(word, vaddr) == target || is_page || is_address || is_constant) found.push_back(vaddr);
        before = word;
    });
    return found;
}

// Addresses inside the SIZE bytes at VADDR, but for the first, to which a branch of code outside may lead.
inline std::vector<std::uint64_t> entered_from_outside(std::span<const Section> text, std::uint64_t vaddr,
                                                       std::uint64_t size) {
    std::vector<std::uint64_t> found;
    for (const Section& section : text)
        detail::for_each_word(section, [&](std::uint64_t from, std::uint32_t word) {
            const auto target = target_of(word, from);
            if (target && *target > vaddr && *target - vaddr < size && (from < vaddr || from - vaddr >= size))
                found.push_back(*target);
        });
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

}  // namespace otel_ebpf::site::aarch64
