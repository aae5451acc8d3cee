// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// FunctionIndex: the function table of a Go executable, read on demand. Pclntab is the same table in memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/detail/name_search.hpp>
#include <otel_ebpf/detail/window.hpp>
#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/go/pc_values.hpp>
#include <otel_ebpf/go/pclntab_header.hpp>

namespace otel_ebpf::go {

// Borrows the ElfFile. Every call reads the file anew, a few hundred bytes but for find().
class FunctionIndex {
public:
    // A function by its place in the table. Offsets count from the start of the Go text.
    struct Entry {
        std::size_t index = 0;
        std::uint32_t offset = 0;
        std::uint32_t next_offset = 0;  // where the next function starts
        std::uint64_t record = 0;       // from PclntabHeader::functions on

        [[nodiscard]] std::uint32_t distance() const { return next_offset - offset; }
    };

    struct PcValue {
        std::int32_t value = 0;
        std::uint32_t end = 0;  // offset in the function of the first byte that has another value
    };

    static Result<FunctionIndex> open(const ElfFile& elf, const PclntabHeader& header) {
        auto offset = elf.offset_of(header.vaddr, header.size);
        if (!offset) return tl::unexpected(std::move(offset).error().in("has a damaged .gopclntab"));
        return FunctionIndex(elf, header, *offset);
    }

    [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(header_.function_count); }
    [[nodiscard]] const PclntabHeader& header() const { return header_; }

    [[nodiscard]] Result<Entry> entry(std::size_t index) const {
        if (index >= size()) return damaged();
        const std::uint64_t entry_bytes = header_.entry_bytes();
        auto raw = read(header_.functions + index * entry_bytes, entry_bytes + entry_bytes / 2);
        if (!raw) return tl::unexpected(std::move(raw).error());
        return entry_in(std::as_const(*raw).bytes(), index);
    }

    // End of the last function.
    [[nodiscard]] Result<std::uint32_t> end() const {
        auto last = entry(size() - 1);
        if (!last) return tl::unexpected(std::move(last).error());
        return last->next_offset;
    }

    // The function whose code or padding covers `offset`; nullopt when none does.
    [[nodiscard]] Result<std::optional<Entry>> at(std::uint64_t offset) const {
        std::size_t low = 0, high = size();
        while (low < high) {
            const std::size_t middle = low + (high - low) / 2;
            auto found = entry(middle);
            if (!found) return tl::unexpected(std::move(found).error());
            if (offset < found->offset) high = middle;
            else if (offset >= found->next_offset) low = middle + 1;
            else return *found;
        }
        return std::nullopt;
    }

    // Empty when the table is damaged.
    [[nodiscard]] std::string name(const Entry& entry) const {
        const auto at = field(entry, PclntabHeader::name_at);
        const std::uint64_t available = header_.compile_units - header_.names;
        if (!at || *at >= available) return {};
        for (std::uint64_t size = 256;; size *= 8) {
            const std::uint64_t count = std::min(size, available - *at);
            const auto text = read(header_.names + *at, count);
            if (!text) return {};
            if (const std::string_view name = text_at(text->bytes(), 0); !name.empty()) return std::string(name);
            if (size > max_text_bytes || count < size) return {};
        }
    }

    // Size of the code, without the padding up to the next function: the pcsp table ends where the code does. Falls
    // back to the distance to the next function.
    [[nodiscard]] std::uint32_t code_size(const Entry& entry) const {
        const auto values = pc_values(entry, PclntabHeader::pcsp_at);
        return values.empty() ? entry.distance() : values.back().end;
    }

    // The runs of one of the tables that a function's record points to; none when there is no table or it is damaged.
    [[nodiscard]] std::vector<PcValue> pc_values(const Entry& entry, std::uint64_t field_at) const {
        std::vector<PcValue> values;
        const auto table = field(entry, field_at);
        const std::uint64_t available = header_.functions - header_.pc_values;
        if (!table || *table == 0 || *table >= available) return values;
        constexpr std::uint64_t first_bytes = 128, longest_step = 10;
        for (std::uint64_t size = first_bytes;; size *= 8) {
            const std::uint64_t count = std::min(size, available - *table);
            const auto bytes = read(header_.pc_values + *table, count);
            if (!bytes) return {};
            values.clear();
            const auto end = for_each_pc_value(bytes->bytes(), 0, header_.quantum, entry.distance(),
                                               [&](std::int32_t value, std::uint64_t up_to) {
                                                   values.push_back({value, static_cast<std::uint32_t>(up_to)});
                                                   return true;
                                               });
            if (end == PcValuesEnd::whole) return values;
            if (end == PcValuesEnd::damaged || count < size || size > longest_step * (entry.distance() + 1ull))
                return {};
        }
    }

