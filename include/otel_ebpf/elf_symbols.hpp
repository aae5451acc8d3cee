// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ElfSymbols: one pass over .symtab, or over .dynsym, which stripped executables keep.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>

namespace otel_ebpf {

class ElfSymbols {
public:
    // Fails when there is no .symtab (a stripped executable) or it is damaged.
    static Result<ElfSymbols> open(const ElfFile& elf) { return open(elf, ".symtab", SHT_SYMTAB); }
    // What other objects may use.
    static Result<ElfSymbols> open_dynamic(const ElfFile& elf) { return open(elf, ".dynsym", SHT_DYNSYM); }

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
    static Result<ElfSymbols> open(const ElfFile& elf, std::string_view name, std::uint32_t type) {
        const ElfSection* table = elf.section(name);
        if (table == nullptr || table->type != type) return fail(Stage::symbol, "has no " + std::string(name));
        if (table->link >= elf.sections().size())
            return fail(Stage::target, "has a damaged " + std::string(name) + ": no names");
        ElfSymbols symbols;
        auto entries = elf.bytes_of(*table);
        if (!entries) return tl::unexpected(std::move(entries).error());
        auto names = elf.bytes_of(elf.sections()[table->link]);
        if (!names) return tl::unexpected(std::move(names).error());
        symbols.entries_ = std::move(*entries);
        symbols.names_ = std::move(*names);
        return symbols;
    }

    ByteBuffer entries_;
    ByteBuffer names_;
};

constexpr bool is_function(const Elf64_Sym& symbol) {
    return ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_size != 0;
}

}  // namespace otel_ebpf
