// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The function table of a few functions in a row, cut out of that of a real Go executable.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/executable.hpp>

#include "../unit/elf_image.hpp"

class PclntabCut {
public:
    PclntabCut(const otel_ebpf::go::PclntabHeader& header, const otel_ebpf::go::Pclntab& table)
        : header_(header), table_(table), record_bytes_(header.since_1_20 ? 44 : 40) {}

    // As many functions as there are names, which they get, from `first` on; entries count from the first one.
    [[nodiscard]] std::string of(std::size_t first, std::span<const std::string_view> names) {
        const std::size_t count = names.size();
        names_ = values_ = records_ = std::string(1, '\0');
        std::string index;
        const std::size_t index_bytes = 8 * count + 4;
        records_.resize(index_bytes);
        for (std::size_t i = 0; i < count; ++i) {
            append(index, table_.entry(first + i) - table_.entry(first));
            append(index, static_cast<std::uint32_t>(records_.size()));
            add_record(first + i, table_.entry(first + i) - table_.entry(first), names[i]);
        }
        append(index, table_.entry(first + count) - table_.entry(first));
        records_.replace(0, index_bytes, index);

        constexpr std::size_t header_bytes = 72;
        constexpr std::uint32_t files_of_unit = 8;
        const std::string files("main.go\0", 8);
        const std::string units(files_of_unit * sizeof(std::uint32_t), '\0');
        std::string bytes;
        append(bytes, header_.since_1_20 ? 0xfffffff1U : 0xfffffff0U);
        bytes += '\0', bytes += '\0', bytes += static_cast<char>(header_.quantum), bytes += '\x08';
        for (const std::uint64_t word :
             {std::uint64_t{count}, std::uint64_t{0},
              header_.text_start != 0 ? ElfImage::text_vaddr : std::uint64_t{0}, std::uint64_t{header_bytes},
              header_bytes + names_.size(), header_bytes + names_.size() + units.size(),
              header_bytes + names_.size() + units.size() + files.size(),
              header_bytes + names_.size() + units.size() + files.size() + values_.size()})
            append(bytes, word);
        return bytes + names_ + units + files + values_ + records_;
    }

private:
    template <class T>
    static void append(std::string& bytes, T value) {
        bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
    template <class T>
    static void put(std::string& bytes, std::size_t at, T value) {
        std::memcpy(bytes.data() + at, &value, sizeof(value));
    }

    void add_record(std::size_t index, std::uint32_t entry, std::string_view name) {
        const std::size_t at = records_.size();
        const auto word = [&](std::uint64_t offset) { return table_.field(index, offset).value_or(0); };
        for (std::uint64_t offset = 0; offset < record_bytes_; offset += 4) append(records_, word(offset));
        const std::uint32_t pcdata_count = word(28);
        const auto funcdata_count = static_cast<std::uint32_t>(word(record_bytes_ - 4) >> 24);
        put(records_, at, entry);
        put(records_, at + 4, static_cast<std::uint32_t>(names_.size()));
        names_ += name;
        names_ += '\0';
        for (const std::size_t table : {16, 20, 24}) put(records_, at + table, copy_values(word(table)));
        put(records_, at + 32, std::uint32_t{0});  // the only compile unit
        for (std::uint32_t i = 0; i < pcdata_count; ++i) append(records_, copy_values(word(record_bytes_ + 4 * i)));
        for (std::uint32_t i = 0; i < funcdata_count; ++i)
            append(records_, word(record_bytes_ + 4 * (pcdata_count + i)));
    }

    // {value delta, pc delta} varints up to a value delta of 0, which the first may be.
    std::uint32_t copy_values(std::uint32_t from) {
        if (from == 0) return 0;
        const auto all = table_.pc_values();
        std::size_t at = from;
        const auto skip = [&] {
            std::uint32_t first = 0;
            for (bool more = true, is_first = true; more && at < all.size(); is_first = false) {
                const auto byte = std::to_integer<std::uint32_t>(all[at++]);
                if (is_first) first = byte;
                more = (byte & 0x80) != 0;
            }
            return first;
        };
        for (bool is_first = true; at < all.size() && (skip() != 0 || is_first); is_first = false) skip();
        const auto offset = static_cast<std::uint32_t>(values_.size());
        values_.append(reinterpret_cast<const char*>(all.data()) + from, at - from);
        return offset;
    }

    const otel_ebpf::go::PclntabHeader& header_;
    const otel_ebpf::go::Pclntab& table_;
    std::uint64_t record_bytes_;
    std::string names_, values_, records_;
};
