// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The functions of an executable: by its symbol table, or by the function table of Go where symbols were stripped.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/elf_symbols.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/go/function_index.hpp>
#include <otel_ebpf/go/names.hpp>
#include <otel_ebpf/go/pclntab.hpp>
#include <otel_ebpf/go/text_start.hpp>

namespace otel_ebpf {

// `vaddr` is an address of the file, before any load bias. `size` is in bytes, without padding.
struct Function {
    std::string name;
    std::uint64_t vaddr = 0;
    std::uint64_t size = 0;

    friend bool operator==(const Function&, const Function&) = default;
};

namespace detail {

// Borrows the ElfFile. Errors are predicates. Safe to use from several threads.
class ExecutableFunctions {
public:
    explicit ExecutableFunctions(const ElfFile& elf) : elf_(elf), uses_symbols_(elf.section(".symtab") != nullptr) {}

    // Makes it one of a Go executable. Refuses one without symbols whose functions can't be located for certain.
    Result<void> open_go(const Result<go::PclntabHeader>& header) {
        is_go_ = true;
        // A symbol table with fewer symbols than there are Go functions was stripped in part.
        const ElfSection* symbols = elf_.section(".symtab");
        const std::uint64_t function_count = header ? header->function_count : 0;
        uses_symbols_ = symbols != nullptr && symbols->size / sizeof(Elf64_Sym) > function_count;
        auto located = header ? locate(*header) : Result<void>(tl::unexpected(header.error()));
        if (located || !uses_symbols_) return located;
        index_.reset();
        if (const auto start = symbol_address("runtime.text"); start && *start) text_start_ = **start;
        return {};
    }

    [[nodiscard]] bool uses_symbols() const { return uses_symbols_; }
    // runtime.text; 0 when not Go.
    [[nodiscard]] std::uint64_t go_text_start() const { return text_start_; }
    // End of the last Go function; 0 when only symbols tell.
    [[nodiscard]] std::uint64_t go_text_end() const { return text_end_; }
    // nullptr without a function table of Go.
    [[nodiscard]] const go::FunctionIndex* go_functions() const { return index_ ? &*index_ : nullptr; }

    // By address.
    [[nodiscard]] Result<std::vector<Function>> find(std::span<const std::string_view> names) const {
        const go::NameSet wanted(names);
        Found found;
        bool is_whole = true;
        if (uses_symbols_ || !is_go_) {
            auto searched = find_symbols(wanted, found);
            if (!searched) return tl::unexpected(std::move(searched).error());
            is_whole = *searched;
        }
        if (index_ && (!uses_symbols_ || !is_whole)) {
            auto searched = index_->find(wanted, [&](const go::FunctionIndex::Entry& entry, std::string_view name) {
                const std::uint64_t vaddr = text_start_ + entry.offset;
                const bool is_new = std::ranges::find(found.functions, vaddr, &Function::vaddr) == found.functions.end();
                return !is_new || found.add({std::string(name), vaddr, index_->code_size(entry)});
            });
            if (!searched) return tl::unexpected(std::move(searched).error());
        }
        if (found.is_full) return fail(Stage::symbol, "has an absurd number of functions of the wanted names");
        std::ranges::stable_sort(found.functions, {}, &Function::vaddr);
        return std::move(found.functions);
    }

    // Calls visit(name, vaddr, size) for each function until it returns false. Has all names in memory meanwhile.
    template <class Visit>
    Result<void> for_each(Visit&& visit) const {
        if (!uses_symbols_ && is_go_) {
            auto table = go::Pclntab::open(elf_, index_->header());
            if (!table) return tl::unexpected(std::move(table).error());
            for (std::size_t i = 0; i < table->size(); ++i)
                if (!visit(table->name(i), text_start_ + table->entry(i), std::uint64_t{table->code_size(i)})) break;
            return {};
        }
        auto symbols = uses_symbols_ ? ElfSymbols::open(elf_) : ElfSymbols::open_dynamic(elf_);
        if (!symbols && !uses_symbols_) return {};  // a static executable without symbols
        if (!symbols) return tl::unexpected(std::move(symbols).error());
        symbols->for_each([&](std::string_view name, const Elf64_Sym& symbol) {
            if (!is_code(symbol)) return true;
            return visit(name, symbol.st_value, std::uint64_t{symbol.st_size});
        });
        return {};
    }

