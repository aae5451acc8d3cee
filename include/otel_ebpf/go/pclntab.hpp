// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Pclntab: the function table that every Go executable carries, stripped or not (runtime/symtab.go).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>

namespace otel_ebpf::go {

// Header of the layouts since Go 1.18. Offsets count from the start of the table.
struct PclntabHeader {
    std::uint64_t vaddr = 0;
    std::uint64_t size = 0;
    bool since_1_20 = false;       // records of functions have their first line
    std::uint8_t quantum = 1;  // smallest instruction, in bytes
    std::uint64_t function_count = 0;
    std::uint64_t text_start = 0;  // 0 since Go 1.26: only moduledata tells
    std::uint64_t names = 0;
    std::uint64_t compile_units = 0;
    std::uint64_t files = 0;
    std::uint64_t pc_values = 0;
    std::uint64_t functions = 0;
};

inline Result<PclntabHeader> read_pclntab_header(const ElfFile& elf) {
    const ElfSection* section = nullptr;
    for (const std::string_view name : {".gopclntab", ".data.rel.ro.gopclntab"})  // the latter: PIE before Go 1.26
        if (section == nullptr) section = elf.section(name);
    if (section == nullptr)
        return fail(Stage::unsupported,
                    "has no .gopclntab section (packed, or its section headers were removed): "
                    "the functions of a stripped Go executable can't be found without it");
    constexpr std::size_t header_bytes = 72;  // 8 + 8 words
    auto raw = elf.bytes_at(section->vaddr, header_bytes);
    if (!raw) return tl::unexpected(std::move(raw).error().in("has a damaged .gopclntab"));
    const auto bytes = std::as_const(*raw).bytes();

    // internal/abi/symtab.go: PCLnTabMagic
    constexpr std::uint32_t magic_1_16 = 0xfffffffa, magic_1_18 = 0xfffffff0, magic_1_20 = 0xfffffff1;
    const auto magic = load<std::uint32_t>(bytes, 0);
    if (magic == magic_1_16)
        return fail(Stage::unsupported, "has a .gopclntab of Go 1.16 or 1.17: Go 1.18 is the oldest that can be read");
    if (magic != magic_1_18 && magic != magic_1_20)
        return fail(Stage::unsupported, "has a .gopclntab of unknown format " + ElfFile::hex(magic) +
                                            ": newer than this library, or damaged");
    PclntabHeader header;
    header.vaddr = section->vaddr;
    header.size = section->size;
    header.since_1_20 = magic == magic_1_20;
    header.quantum = load<std::uint8_t>(bytes, 6);
    const auto pointer_size = load<std::uint8_t>(bytes, 7);
    const std::uint8_t expected_quantum = elf.arch() == Arch::aarch64 ? 4 : 1;
    header.function_count = load<std::uint64_t>(bytes, 8);
    header.text_start = load<std::uint64_t>(bytes, 24);
    header.names = load<std::uint64_t>(bytes, 32);
    header.compile_units = load<std::uint64_t>(bytes, 40);
    header.files = load<std::uint64_t>(bytes, 48);
    header.pc_values = load<std::uint64_t>(bytes, 56);
    header.functions = load<std::uint64_t>(bytes, 64);
    const bool is_ordered = header_bytes <= header.names && header.names <= header.compile_units &&
                            header.compile_units <= header.files && header.files <= header.pc_values &&
                            header.pc_values <= header.functions && header.functions <= header.size;
    if (header.quantum != expected_quantum || pointer_size != 8 || !is_ordered || header.function_count == 0 ||
        header.function_count >= (header.size - header.functions) / 8)
        return fail(Stage::target, "has a damaged .gopclntab: its header contradicts itself");
    return header;
}

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
        return load<std::uint32_t>(functions_.bytes(), index * entry_bytes);
    }

    // Empty when the table is damaged.
    [[nodiscard]] std::string_view name(std::size_t index) const {
        const auto name_offset = field(index, name_at);
        return name_offset ? text_at(names_.bytes(), *name_offset) : std::string_view();
    }

    // Size of the code, without the padding up to the next function: the pcsp table ends where the code does. Falls
    // back to the distance to the next function.
    [[nodiscard]] std::uint32_t code_size(std::size_t index) const {
        const std::uint32_t distance = entry(index + 1) - entry(index);
        const auto table = field(index, pcsp_at);
        if (!table || *table == 0) return distance;
        const std::uint64_t size = covered_by(*table, distance);
        return size > 0 ? static_cast<std::uint32_t>(size) : distance;
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

    // The bytes of a function's record (runtime/runtime2.go: _func) from `at` on; nullopt when they are not all there.
    template <class T = std::uint32_t>
    [[nodiscard]] std::optional<T> field(std::size_t index, std::uint64_t at) const {
        const std::uint64_t record = load<std::uint32_t>(functions_.bytes(), index * entry_bytes + 4);
        if (!in_range(record + at, sizeof(T), functions_.size())) return std::nullopt;
        return load<T>(functions_.bytes(), static_cast<std::size_t>(record + at));
    }

    // The text at an offset into the table of names; empty when there is none.
    [[nodiscard]] std::string_view text(std::uint64_t name_offset) const {
        return text_at(names_.bytes(), name_offset);
    }

    // Tables of values by code offset, which records point into.
    [[nodiscard]] std::span<const std::byte> pc_values() const { return pc_values_.bytes(); }

private:
    static constexpr std::size_t entry_bytes = 8;  // {entry offset, offset of the record}, 4 bytes each
    // runtime/runtime2.go: _func; the fields up to pcsp are the same since Go 1.18
    static constexpr std::uint64_t name_at = 4;
    static constexpr std::uint64_t pcsp_at = 16;

    explicit Pclntab(const PclntabHeader& header) : header_(header) {}

    // Sum of the pc deltas of a table of {value delta, pc delta} varints that ends with a value delta of 0; 0 when that
    // is more than `limit` or the table is damaged. Every step covers code, so all tables together cost no more steps
    // than the text has instructions.
    [[nodiscard]] std::uint64_t covered_by(std::uint64_t table, std::uint64_t limit) const {
        const auto bytes = pc_values_.bytes();
        const auto varint = [&](std::uint64_t& at) -> std::optional<std::uint32_t> {
            std::uint64_t value = 0;
            for (unsigned shift = 0; shift < 35; shift += 7) {
                if (at >= bytes.size()) return std::nullopt;
                const auto byte = static_cast<std::uint8_t>(bytes[at++]);
                value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
                if ((byte & 0x80) == 0) return static_cast<std::uint32_t>(value);
            }
            return std::nullopt;
        };
        std::uint64_t covered = 0;
        for (bool first = true;; first = false) {
            const auto value_delta = varint(table);
            if (!value_delta) return 0;
            if (*value_delta == 0 && !first) return covered;
            const auto pc_delta = varint(table);
            if (!pc_delta || *pc_delta == 0) return 0;
            covered += std::uint64_t{*pc_delta} * header_.quantum;
            if (covered > limit) return 0;
        }
    }

    PclntabHeader header_;
    ByteBuffer names_;
    ByteBuffer pc_values_;
    ByteBuffer functions_;
};

}  // namespace otel_ebpf::go
