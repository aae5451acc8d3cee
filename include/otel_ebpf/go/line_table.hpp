// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// LineTable: source lines, inlined calls and stack use of Go code, from the pclntab (cmd/link: pcln.go).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/go/moduledata.hpp>
#include <otel_ebpf/go/pc_values.hpp>
#include <otel_ebpf/go/pclntab.hpp>
#include <otel_ebpf/version.hpp>

namespace otel_ebpf::go {

// A place in the source. Texts live as long as the LineTable.
struct SourcePlace {
    std::string_view function;
    std::string_view file;   // empty: unknown
    std::int64_t line = 0;   // 0: unknown
};

// Address of the tables that functions point into (moduledata.gofunc), where calls that were inlined are; nullopt when
// this release has it in a place that is not known.
inline std::optional<std::uint64_t> find_function_data(const ElfFile& elf, const PclntabHeader& header,
                                                       const std::optional<Version>& go_version) {
    if (!go_version || go_version->major != 1) return std::nullopt;
    std::size_t word = 43;                                        // since Go 1.27
    if (go_version->minor <= 19) word = 38;
    else if (go_version->minor <= 26) word = 40;
    else if (go_version->minor > 27) return std::nullopt;
    const auto module = find_moduledata(elf, header);
    if (!module || !*module) return std::nullopt;
    const auto bytes = elf.bytes_at((*module)->vaddr + word * 8, 8);
    if (!bytes) return std::nullopt;
    const auto address = load<std::uint64_t>(bytes->bytes(), 0);
    const Elf64_Phdr* segment = elf.loaded_at(address, 8);
    if (segment == nullptr || (segment->p_flags & PF_X) != 0) return std::nullopt;
    return address;
}

// Keeps a view of the ElfFile, which must outlive it. Every offset in the tables is hostile until checked.
class LineTable {
public:
    static Result<LineTable> open(const ElfFile& elf, Pclntab table, std::uint64_t text_start,
                                  std::optional<std::uint64_t> function_data) {
        LineTable lines(elf, std::move(table), text_start, function_data);
        const PclntabHeader& header = lines.table_.header();
        auto units = elf.bytes_at(header.vaddr + header.compile_units, header.files - header.compile_units);
        if (!units) return tl::unexpected(std::move(units).error().in("has a damaged .gopclntab"));
        auto files = elf.bytes_at(header.vaddr + header.files, header.pc_values - header.files);
        if (!files) return tl::unexpected(std::move(files).error().in("has a damaged .gopclntab"));
        lines.units_ = std::move(*units);
        lines.files_ = std::move(*files);
        return lines;
    }

    // True when `vaddr` is in a function of the table, or the padding behind it.
    [[nodiscard]] bool covers(std::uint64_t vaddr) const { return index_at(vaddr).has_value(); }

    // The function that `vaddr` belongs to, behind those that were inlined into it there, innermost first. Empty when
    // the address is not Go's.
    [[nodiscard]] std::vector<SourcePlace> places_at(std::uint64_t vaddr) const {
        std::vector<SourcePlace> places;
        const auto index = index_at(vaddr);
        if (!index) return places;
        std::uint64_t offset = vaddr - text_start_ - table_.entry(*index);
        auto call = inlined_call(*index, offset);
        for (int depth = 0; call && depth < max_inlined; ++depth) {
            places.push_back(place(*index, offset, table_.text(call->name_offset)));
            offset = call->parent_offset;
            call = inlined_call(*index, offset);
        }
        places.push_back(place(*index, offset, table_.name(*index)));
        // The line is that of the code inlined there, which is nobody's when its function can't be told.
        if (inlined_index(*index, offset) >= 0) places.back().file = {}, places.back().line = 0;
        return places;
    }

    // How far the stack pointer is below the return address at `vaddr`, in bytes; nullopt when not known.
    [[nodiscard]] std::optional<std::uint32_t> stack_delta_at(std::uint64_t vaddr) const {
        const auto index = index_at(vaddr);
        if (!index) return std::nullopt;
        const auto value = value_at(*index, PclntabHeader::pcsp_at, vaddr - text_start_ - table_.entry(*index));
        if (!value || *value < 0) return std::nullopt;
        return static_cast<std::uint32_t>(*value);
    }

private:
    // runtime/runtime2.go: _func, as of Go 1.18
    static constexpr std::uint64_t pcfile_at = 20, pcdata_count_at = 28, unit_at = 32;
    static constexpr std::uint32_t inlined_index_table = 2;  // internal/abi/symtab.go: PCDATA_InlTreeIndex
    static constexpr std::uint32_t inlined_tree = 3;         // FUNCDATA_InlTree
    static constexpr int max_inlined = 64;