    // Calls visit(entry, name) for the functions of the wanted names and for their copies in vendor folders, in order
    // of their addresses. One pass over the names, and where there are any of these over the records of all functions.
    template <class Visit>
    Result<void> find(const NameSet& wanted, Visit&& visit) const {
        otel_ebpf::detail::NameSearch names(wanted);
        auto searched = names.read(elf_->source(), file_offset_ + header_.names, header_.compile_units - header_.names);
        if (!searched) return tl::unexpected(std::move(searched).error().in("has a damaged .gopclntab"));
        if (names.empty()) return {};
        return for_each_record([&](const Entry& entry, std::uint32_t name_offset) {
            const std::string_view name = names.name_at(name_offset);
            return name.empty() || visit(entry, name);
        });
    }

private:
    FunctionIndex(const ElfFile& elf, const PclntabHeader& header, std::uint64_t file_offset)
        : elf_(&elf), header_(header), file_offset_(file_offset) {}

    static Failure damaged() {
        return fail(Stage::target, "has a damaged .gopclntab: its functions are not in order");
    }

    [[nodiscard]] Result<ByteBuffer> read(std::uint64_t offset, std::uint64_t count) const {
        if (!in_range(offset, count, header_.size)) return damaged();
        return elf_->source().read(file_offset_ + offset, count);
    }

    // From the bytes of an entry and the start of the next one.
    [[nodiscard]] Result<Entry> entry_in(std::span<const std::byte> bytes, std::size_t index) const {
        Entry entry{index, 0, 0, 0};
        if (header_.since_1_18) {
            entry.offset = load<std::uint32_t>(bytes, 0);
            entry.record = load<std::uint32_t>(bytes, 4);
            entry.next_offset = load<std::uint32_t>(bytes, 8);
        } else {
            entry.offset = static_cast<std::uint32_t>(load<std::uint64_t>(bytes, 0) - header_.text_start);
            entry.record = load<std::uint64_t>(bytes, 8);
            entry.next_offset = static_cast<std::uint32_t>(load<std::uint64_t>(bytes, 16) - header_.text_start);
        }
        if (entry.offset >= entry.next_offset) return damaged();
        return entry;
    }

    [[nodiscard]] std::optional<std::uint32_t> field(const Entry& entry, std::uint64_t at) const {
        if (entry.record > header_.size) return std::nullopt;
        const auto raw = read(header_.functions + entry.record + header_.field_at(at), sizeof(std::uint32_t));
        if (!raw) return std::nullopt;
        return load<std::uint32_t>(raw->bytes(), 0);
    }

    // Calls visit(entry, offset of the name) until it returns false. The linker writes records in the order of the
    // functions; a table where they are not is damaged.
    template <class Visit>
    Result<void> for_each_record(Visit&& visit) const {
        const std::uint64_t begin = file_offset_ + header_.functions, bytes = header_.size - header_.functions;
        otel_ebpf::detail::Window entries(elf_->source(), begin, bytes), records(elf_->source(), begin, bytes);
        const auto stride = static_cast<std::size_t>(header_.entry_bytes());
        const std::size_t name_at = header_.field_at(PclntabHeader::name_at);
        std::uint64_t last_record = 0;
        for (std::size_t i = 0; i < size(); ++i) {
            auto raw = entries.at(i * stride, stride + stride / 2);
            if (!raw) return tl::unexpected(std::move(raw).error());
            auto entry = entry_in(*raw, i);
            if (!entry) return tl::unexpected(std::move(entry).error());
            if (entry->record <= last_record) return damaged();
            last_record = entry->record;
            auto name = records.at(entry->record + name_at, sizeof(std::uint32_t));
            if (!name) return tl::unexpected(std::move(name).error());
            if (!visit(*entry, load<std::uint32_t>(*name, 0))) return {};
        }
        return {};
    }

    const ElfFile* elf_;
    PclntabHeader header_;
    std::uint64_t file_offset_;
};

}  // namespace otel_ebpf::go