    // The function whose code covers `vaddr`.
    [[nodiscard]] Result<std::optional<Function>> at(std::uint64_t vaddr) const {
        if (uses_symbols_ || !is_go_) return symbol_at(vaddr);
        auto entry = vaddr < text_start_ ? std::nullopt : index_->at(vaddr - text_start_);
        if (!entry) return tl::unexpected(std::move(entry).error());
        if (!*entry) return std::nullopt;
        Function function{{}, text_start_ + (*entry)->offset, index_->code_size(**entry)};
        if (vaddr - function.vaddr >= function.size) return std::nullopt;
        function.name = index_->name(**entry);
        return function;
    }

    // Of a symbol of any kind but thread-local ones; without symbols, of a Go function.
    [[nodiscard]] Result<std::optional<std::uint64_t>> symbol_address(std::string_view name) const {
        std::optional<std::uint64_t> address;
        const go::NameSet wanted(std::span(&name, 1));
        Result<void> done;
        if (uses_symbols_) {
            const auto table = ElfSymbols::sections(elf_);
            if (!table) return tl::unexpected(table.error());
            done = otel_ebpf::find_symbols(elf_, *table, wanted, [&](std::string_view own, const Elf64_Sym& symbol) {
                if (own == name && ELF64_ST_TYPE(symbol.st_info) != STT_TLS) address = symbol.st_value;
                return !address;
            });
        } else if (index_) {
            done = index_->find(wanted, [&](const go::FunctionIndex::Entry& entry, std::string_view own) {
                if (own == name) address = text_start_ + entry.offset;
                return !address;
            });
        }
        if (!done) return tl::unexpected(std::move(done).error());
        return address;
    }

    // Refuses a function of a stripped Go executable whose code is not what the function table says of it.
    [[nodiscard]] Result<void> check(const Function& function) const {
        if (uses_symbols_ || !index_) return {};
        const auto entry = function.vaddr < text_start_ ? std::nullopt : index_->at(function.vaddr - text_start_);
        if (!entry) return tl::unexpected(entry.error());
        if (!*entry || text_start_ + (*entry)->offset != function.vaddr)
            return fail(Stage::symbol, "has no function at " + ElfFile::hex(function.vaddr));
        return go::check_function_at(elf_, *index_, **entry, text_start_);
    }

private:
    // What a search found, bounded: every symbol of a hostile file may have the wanted name.
    struct Found {
        std::vector<Function> functions;
        std::size_t bytes = 0;
        bool is_full = false;

        bool add(Function function) {
            constexpr std::size_t max_bytes = 8 << 20;
            bytes += sizeof(Function) + function.name.size();
            is_full = bytes > max_bytes;
            if (!is_full) functions.push_back(std::move(function));
            return !is_full;
        }
    };

    // A function symbol, for the search by address.
    struct Extent {
        std::uint64_t vaddr = 0;
        std::uint64_t size = 0;
        std::uint32_t name = 0;
    };

    Result<void> locate(const go::PclntabHeader& header) {
        auto index = go::FunctionIndex::open(elf_, header);
        if (!index) return tl::unexpected(std::move(index).error());
        auto start = go::find_text_start(elf_, header);
        if (!start) return tl::unexpected(std::move(start).error());
        const auto end = index->end();
        if (!end) return tl::unexpected(end.error());
        index_.emplace(std::move(*index));
        text_start_ = *start;
        text_end_ = *start + *end;
        return {};
    }

    [[nodiscard]] bool is_code(const Elf64_Sym& symbol) const {
        return is_function(symbol) && elf_.is_code(symbol.st_value, symbol.st_size);
    }