    // An entry of the tree of inlined calls (runtime/symtabinl.go: inlinedCall).
    struct InlinedCall {
        std::uint32_t name_offset = 0;
        std::uint32_t parent_offset = 0;  // of code whose line is that of the call
    };

    LineTable(const ElfFile& elf, Pclntab table, std::uint64_t text_start, std::optional<std::uint64_t> function_data)
        : elf_(&elf), table_(std::move(table)), text_start_(text_start), function_data_(function_data) {}

    [[nodiscard]] std::optional<std::size_t> index_at(std::uint64_t vaddr) const {
        if (vaddr < text_start_) return std::nullopt;
        return table_.index_at(vaddr - text_start_);
    }

    [[nodiscard]] std::uint64_t record_bytes() const { return table_.header().since_1_20 ? 44 : 40; }

    [[nodiscard]] SourcePlace place(std::size_t index, std::uint64_t offset, std::string_view function) const {
        SourcePlace place{function, {}, 0};
        const auto line = value_at(index, PclntabHeader::pcln_at, offset);
        const auto file = value_at(index, pcfile_at, offset);
        if (line && *line > 0) place.line = *line;
        if (file && *file >= 0) place.file = file_name(index, static_cast<std::uint32_t>(*file));
        return place;
    }

    [[nodiscard]] std::string_view file_name(std::size_t index, std::uint32_t number) const {
        const auto unit = table_.field(index, unit_at);
        if (!unit) return {};
        const std::uint64_t at = (std::uint64_t{*unit} + number) * 4;
        if (!in_range(at, 4, units_.size())) return {};
        return text_at(files_.bytes(), load<std::uint32_t>(units_.bytes(), static_cast<std::size_t>(at)));
    }

    // Which inlined call the code at `offset` belongs to; below 0: none.
    [[nodiscard]] std::int32_t inlined_index(std::size_t index, std::uint64_t offset) const {
        const auto count = table_.field(index, pcdata_count_at);
        if (!count || *count <= inlined_index_table) return -1;
        return value_at(index, record_bytes() + inlined_index_table * 4, offset).value_or(-1);
    }

    [[nodiscard]] std::optional<InlinedCall> inlined_call(std::size_t index, std::uint64_t offset) const {
        if (!function_data_) return std::nullopt;
        const std::int32_t call = inlined_index(index, offset);
        const auto pcdata_count = table_.field(index, pcdata_count_at);
        const auto funcdata_count = table_.field<std::uint8_t>(index, record_bytes() - 1);
        if (call < 0 || !pcdata_count || !funcdata_count || *funcdata_count <= inlined_tree) return std::nullopt;
        const auto tree = table_.field(index, record_bytes() + (std::uint64_t{*pcdata_count} + inlined_tree) * 4);
        if (!tree || *tree == UINT32_MAX) return std::nullopt;
        const bool is_new = table_.header().since_1_20;
        const std::uint64_t entry_bytes = is_new ? 16 : 20, name_at = is_new ? 4 : 12, parent_at = is_new ? 8 : 16;
        const auto entry = elf_->bytes_at(
            *function_data_ + *tree + static_cast<std::uint64_t>(call) * entry_bytes, entry_bytes);
        if (!entry) return std::nullopt;
        const auto bytes = std::as_const(*entry).bytes();
        return InlinedCall{load<std::uint32_t>(bytes, name_at), load<std::uint32_t>(bytes, parent_at)};
    }

    // Looks a code offset up in the table that the word at `table_at` of the function's record points to.
    [[nodiscard]] std::optional<std::int32_t> value_at(std::size_t index, std::uint64_t table_at,
                                                       std::uint64_t offset) const {
        const auto table = table_.field(index, table_at);
        if (!table || *table == 0) return std::nullopt;
        std::optional<std::int32_t> found;
        for_each_pc_value(table_.pc_values(), *table, table_.header().quantum, UINT32_MAX,
                          [&](std::int32_t value, std::uint64_t end) {
                              if (offset < end) found = value;
                              return !found;
                          });
        return found;
    }

    const ElfFile* elf_;
    Pclntab table_;
    std::uint64_t text_start_;
    std::optional<std::uint64_t> function_data_;
    ByteBuffer units_;
    ByteBuffer files_;
};

}  // namespace otel_ebpf::go
