// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Where the Go function table of an executable is: in its section, or wherever its data has one that moduledata names.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/go/moduledata.hpp>
#include <otel_ebpf/go/pclntab_header.hpp>

namespace otel_ebpf::go {

namespace detail {

// The first 8 bytes of a table: magic, two zeros, quantum, size of a pointer.
constexpr bool starts_pclntab(std::uint64_t word, Arch arch) {
    const std::uint64_t behind_magic = arch == Arch::aarch64 ? 0x0804'0000 : 0x0801'0000;
    const auto magic = static_cast<std::uint32_t>(word);
    return word >> 32 == behind_magic &&
           (magic == pclntab_magic_1_16 || magic == pclntab_magic_1_18 || magic == pclntab_magic_1_20);
}

// The table at the start of which `vaddr` may be, when there is moduledata that names it: an executable may carry
// another one as its data.
inline Result<std::optional<PclntabHeader>> confirm_pclntab(const ElfFile& elf, std::uint64_t vaddr,
                                                            std::uint64_t max_size) {
    auto header = parse_pclntab_header(elf, vaddr, max_size);
    if (!header) return std::nullopt;
    auto module = find_moduledata(elf, *header);
    if (!module) return tl::unexpected(std::move(module).error());
    if (!*module) return std::nullopt;
    header->size = header->functions + (*module)->function_bytes;
    return *header;
}

// Linkers align the table to a pointer at least.
inline Result<std::optional<PclntabHeader>> search_pclntab(const ElfFile& elf) {
    constexpr std::uint64_t chunk_bytes = 256 << 10, word_bytes = 8;
    constexpr int max_candidates = 16;
    int candidates = 0;
    for (const std::uint32_t executable : {0u, std::uint32_t{PF_X}})  // the table is not code, but may be next to it
        for (const Elf64_Phdr& segment : elf.segments()) {
            if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) != executable) continue;
            for (std::uint64_t done = (word_bytes - segment.p_vaddr % word_bytes) % word_bytes;
                 done < segment.p_filesz; done += chunk_bytes) {
                const std::uint64_t vaddr = segment.p_vaddr + done;
                auto chunk = elf.bytes_at(vaddr, std::min(chunk_bytes, segment.p_filesz - done));
                if (!chunk) return tl::unexpected(std::move(chunk).error());
                const auto bytes = std::as_const(*chunk).bytes();
                for (std::size_t at = 0; at + word_bytes <= bytes.size(); at += word_bytes) {
                    if (!starts_pclntab(load<std::uint64_t>(bytes, at), elf.arch())) continue;
                    if (++candidates > max_candidates) return std::nullopt;
                    auto header = confirm_pclntab(elf, vaddr + at, segment.p_filesz - done - at);
                    if (!header || *header) return header;
                }
            }
        }
    return std::nullopt;
}

}  // namespace detail

// Refuses where there is none, or a damaged one.
inline Result<PclntabHeader> read_pclntab_header(const ElfFile& elf) {
    // The latter: PIE before Go 1.26. Other linkers merge that into .data.rel.ro.
    for (const std::string_view name : {".gopclntab", ".data.rel.ro.gopclntab"})
        if (const ElfSection* section = elf.section(name))
            return parse_pclntab_header(elf, section->vaddr, section->size);
    auto found = detail::search_pclntab(elf);
    if (!found) return tl::unexpected(std::move(found).error());
    if (*found) return **found;
    return fail(Stage::unsupported,
                "has no Go function table: neither a .gopclntab section nor one in its data that its moduledata names, "
                "so its functions can't be found (if it is packed, unpack it)");
}

}  // namespace otel_ebpf::go
