// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Moduledata: where the Go text starts, from runtime.firstmoduledata, found without symbols.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/elf_relocations.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/go/pclntab_header.hpp>

namespace otel_ebpf::go {

// The part of runtime.moduledata whose layout is the same since Go 1.16.
struct Moduledata {
    std::uint64_t vaddr = 0;
    std::uint64_t min_pc = 0;
    std::uint64_t max_pc = 0;
    std::uint64_t text = 0;
    std::uint64_t end_of_text = 0;
    std::uint64_t function_bytes = 0;  // of the last part of the pclntab, from PclntabHeader::functions on
};

namespace detail {

inline constexpr std::size_t moduledata_words = 24;  // pcHeader .. etext
inline constexpr std::uint64_t moduledata_bytes = moduledata_words * 8;

// Accepts a candidate only if all its pointers into the pclntab are those that the pclntab's own header implies.
inline std::optional<Moduledata> check_moduledata(const ElfFile& elf, const PclntabHeader& header, std::uint64_t vaddr,
                                                  std::span<const std::byte> bytes) {
    const auto word = [&](std::size_t index) { return load<std::uint64_t>(bytes, index * 8); };
    // {index of a slice's pointer, offset in the pclntab}; runtime/symtab.go: funcnametab, cutab, filetab, pctab,
    // pclntable, ftab
    const std::array<std::pair<std::size_t, std::uint64_t>, 6> pointers{{{1, header.names},
                                                                         {4, header.compile_units},
                                                                         {7, header.files},
                                                                         {10, header.pc_values},
                                                                         {13, header.functions},
                                                                         {16, header.functions}}};
    if (word(0) != header.vaddr) return std::nullopt;
    for (const auto& [index, offset] : pointers)
        if (word(index) != header.vaddr + offset) return std::nullopt;
    if (word(17) != header.function_count + 1) return std::nullopt;
    const Moduledata data{vaddr, word(20), word(21), word(22), word(23), word(14)};
    if (data.text > data.min_pc || data.min_pc >= data.max_pc || data.max_pc > data.end_of_text) return std::nullopt;
    if (data.function_bytes > header.size - header.functions) return std::nullopt;
    if (header.function_count >= data.function_bytes / header.entry_bytes()) return std::nullopt;
    if (!elf.is_code(data.text, data.end_of_text - data.text)) return std::nullopt;
    return data;
}

// In position-independent executables of linkers other than Go's, where the file has zeros in place of pointers.
inline Result<std::optional<Moduledata>> find_relocated_moduledata(const ElfFile& elf, const PclntabHeader& header) {
    constexpr std::size_t max_candidates = 16;  // the runtime has one pointer to the table
    struct Candidate {
        std::uint64_t vaddr;
        ByteBuffer bytes;
    };
    std::vector<Candidate> candidates;
    auto found = for_each_relative_relocation(elf, [&](std::uint64_t vaddr, std::uint64_t value) {
        if (value != header.vaddr) return true;
        if (auto bytes = elf.bytes_at(vaddr, moduledata_bytes)) candidates.push_back({vaddr, std::move(*bytes)});
        return candidates.size() < max_candidates;
    });
    if (!found) return tl::unexpected(std::move(found).error());
    if (candidates.empty()) return std::nullopt;
    auto applied = for_each_relative_relocation(elf, [&](std::uint64_t vaddr, std::uint64_t value) {
        for (Candidate& candidate : candidates)
            if (vaddr >= candidate.vaddr && in_range(vaddr - candidate.vaddr, sizeof(value), moduledata_bytes))
                std::memcpy(candidate.bytes.bytes().data() + (vaddr - candidate.vaddr), &value, sizeof(value));
        return true;
    });
    if (!applied) return tl::unexpected(std::move(applied).error());
    for (const Candidate& candidate : candidates)
        if (auto data = check_moduledata(elf, header, candidate.vaddr, candidate.bytes.bytes())) return data;
    return std::nullopt;
}

}  // namespace detail

// Searches .go.module (since Go 1.26), all writable data, then what relocations say of it. nullopt: none that agrees
// with the pclntab.
inline Result<std::optional<Moduledata>> find_moduledata(const ElfFile& elf, const PclntabHeader& header) {
    constexpr std::uint64_t size = detail::moduledata_bytes;
    if (const ElfSection* section = elf.section(".go.module"); section != nullptr && section->size >= size) {
        if (auto bytes = elf.bytes_at(section->vaddr, size))
            if (auto data = detail::check_moduledata(elf, header, section->vaddr, std::as_const(*bytes).bytes()))
                return data;
    }
    constexpr std::uint64_t chunk_bytes = 256 << 10;
    for (const Elf64_Phdr& segment : elf.segments()) {
        if (segment.p_type != PT_LOAD || (segment.p_flags & (PF_W | PF_X)) != PF_W) continue;
        // Chunks overlap, so that a candidate lies whole in one of them.
        for (std::uint64_t done = (8 - segment.p_vaddr % 8) % 8; in_range(done, size, segment.p_filesz);
             done += chunk_bytes - size) {
            const std::uint64_t vaddr = segment.p_vaddr + done;
            auto chunk = elf.bytes_at(vaddr, std::min(chunk_bytes, segment.p_filesz - done));
            if (!chunk) return tl::unexpected(std::move(chunk).error());
            const auto bytes = std::as_const(*chunk).bytes();
            for (std::size_t at = 0; at + size <= bytes.size(); at += 8) {
                if (load<std::uint64_t>(bytes, at) != header.vaddr) continue;
                if (auto data = detail::check_moduledata(elf, header, vaddr + at, bytes.subspan(at))) return data;
            }
        }
    }
    return detail::find_relocated_moduledata(elf, header);
}

}  // namespace otel_ebpf::go
