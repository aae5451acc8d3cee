// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ElfSymbols: one pass over .symtab, or over .dynsym, which stripped executables keep. In memory, or as a search for a
// few names that reads each table once and keeps nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <otel_ebpf/detail/name_search.hpp>
#include <otel_ebpf/detail/window.hpp>
#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/go/names.hpp>

namespace otel_ebpf {

class ElfSymbols {
public:
    // Where the two parts of a symbol table are.
    struct Sections {
        const ElfSection* entries = nullptr;
        const ElfSection* names = nullptr;
    };

    // Fails when there is no .symtab (a stripped executable) or it is damaged.
    static Result<ElfSymbols> open(const ElfFile& elf) { return open(elf, sections(elf)); }
    // What other objects may use.
    static Result<ElfSymbols> open_dynamic(const ElfFile& elf) { return open(elf, dynamic_sections(elf)); }

    static Result<Sections> sections(const ElfFile& elf) { return sections(elf, ".symtab", SHT_SYMTAB); }
    static Result<Sections> dynamic_sections(const ElfFile& elf) { return sections(elf, ".dynsym", SHT_DYNSYM); }

    // Calls visit(name, symbol) for every defined symbol, in file order, until it returns false.
    template <class Visit>
    void for_each(Visit&& visit) const {
        for (std::size_t at = 0; in_range(at, sizeof(Elf64_Sym), entries_.size()); at += sizeof(Elf64_Sym)) {
            const auto symbol = load<Elf64_Sym>(entries_.bytes(), at);
            if (symbol.st_shndx == SHN_UNDEF) continue;
            if (!visit(text_at(names_.bytes(), symbol.st_name), symbol)) return;
        }
    }

private:
    static Result<Sections> sections(const ElfFile& elf, std::string_view name, std::uint32_t type) {
        const ElfSection* table = elf.section(name);
        if (table == nullptr || table->type != type) return fail(Stage::symbol, "has no " + std::string(name));
        if (table->link >= elf.sections().size() || elf.sections()[table->link].type == SHT_NOBITS)
            return fail(Stage::target, "has a damaged " + std::string(name) + ": no names");
        return Sections{table, &elf.sections()[table->link]};
    }

    static Result<ElfSymbols> open(const ElfFile& elf, Result<Sections> found) {
        if (!found) return tl::unexpected(std::move(found).error());
        ElfSymbols symbols;
        auto entries = elf.bytes_of(*found->entries);
        if (!entries) return tl::unexpected(std::move(entries).error());
        auto names = elf.bytes_of(*found->names);
        if (!names) return tl::unexpected(std::move(names).error());
        symbols.entries_ = std::move(*entries);
        symbols.names_ = std::move(*names);
        return symbols;
    }

    ByteBuffer entries_;
    ByteBuffer names_;
};

// Calls visit(symbol) for every defined symbol of the table, in file order, until it returns false. Reads no names.
template <class Visit>
Result<void> for_each_symbol(const ElfFile& elf, const ElfSymbols::Sections& table, Visit&& visit) {
    detail::Window entries(elf.source(), table.entries->offset, table.entries->size);
    for (std::uint64_t at = 0; in_range(at, sizeof(Elf64_Sym), entries.size()); at += sizeof(Elf64_Sym)) {
        auto raw = entries.at(at, sizeof(Elf64_Sym));
        if (!raw) return tl::unexpected(std::move(raw).error());
        const auto symbol = load<Elf64_Sym>(*raw, 0);
        if (symbol.st_shndx != SHN_UNDEF && !visit(symbol)) break;
    }
    return {};
}

// Calls visit(name, symbol) for every defined symbol of the table: `name` is empty when it is not a wanted one nor its
// copy in a vendor folder.
template <class Visit>
Result<void> find_symbols(const ElfFile& elf, const ElfSymbols::Sections& table, const go::NameSet& wanted,
                          Visit&& visit) {
    detail::NameSearch names(wanted);
    if (auto done = names.read(elf.source(), table.names->offset, table.names->size); !done) return done;
    return for_each_symbol(elf, table,
                           [&](const Elf64_Sym& symbol) { return visit(names.name_at(symbol.st_name), symbol); });
}

constexpr bool is_function(const Elf64_Sym& symbol) {
    return ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_size != 0;
}

}  // namespace otel_ebpf