    [[nodiscard]] Result<std::optional<ElfSymbols::Sections>> symbol_sections() const {
        const auto table = uses_symbols_ ? ElfSymbols::sections(elf_) : ElfSymbols::dynamic_sections(elf_);
        if (!table && !uses_symbols_) return std::nullopt;  // a static executable without symbols
        if (!table) return tl::unexpected(table.error());
        return *table;
    }

    // False when symbols of Go functions are missing: the symbol table was stripped in part.
    Result<bool> find_symbols(const go::NameSet& wanted, Found& found) const {
        const auto table = symbol_sections();
        if (!table) return tl::unexpected(table.error());
        if (!*table) return true;
        std::uint64_t go_functions = 0;
        auto done = otel_ebpf::find_symbols(elf_, **table, wanted, [&](std::string_view name, const Elf64_Sym& symbol) {
            if (!is_function(symbol)) return true;
            if (symbol.st_value >= text_start_ && symbol.st_value < text_end_) ++go_functions;
            if (name.empty() || !elf_.is_code(symbol.st_value, symbol.st_size)) return true;
            return found.add({std::string(name), symbol.st_value, symbol.st_size});
        });
        if (!done) return tl::unexpected(std::move(done).error());
        // The linker's own markers in the function table are no functions.
        constexpr std::uint64_t max_markers = 16;
        return !index_ || go_functions + max_markers >= index_->size();
    }

    Result<std::optional<Function>> symbol_at(std::uint64_t vaddr) const {
        const auto table = symbol_sections();
        if (!table) return tl::unexpected(table.error());
        if (!*table) return std::nullopt;
        const std::scoped_lock lock(extents_mutex_);
        if (!extents_)
            if (auto done = read_extents(**table); !done) return tl::unexpected(std::move(done).error());
        auto next = std::ranges::upper_bound(*extents_, vaddr, {}, &Extent::vaddr);
        // A function may lie within another's size (an alternative entry): the innermost that covers the address, and
        // of several names for it the first.
        constexpr int max_steps = 64;
        const Extent* found = nullptr;
        for (int steps = 0; next != extents_->begin() && steps < max_steps; ++steps) {
            const Extent& extent = *--next;
            if (found != nullptr && extent.vaddr != found->vaddr) break;
            if (vaddr - extent.vaddr < extent.size) found = &extent;
        }
        if (found == nullptr) return std::nullopt;
        const ElfSection& names = *(*table)->names;
        if (found->name >= names.size) return Function{{}, found->vaddr, found->size};
        auto text = elf_.source().read(names.offset + found->name,
                                       std::min<std::uint64_t>(max_text_bytes, names.size - found->name));
        if (!text) return tl::unexpected(std::move(text).error());
        return Function{std::string(text_at(std::as_const(*text).bytes(), 0)), found->vaddr, found->size};
    }

    Result<void> read_extents(const ElfSymbols::Sections& table) const {
        constexpr std::size_t max_functions = 4 << 20;  // a binary of 700 MB has a million
        std::vector<Extent> extents;
        auto done = for_each_symbol(elf_, table, [&](const Elf64_Sym& symbol) {
            if (is_code(symbol)) extents.push_back({symbol.st_value, symbol.st_size, symbol.st_name});
            return extents.size() <= max_functions;
        });
        if (!done) return done;
        if (extents.size() > max_functions) return fail(Stage::symbol, "has an absurd number of functions");
        std::ranges::stable_sort(extents, {}, &Extent::vaddr);
        extents_ = std::move(extents);
        return {};
    }

    const ElfFile& elf_;
    bool is_go_ = false;
    bool uses_symbols_;
    std::optional<go::FunctionIndex> index_;
    std::uint64_t text_start_ = 0;
    std::uint64_t text_end_ = 0;
    mutable std::mutex extents_mutex_;
    mutable std::optional<std::vector<Extent>> extents_;  // by address
};

}  // namespace detail
}  // namespace otel_ebpf
