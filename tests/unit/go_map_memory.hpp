// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Builds map[string][]string in target memory as Go's runtimes lay it out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "bpf_host.hpp"

struct HeaderField {
    std::string key;
    std::vector<std::string> values;
};
using HeaderFields = std::vector<HeaderField>;

class GoMapBuilder {
public:
    GoMapBuilder(TargetMemory& memory, std::uint32_t seed, bool split_groups = false)
        : memory_(memory), random_(seed), split_groups_(split_groups) {}

    // internal/runtime/maps of go1.24+. tables 0: one group of up to 8, as maps begin; else a directory of so many
    // entries, in which a table may be named twice, as it is before it splits. Deleted slots are tombstones (0xfe) that
    // still hold the key, never used ones are 0x80. Split groups have their keys first, then their elems.
    std::uint64_t swiss(const HeaderFields& fields, std::size_t tables = 0, bool tables_named_twice = false) {
        const std::uint64_t map = memory_.allocate(48);
        memory_.put(map, std::uint64_t{fields.size()});
        memory_.put(map + 8, random_word());
        if (tables == 0) {
            memory_.put(map + 16, group({fields.begin(), fields.end()}));
            return map;
        }
        const std::uint64_t names = tables_named_twice ? 2 : 1;
        const std::uint64_t directory = memory_.allocate(8 * tables * names);
        memory_.put(map + 16, directory);
        memory_.put(map + 24, std::uint64_t{tables * names});
        const std::size_t share = (fields.size() + tables - 1) / tables;
        for (std::size_t i = 0; i < tables; ++i) {
            const std::size_t from = std::min(fields.size(), i * share), to = std::min(fields.size(), (i + 1) * share);
            const std::uint64_t address = table(
                {fields.begin() + static_cast<std::ptrdiff_t>(from), fields.begin() + static_cast<std::ptrdiff_t>(to)});
            for (std::uint64_t name = 0; name < names; ++name) memory_.put(directory + 8 * (i * names + name), address);
        }
        return map;
    }

    enum class Growth { none, doubling, same_size };

    // runtime.hmap up to go1.23. While it grows, a part of the fields is still in the old array, and what has moved is
    // there too, marked as evacuated.
    std::uint64_t buckets(const HeaderFields& fields, unsigned log2_buckets, Growth growth = Growth::none) {
        const std::uint64_t map = memory_.allocate(48);
        memory_.put(map, std::uint64_t{fields.size()});
        memory_.put(map + 8, std::uint8_t(growth == Growth::same_size ? 8 : 0));
        memory_.put(map + 9, std::uint8_t(log2_buckets));
        if (growth == Growth::none) {
            memory_.put(map + 16, bucket_array(fields, {}, log2_buckets));
            return map;
        }
        const auto middle = fields.begin() + static_cast<std::ptrdiff_t>(fields.size() / 2);
        const HeaderFields moved(fields.begin(), middle), waiting(middle, fields.end());
        memory_.put(map + 16, bucket_array(moved, {}, log2_buckets));
        memory_.put(map + 24,
                    bucket_array(waiting, moved, growth == Growth::doubling ? log2_buckets - 1 : log2_buckets));
        return map;
    }

private:
    static constexpr std::uint64_t slot_bytes = 40, group_bytes = 8 + 8 * slot_bytes;
    static constexpr std::uint64_t bucket_bytes = 8 + 8 * 16 + 8 * 24 + 8;

    struct Cell {
        HeaderField field;
        std::uint8_t tophash = 0;
    };

    std::uint64_t random_word() { return std::uint64_t{random_()} << 32 | random_(); }

    void put_value(std::uint64_t addr, const std::vector<std::string>& values) {
        const std::uint64_t array = memory_.allocate(16 * values.size() + 1);
        for (std::size_t i = 0; i < values.size(); ++i) memory_.put_string(array + 16 * i, values[i]);
        memory_.put(addr, array);
        memory_.put(addr + 8, std::uint64_t{values.size()});
        memory_.put(addr + 16, std::uint64_t{values.size()});
    }

    void fill_group(std::uint64_t addr, const HeaderFields& fields) {
        for (std::uint64_t i = 0; i < 8; ++i) memory_.put(addr + i, std::uint8_t{0x80});
        std::vector<std::uint64_t> slots = {0, 1, 2, 3, 4, 5, 6, 7};
        std::shuffle(slots.begin(), slots.end(), random_);
        for (std::size_t i = 0; i < 8; ++i) {
            const std::uint64_t key = addr + 8 + slots[i] * (split_groups_ ? 16 : slot_bytes);
            const std::uint64_t elem = split_groups_ ? addr + 8 + 8 * 16 + slots[i] * 24 : key + 16;
            if (i < fields.size()) {
                memory_.put(addr + slots[i], std::uint8_t(random_() & 0x7f));
                memory_.put_string(key, fields[i].key);
                put_value(elem, fields[i].values);
            } else if (random_() % 2 == 0) {
                memory_.put(addr + slots[i], std::uint8_t{0xfe});
                memory_.put_string(key, random_() % 2 == 0 ? "Traceparent" : "User-Agent");
                put_value(elem, {"deleted"});
            }
        }
    }

    std::uint64_t group(const HeaderFields& fields) {
        const std::uint64_t addr = memory_.allocate(group_bytes);
        fill_group(addr, fields);
        return addr;
    }

    std::uint64_t table(const HeaderFields& fields) {
        std::uint64_t groups = 1;
        while (groups * 7 < fields.size()) groups *= 2;
        const std::uint64_t data = memory_.allocate(groups * group_bytes);
        std::vector<HeaderFields> shares(groups);
        for (std::size_t i = 0; i < fields.size(); ++i) shares[i % groups].push_back(fields[i]);
        for (std::uint64_t i = 0; i < groups; ++i) fill_group(data + i * group_bytes, shares[i]);
        const std::uint64_t addr = memory_.allocate(32);
        memory_.put(addr + 16, data);
        memory_.put(addr + 24, groups - 1);
        return addr;
    }

    std::uint64_t bucket_array(const HeaderFields& fields, const HeaderFields& evacuated, unsigned log2_buckets) {
        const std::uint64_t count = std::uint64_t{1} << log2_buckets;
        const std::uint64_t array = memory_.allocate(count * bucket_bytes);
        std::vector<std::vector<Cell>> cells(count);
        for (const HeaderField& field : fields)
            cells[random_() % count].push_back({field, static_cast<std::uint8_t>(5 + random_() % 251)});
        for (const HeaderField& field : evacuated)
            cells[random_() % count].push_back({field, static_cast<std::uint8_t>(2 + random_() % 2)});
        for (std::uint64_t i = 0; i < count; ++i) fill_bucket(array + i * bucket_bytes, cells[i]);
        return array;
    }

    // With as many overflow buckets as the cells need.
    void fill_bucket(std::uint64_t addr, const std::vector<Cell>& cells) {
        for (std::size_t i = 0; i < cells.size(); ++i) {
            if (i != 0 && i % 8 == 0) {
                const std::uint64_t next = memory_.allocate(bucket_bytes);
                memory_.put(addr + bucket_bytes - 8, next);
                addr = next;
            }
            const std::uint64_t cell = i % 8;
            memory_.put(addr + cell, cells[i].tophash);
            memory_.put_string(addr + 8 + 16 * cell, cells[i].field.key);
            put_value(addr + 8 + 8 * 16 + 24 * cell, cells[i].field.values);
        }
    }

    TargetMemory& memory_;
    std::mt19937 random_;
    bool split_groups_;
};
