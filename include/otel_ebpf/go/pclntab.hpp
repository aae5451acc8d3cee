// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Pclntab: the function table that every Go executable carries, stripped or not (runtime/symtab.go), whole in memory.
// FunctionIndex reads it on demand.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/go/pc_values.hpp>
#include <otel_ebpf/go/pclntab_header.hpp>
#include <otel_ebpf/go/pclntab_search.hpp>

namespace otel_ebpf::go {

// Functions by index, in the order of their addresses. Entries are offsets from the start of the Go text.
class Pclntab {
public:
    static Result<Pclntab> open(const ElfFile& elf, const PclntabHeader& header) {
        Pclntab table(header);
        struct Part {
            ByteBuffer& buffer;
            std::uint64_t begin, end;
        };
        for (const Part& part : {Part{table.names_, header.names, header.compile_units},
                                 Part{table.pc_values_, header.pc_values, header.functions},
                                 Part{table.functions_, header.functions, header.size}}) {
            auto bytes = elf.bytes_at(header.vaddr + part.begin, part.end - part.begin);
            if (!bytes) return tl::unexpected(std::move(bytes).error().in("has a damaged .gopclntab"));
            part.buffer = std::move(*bytes);
        }
        for (std::size_t i = 0; i < table.size(); ++i)
            if (table.entry(i) >= table.entry(i + 1))
                return fail(Stage::target, "has a damaged .gopclntab: its functions are not in order");
        return table;
    }

    [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(header_.function_count); }

    // entry(size()) is the end of the last function.
    [[nodiscard]] std::uint32_t entry(std::size_t index) const {
        const std::size_t at = index * header_.entry_bytes();
        if (header_.since_1_18) return load<std::uint32_t>(functions_.bytes(), at);
        return static_cast<std::uint32_t>(load<std::uint64_t>(functions_.bytes(), at) - header_.text_start);
    }

    // Empty when the table is damaged.
    [[nodiscard]] std::string_view name(std::size_t index) const {
        const auto name_offset = field(index, PclntabHeader::name_at);
        return name_offset ? text_at(names_.bytes(), *name_offset) : std::string_view();
    }

    // Size of the code, without the padding up to the next function: the pcsp table ends where the code does. Falls
    // back to the distance to the next function.
    [[nodiscard]] std::uint32_t code_size(std::size_t index) const {
        const std::uint32_t distance = entry(index + 1) - entry(index);
        const auto table = field(index, PclntabHeader::pcsp_at);
        if (!table || *table == 0) return distance;
        std::uint64_t size = 0;
        const auto end = for_each_pc_value(pc_values(), *table, header_.quantum, distance,
                                           [&](std::int32_t, std::uint64_t up_to) {
                                               size = up_to;
                                               return true;
                                           });
        return end == PcValuesEnd::whole ? static_cast<std::uint32_t>(size) : distance;
    }

    // Index of the function whose code or padding covers `offset`.
    [[nodiscard]] std::optional<std::size_t> index_at(std::uint64_t offset) const {
        if (offset < entry(0) || offset >= entry(size())) return std::nullopt;
        std::size_t low = 0, high = size();
        while (high - low > 1) {
            const std::size_t middle = low + (high - low) / 2;
            (entry(middle) <= offset ? low : high) = middle;
        }
        return low;
    }

    [[nodiscard]] const PclntabHeader& header() const { return header_; }

    // A field of a function's record (runtime/runtime2.go: _func), by its offset in layouts since Go 1.18; nullopt when
    // its bytes are not all there.
    template <class T = std::uint32_t>
    [[nodiscard]] std::optional<T> field(std::size_t index, std::uint64_t at) const {
        const std::size_t entry_at = index * header_.entry_bytes();
        const std::uint64_t record = header_.since_1_18 ? load<std::uint32_t>(functions_.bytes(), entry_at + 4)
                                                        : load<std::uint64_t>(functions_.bytes(), entry_at + 8);
        if (!in_range(record, header_.field_at(at) + sizeof(T), functions_.size())) return std::nullopt;
        return load<T>(functions_.bytes(), static_cast<std::size_t>(record + header_.field_at(at)));
    }

    // The text at an offset into the table of names; empty when there is none.
    [[nodiscard]] std::string_view text(std::uint64_t name_offset) const {
        return text_at(names_.bytes(), name_offset);
    }

    // Tables of values by code offset, which records point into.
    [[nodiscard]] std::span<const std::byte> pc_values() const { return pc_values_.bytes(); }

private:
    explicit Pclntab(const PclntabHeader& header) : header_(header) {}

    PclntabHeader header_;
    ByteBuffer names_;
    ByteBuffer pc_values_;
    ByteBuffer functions_;
};

}  // namespace otel_ebpf::go
