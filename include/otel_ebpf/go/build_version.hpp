// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The Go release of an executable without build info: what its variable runtime.buildVersion says.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/elf_relocations.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/version.hpp>

namespace otel_ebpf::go {

namespace detail {

struct VersionText {
    std::uint64_t vaddr = 0;
    std::string text;
};

// Every "go1.N..." in data that is a release and ends in NUL: the linker writes this one so (cmd/link: addstrdata), the
// compiler never ends its texts.
inline Result<std::vector<VersionText>> find_version_texts(const ElfFile& elf) {
    constexpr std::uint64_t chunk_bytes = 256 << 10, max_version_bytes = 64;
    constexpr std::size_t max_texts = 64;
    std::vector<VersionText> texts;
    for (const Elf64_Phdr& segment : elf.segments()) {
        if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) != 0) continue;
        // Chunks overlap, so that a text lies whole in one of them.
        for (std::uint64_t done = 0; done < segment.p_filesz; done += chunk_bytes - max_version_bytes) {
            auto chunk = elf.bytes_at(segment.p_vaddr + done, std::min(chunk_bytes, segment.p_filesz - done));
            if (!chunk) return tl::unexpected(std::move(chunk).error());
            const auto bytes = std::as_const(*chunk).bytes();
            const std::string_view data(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            for (std::size_t at = data.find("go1."); at != std::string_view::npos; at = data.find("go1.", at + 1)) {
                const std::string_view text = text_at(bytes.first(std::min(bytes.size(), at + max_version_bytes)), at);
                if (text.empty() || !Version::parse(text)) continue;
                const std::uint64_t vaddr = segment.p_vaddr + done + at;
                if (!texts.empty() && texts.back().vaddr >= vaddr) continue;  // in both of two chunks
                texts.push_back({vaddr, std::string(text)});
                if (texts.size() == max_texts) return texts;
            }
        }
    }
    return texts;
}

// The texts that a string variable in writable data holds.
inline Result<std::vector<std::string>> texts_of_variables(const ElfFile& elf, const std::vector<VersionText>& texts) {
    std::vector<std::string> held;
    const auto hold = [&](std::uint64_t vaddr, std::uint64_t size) {
        for (const VersionText& text : texts)
            if (text.vaddr == vaddr && text.text.size() == size) held.push_back(text.text);
    };
    constexpr std::uint64_t chunk_bytes = 256 << 10, header_bytes = 16;
    for (const Elf64_Phdr& segment : elf.segments()) {
        if (segment.p_type != PT_LOAD || (segment.p_flags & (PF_W | PF_X)) != PF_W) continue;
        for (std::uint64_t done = (8 - segment.p_vaddr % 8) % 8; in_range(done, header_bytes, segment.p_filesz);
             done += chunk_bytes - 8) {
            auto chunk = elf.bytes_at(segment.p_vaddr + done, std::min(chunk_bytes, segment.p_filesz - done));
            if (!chunk) return tl::unexpected(std::move(chunk).error());
            const auto bytes = std::as_const(*chunk).bytes();
            for (std::size_t at = 0; in_range(at, header_bytes, bytes.size()); at += 8)
                hold(load<std::uint64_t>(bytes, at), load<std::uint64_t>(bytes, at + 8));
        }
    }
    auto relocated = for_each_relative_relocation(elf, [&](std::uint64_t vaddr, std::uint64_t value) {
        const bool is_text = std::ranges::any_of(texts, [&](const VersionText& text) { return text.vaddr == value; });
        if (is_text)
            if (const auto size = elf.bytes_at(vaddr + 8, 8)) hold(value, load<std::uint64_t>(size->bytes(), 0));
        return true;
    });
    if (!relocated) return tl::unexpected(std::move(relocated).error());
    return held;
}

}  // namespace detail

// "go1.26.8". nullopt where no variable holds a release, or two hold different ones.
inline Result<std::optional<std::string>> find_build_version(const ElfFile& elf) {
    auto texts = detail::find_version_texts(elf);
    if (!texts) return tl::unexpected(std::move(texts).error());
    if (texts->empty()) return std::nullopt;
    auto held = detail::texts_of_variables(elf, *texts);
    if (!held) return tl::unexpected(std::move(held).error());
    const bool is_one = !held->empty() && std::ranges::all_of(*held, [&](const std::string& text) {
        return text == held->front();
    });
    return is_one ? std::optional(held->front()) : std::nullopt;
}

}  // namespace otel_ebpf::go
