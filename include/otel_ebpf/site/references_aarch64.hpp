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
// One word of code, and the one before it.
struct CodeWord {
    std::uint64_t vaddr = 0;
    std::uint32_t word = 0;
    std::uint32_t before = 0;

    // Whether it may lead to one of the SIZE bytes at TARGET: as a branch, as the address of a page, as a constant of
    // 64 bits with the word before it, or as one of 32 bits.
    [[nodiscard]] bool may_refer(std::uint64_t target, std::uint64_t size) const {
        const auto is_inside = [&](std::uint64_t address) { return address - target < size; };
        const auto branch = target_of(word, vaddr);
        const std::uint64_t address = adr.matches(word) || adrp.matches(word) ? detail::made_address(word, vaddr) : 0;
        constexpr std::uint64_t page_bytes = 4096;
        const bool is_page = adrp.matches(word) && address < target + size && target < address + page_bytes;
        return (branch && is_inside(*branch)) || (adr.matches(word) && is_inside(address)) || is_page ||
               is_inside(word) || is_inside(std::uint64_t{word} << 32 | before);
    }
};

// Calls USE(CodeWord) for each word of SECTION.
template <class Use>
void for_each_word(const Section& section, Use use) {
    CodeWord word;
    for (std::size_t i = (0 - section.vaddr) % 4; i + 4 <= section.bytes.size(); i += 4) {
        word.before = word.word;
        word.vaddr = section.vaddr + i;
        word.word = site::detail::load<std::uint32_t>(section.bytes.data() + i);
        use(word);
    }
}

// Words of TEXT, in order, that may lead to TARGET.
inline std::vector<std::uint64_t> possible_references(const Section& text, std::uint64_t target) {
    std::vector<std::uint64_t> found;
    for_each_word(text, [&](const CodeWord& word) {
        if (word.may_refer(target, 1)) found.push_back(word.vaddr);
    });
    return found;
}

// Addresses inside the SIZE bytes at VADDR, but for the first, to which a branch of code outside may lead.
inline std::vector<std::uint64_t> entered_from_outside(std::span<const Section> text, std::uint64_t vaddr,
                                                       std::uint64_t size) {
    std::vector<std::uint64_t> found;
    for (const Section& section : text)
        for_each_word(section, [&](const CodeWord& word) {
            const auto target = target_of(word.word, word.vaddr);
            if (target && *target > vaddr && *target - vaddr < size && word.vaddr - vaddr >= size)
                found.push_back(*target);
        });
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

}  // namespace otel_ebpf::site::aarch64
