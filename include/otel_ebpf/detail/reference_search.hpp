// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ReferenceSearch: where the bytes of an executable may refer to a few functions, in one pass over chunks of it.
//
// Finds too much rather than too little; who reads the code around a find decides.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <otel_ebpf/byte_source.hpp>
#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/site/references_aarch64.hpp>

namespace otel_ebpf::detail {

// Addresses of which a reference is wanted.
struct ReferenceTarget {
    std::uint64_t vaddr = 0;
    std::uint64_t size = 1;  // native functions may be entered anywhere by parts of themselves
};

class ReferenceSearch {
public:
    ReferenceSearch(Arch arch, std::span<const ReferenceTarget> targets, std::uint64_t go_text_start)
        : arch_(arch), targets_(targets.begin(), targets.end()), go_text_start_(go_text_start) {}

    // Chunks of code overlap by this much, so that each field lies whole in one of them.
    static constexpr std::size_t overlap = 3;

    // What may lead to a target by its form, or hold its address.
    void scan_code(std::uint64_t vaddr, std::span<const std::byte> bytes) {
        arch_ == Arch::x86_64 ? scan_code_x86_64(vaddr, bytes) : scan_code_arm64(vaddr, bytes);
    }

    // Aligned words that hold the address of a target.
    void scan_data(std::uint64_t vaddr, std::span<const std::byte> bytes) {
        scan_words<std::uint64_t>(vaddr, bytes, 0);
    }

    // Aligned 4-byte words that hold the offset of a target from the start of the Go text, as method tables do.
    void scan_methods(std::uint64_t vaddr, std::span<const std::byte> bytes) {
        scan_words<std::uint32_t>(vaddr, bytes, go_text_start_);
    }

    // Addresses of what was found; calling it anew starts anew.
    std::vector<std::uint64_t> take() { return std::exchange(found_, {}); }

private:
    // 4-byte fields that are an offset from their own end, or an address.
    void scan_code_x86_64(std::uint64_t vaddr, std::span<const std::byte> bytes) {
        for (const ReferenceTarget& target : targets_) {
            std::size_t at = 0;
            for (; at + block_bytes + overlap <= bytes.size(); at += block_bytes)
                if (may_refer(bytes.data() + at, vaddr + at, target))
                    scan_fields(vaddr, bytes, at, block_bytes, target);
            if (at + overlap < bytes.size()) scan_fields(vaddr, bytes, at, bytes.size() - overlap - at, target);
        }
    }

    void scan_code_arm64(std::uint64_t vaddr, std::span<const std::byte> bytes) {
        site::aarch64::for_each_word({vaddr, bytes}, [&](const site::aarch64::CodeWord& word) {
            for (const ReferenceTarget& target : targets_)
                if (word.may_refer(target.vaddr, target.size)) found_.push_back(word.vaddr);
        });
    }

    using Lanes = std::uint32_t __attribute__((vector_size(16)));
    static constexpr std::size_t lanes = 4, block_bytes = sizeof(Lanes);

    // Whether one of the 16 fields that begin in the block does.
    static bool may_refer(const std::byte* block, std::uint64_t vaddr, const ReferenceTarget& target) {
        const auto low = static_cast<std::uint32_t>(target.vaddr), size = static_cast<std::uint32_t>(target.size);
        Lanes any{};
        for (std::uint32_t start = 0; start < lanes; ++start) {
            Lanes field;
            std::memcpy(&field, block + start, sizeof(field));
            const Lanes offsets{start + 4, start + 8, start + 12, start + 16};  // of the fields' ends
            const Lanes leads_to = field + offsets + static_cast<std::uint32_t>(vaddr);
            any |= static_cast<Lanes>(leads_to - low < size) | static_cast<Lanes>(field - low < size);
        }
        std::array<std::uint64_t, 2> halves;
        std::memcpy(halves.data(), &any, sizeof(halves));
        return (halves[0] | halves[1]) != 0;
    }

    void scan_fields(std::uint64_t vaddr, std::span<const std::byte> bytes, std::size_t begin, std::size_t count,
                     const ReferenceTarget& target) {
        const auto low = static_cast<std::uint32_t>(target.vaddr), size = static_cast<std::uint32_t>(target.size);
        for (std::size_t at = begin; at < begin + count; ++at) {
            const auto field = load<std::uint32_t>(bytes, at);
            const auto leads_to = field + static_cast<std::uint32_t>(vaddr + at + sizeof(field));
            if (leads_to - low < size || field - low < size) found_.push_back(vaddr + at);
        }
    }

    template <class Word>
    void scan_words(std::uint64_t vaddr, std::span<const std::byte> bytes, std::uint64_t base) {
        const std::size_t first = (0 - vaddr) % sizeof(Word);
        for (const ReferenceTarget& target : targets_) {
            const std::uint64_t offset = target.vaddr - base;
            const auto wanted = static_cast<Word>(offset);
            if (wanted != offset) continue;
            for (std::size_t at = first; in_range(at, sizeof(Word), bytes.size()); at += sizeof(Word))
                if (load<Word>(bytes, at) == wanted) found_.push_back(vaddr + at);
        }
    }

    Arch arch_;
    std::vector<ReferenceTarget> targets_;
    std::uint64_t go_text_start_;
    std::vector<std::uint64_t> found_;
};

}  // namespace otel_ebpf::detail
