// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// SymbolIndex: functions of an ELF file by address, from .symtab and .dynsym.
#pragma once

#include <cxxabi.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/elf_symbols.hpp>

namespace otel_ebpf::profile {

// A C++ name as the source has it; other names as they are.
[[nodiscard]] inline std::string demangled(const std::string& name) {
    if (!name.starts_with("_Z")) return name;
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> text(
        abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), &std::free);
    return status == 0 && text ? std::string(text.get()) : name;
}

class SymbolIndex {
public:
    struct Symbol {
        std::uint64_t vaddr = 0;
        std::uint64_t size = 0;
        std::size_t name = 0;
        bool is_local = false;
    };

    // Empty when the file has neither table, or both are damaged.
    explicit SymbolIndex(const ElfFile& elf) {
        if (const auto symbols = ElfSymbols::open(elf)) add(*symbols);
        if (const auto symbols = ElfSymbols::open_dynamic(elf)) add(*symbols);
        // Of several names for one address, the first: with a size, global, the longest code, the shortest name.
        const auto rank = [this](const Symbol& symbol) {
            return std::tuple(symbol.vaddr, symbol.size == 0, symbol.is_local, ~symbol.size,
                              std::string_view(names_.c_str() + symbol.name).size());
        };
        std::ranges::stable_sort(symbols_, {}, rank);
        const auto same_address = [](const Symbol& a, const Symbol& b) { return a.vaddr == b.vaddr; };
        symbols_.erase(std::unique(symbols_.begin(), symbols_.end(), same_address), symbols_.end());
        // Where no size is told, it ends where the next begins, or the code does.
        for (std::size_t i = 0; i < symbols_.size(); ++i) {
            Symbol& symbol = symbols_[i];
            if (symbol.size != 0) continue;
            const Elf64_Phdr* segment = elf.loaded_at(symbol.vaddr, 1);
            if (segment == nullptr) continue;
            const std::uint64_t end = segment->p_vaddr + segment->p_filesz;
            symbol.size = std::min(i + 1 < symbols_.size() ? symbols_[i + 1].vaddr : end, end) - symbol.vaddr;
        }
        symbols_.shrink_to_fit();
    }

    [[nodiscard]] std::size_t size() const { return symbols_.size(); }

    // The function that covers an address; nullptr when there is none. Valid while the index is.
    [[nodiscard]] const Symbol* find(std::uint64_t vaddr) const {
        auto next = std::ranges::upper_bound(symbols_, vaddr, {}, &Symbol::vaddr);
        // A function may lie within another's size (an alternative entry): the innermost that covers the address.
        for (int steps = 0; next != symbols_.begin() && steps < max_steps; ++steps) {
            const Symbol& symbol = *--next;
            if (vaddr - symbol.vaddr < symbol.size) return &symbol;
        }
        return nullptr;
    }

    // Demangled.
    [[nodiscard]] std::string name(const Symbol& symbol) const { return demangled(names_.c_str() + symbol.name); }

private:
    static constexpr int max_steps = 8;

    void add(const ElfSymbols& symbols) {
        symbols.for_each([this](std::string_view name, const Elf64_Sym& symbol) {
            if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || name.empty()) return true;
            symbols_.push_back({symbol.st_value, symbol.st_size, names_.size(),
                                ELF64_ST_BIND(symbol.st_info) == STB_LOCAL});
            names_.append(name).push_back('\0');
            return true;
        });
    }

    std::vector<Symbol> symbols_;  // by address
    std::string names_;            // each with a NUL behind it
};

}  // namespace otel_ebpf::profile
