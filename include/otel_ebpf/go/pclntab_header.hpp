// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// PclntabHeader: the layout of a Go function table (runtime/symtab.go: pcHeader), checked.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>

namespace otel_ebpf::go {

// internal/abi/symtab.go: PCLnTabMagic
inline constexpr std::uint32_t pclntab_magic_1_16 = 0xfffffffa;  // Go 1.16 and 1.17
inline constexpr std::uint32_t pclntab_magic_1_18 = 0xfffffff0;  // Go 1.18 and 1.19
inline constexpr std::uint32_t pclntab_magic_1_20 = 0xfffffff1;

// Header of the layouts since Go 1.16. Offsets count from the start of the table.
struct PclntabHeader {
    std::uint64_t vaddr = 0;
    std::uint64_t size = 0;
    bool since_1_18 = true;        // entries are offsets from the start of the text, not addresses
    bool since_1_20 = false;       // records of functions have their first line
    std::uint8_t quantum = 1;      // smallest instruction, in bytes
    std::uint64_t function_count = 0;
    std::uint64_t text_start = 0;  // 0 since Go 1.26: only moduledata tells
    std::uint64_t names = 0;
    std::uint64_t compile_units = 0;
    std::uint64_t files = 0;
    std::uint64_t pc_values = 0;
    std::uint64_t functions = 0;

    // {entry, offset of the record} of a function
    [[nodiscard]] std::uint64_t entry_bytes() const { return since_1_18 ? 8 : 16; }
    // Where a field of a record is (runtime/runtime2.go: _func) that layouts since Go 1.18 have at `at`: before, the
    // entry in front of them took 8 bytes, not 4.
    [[nodiscard]] std::uint64_t field_at(std::uint64_t at) const { return since_1_18 ? at : at + 4; }

    // Fields of a record, as of Go 1.18.
    static constexpr std::uint64_t name_at = 4, pcsp_at = 16, pcln_at = 24;
};

// The table at `vaddr`, of at most `size` bytes. Errors are predicates, to be put behind the name of the file.
inline Result<PclntabHeader> parse_pclntab_header(const ElfFile& elf, std::uint64_t vaddr, std::uint64_t size) {
    constexpr std::size_t first_words = 8;
    auto start = elf.bytes_at(vaddr, first_words);
    if (!start) return tl::unexpected(std::move(start).error().in("has a damaged .gopclntab"));
    const auto magic = load<std::uint32_t>(std::as_const(*start).bytes(), 0);
    if (magic != pclntab_magic_1_16 && magic != pclntab_magic_1_18 && magic != pclntab_magic_1_20)
        return fail(Stage::unsupported, "has a .gopclntab of unknown format " + ElfFile::hex(magic) +
                                            ": of Go before 1.16, newer than this library, or damaged");
    PclntabHeader header;
    header.vaddr = vaddr;
    header.size = size;
    header.since_1_18 = magic != pclntab_magic_1_16;
    header.since_1_20 = magic == pclntab_magic_1_20;
    header.quantum = load<std::uint8_t>(std::as_const(*start).bytes(), 6);
    const auto pointer_size = load<std::uint8_t>(std::as_const(*start).bytes(), 7);

    // Numbers of functions and of files; the start of the text, since Go 1.18; where the parts are.
    const std::size_t words = header.since_1_18 ? 8 : 7;
    const std::size_t header_bytes = first_words + words * 8;
    auto raw = elf.bytes_at(vaddr, header_bytes);
    if (!raw) return tl::unexpected(std::move(raw).error().in("has a damaged .gopclntab"));
    const auto word = [&](std::size_t index) {
        return load<std::uint64_t>(std::as_const(*raw).bytes(), first_words + index * 8);
    };
    header.function_count = word(0);
    if (header.since_1_18) header.text_start = word(2);
    std::size_t part = words - 5;
    for (std::uint64_t* offset : {&header.names, &header.compile_units, &header.files, &header.pc_values,
                                  &header.functions})
        *offset = word(part++);
    const std::uint8_t expected_quantum = elf.arch() == Arch::aarch64 ? 4 : 1;
    const bool is_ordered = header_bytes <= header.names && header.names <= header.compile_units &&
                            header.compile_units <= header.files && header.files <= header.pc_values &&
                            header.pc_values <= header.functions && header.functions <= header.size;
    if (header.quantum != expected_quantum || pointer_size != 8 || !is_ordered || header.function_count == 0 ||
        header.function_count >= (header.size - header.functions) / header.entry_bytes())
        return fail(Stage::target, "has a damaged .gopclntab: its header contradicts itself");
    if (!header.since_1_18) {  // the text starts where its first function does
        auto first = elf.bytes_at(vaddr + header.functions, 8);
        if (!first) return tl::unexpected(std::move(first).error().in("has a damaged .gopclntab"));
        header.text_start = load<std::uint64_t>(std::as_const(*first).bytes(), 0);
    }
    return header;
}

}  // namespace otel_ebpf::go
