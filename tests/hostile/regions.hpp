// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Where the structures of a real executable are in its file: what mutations aim at.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/go/pclntab.hpp>

namespace hostile {

enum class Kind : std::uint8_t {
    bits,        // a few of them, anywhere
    truncation,
    elf_header,
    segments,
    sections,
    symbols,
    relocations,
    build_info,
    pclntab_header,
    pclntab,     // entries, records, names, tables of values
    moduledata,
    dwarf,
    code,
};
inline constexpr std::array<std::string_view, 13> kind_names = {
    "bits",       "truncation",     "elf header", "segments",   "sections", "symbols", "relocations",
    "build info", "pclntab header", "pclntab",    "moduledata", "dwarf",    "code"};

struct Region {
    Kind kind;
    std::uint64_t offset = 0;  // in the file
    std::uint64_t size = 0;
};

class Regions {
public:
    // None when the library does not accept the executable.
    static std::vector<Region> of(const otel_ebpf::Executable& executable) {
        Regions regions(executable.elf());
        regions.add_headers();
        regions.add_sections();
        if (executable.is_go()) regions.add_go_tables();
        regions.add_code(executable);
        return std::move(regions.found_);
    }

private:
    explicit Regions(const otel_ebpf::ElfFile& elf) : elf_(elf) {}

    void add(Kind kind, std::uint64_t offset, std::uint64_t size) {
        if (size == 0 || !otel_ebpf::in_range(offset, size, elf_.source().size())) return;
        found_.push_back({kind, offset, size});
    }
    void add_loaded(Kind kind, std::uint64_t vaddr, std::uint64_t size) {
        if (const auto offset = elf_.offset_of(vaddr, size)) add(kind, *offset, size);
    }

    void add_headers() {
        const auto raw = elf_.source().read(0, sizeof(Elf64_Ehdr));
        if (!raw) return;
        const auto header = otel_ebpf::load<Elf64_Ehdr>(raw->bytes(), 0);
        add(Kind::elf_header, 0, sizeof(header));
        add(Kind::segments, header.e_phoff, header.e_phnum * sizeof(Elf64_Phdr));
        add(Kind::sections, header.e_shoff, header.e_shnum * sizeof(Elf64_Shdr));
        // Notes and the names of sections.
        for (const otel_ebpf::ElfSection& section : elf_.sections())
            if (section.type == SHT_NOTE || section.name == ".shstrtab")
                add(Kind::sections, section.offset, section.size);
    }

    void add_sections() {
        for (const otel_ebpf::ElfSection& section : elf_.sections()) {
            if (section.type == SHT_NOBITS) continue;
            std::optional<Kind> kind;
            if (section.name.starts_with(".debug_") || section.name.starts_with(".zdebug_")) kind = Kind::dwarf;
            else if (section.type == SHT_SYMTAB || section.type == SHT_DYNSYM) kind = Kind::symbols;
            else if (section.name == ".strtab" || section.name == ".dynstr") kind = Kind::symbols;
            else if (section.type == SHT_RELA || section.type == SHT_DYNAMIC) kind = Kind::relocations;
            else if (section.name == ".go.buildinfo") kind = Kind::build_info;
            if (kind) add(*kind, section.offset, section.size);
            // Headers of units, the first abbreviations, the header of a compressed section.
            if (kind == Kind::dwarf && section.size > head_bytes) add(*kind, section.offset, head_bytes);
        }
    }

    void add_go_tables() {
        const auto header = otel_ebpf::go::read_pclntab_header(elf_);
        if (!header) return;
        add_loaded(Kind::pclntab_header, header->vaddr, 72);
        const std::array<std::uint64_t, 6> bounds = {header->names,     header->compile_units, header->files,
                                                     header->pc_values, header->functions,     header->size};
        for (std::size_t i = 0; i + 1 < bounds.size(); ++i)
            add_loaded(Kind::pclntab, header->vaddr + bounds[i], bounds[i + 1] - bounds[i]);
        add_loaded(Kind::pclntab, header->vaddr + header->functions, header->function_count * header->entry_bytes());
        const auto module = otel_ebpf::go::find_moduledata(elf_, *header);
        if (module && *module) add_loaded(Kind::moduledata, (*module)->vaddr, 48 * 8);
        if (found_.end() == std::find_if(found_.begin(), found_.end(),
                                         [](const Region& region) { return region.kind == Kind::build_info; }))
            if (const auto at = otel_ebpf::go::detail::find_build_info(elf_); at && *at)
                add_loaded(Kind::build_info, **at, 256);
    }

    void add_code(const otel_ebpf::Executable& executable) {
        constexpr std::string_view names[] = {"net/http.serverHandler.ServeHTTP", "runtime.newproc1", "runtime.gopark",
                                              "runtime.mallocgc", "runtime.main", "main.main", "main"};
        for (const otel_ebpf::Function& function : executable.find_functions(names))
            add_loaded(Kind::code, function.vaddr, function.size);
    }

    static constexpr std::uint64_t head_bytes = 512;

    const otel_ebpf::ElfFile& elf_;
    std::vector<Region> found_;
};

}  // namespace hostile
