// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// One damaged version of an executable, made by a number: the same number makes the same damage.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "regions.hpp"

namespace hostile {

// Changes the bytes in place, and back when it ends: copies of files of many megabytes take longer than reading them.
class Mutation {
public:
    Mutation(std::string& file, std::span<const Region> regions, Kind kind, std::uint64_t seed)
        : file_(file), size_(file.size()), random_(seed) {
        if (kind == Kind::truncation) {
            truncate(regions);
            return;
        }
        if (kind == Kind::bits) {
            for (std::uint64_t left = 1 + below(64); left != 0; --left)
                put(below(file.size()), 1, [&](std::uint64_t byte) { return byte ^ 1U << below(8); });
            return;
        }
        std::vector<Region> wanted;
        for (const Region& region : regions)
            if (region.kind == kind) wanted.push_back(region);
        if (wanted.empty()) return;
        for (std::uint64_t left = 1 + below(4); left != 0; --left) change(wanted[below(wanted.size())]);
    }
    ~Mutation() {
        for (auto undo = undo_.rbegin(); undo != undo_.rend(); ++undo)
            file_.replace(undo->first, undo->second.size(), undo->second);
    }
    Mutation(const Mutation&) = delete;
    Mutation& operator=(const Mutation&) = delete;

    [[nodiscard]] std::span<const std::byte> bytes() const {
        return std::as_bytes(std::span(file_.data(), size_));
    }

private:
    std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

    // Anywhere, or in a structure, or where one begins or ends.
    void truncate(std::span<const Region> regions) {
        size_ = below(file_.size());
        if (regions.empty() || below(4) == 0) return;
        const Region& region = regions[below(regions.size())];
        const std::uint64_t ends[] = {region.offset, region.offset + region.size, region.offset + below(region.size),
                                      region.offset + region.size - 1};
        size_ = ends[below(std::size(ends))];
    }

    void save(std::uint64_t at, std::uint64_t size) { undo_.emplace_back(at, file_.substr(at, size)); }

    template <class Change>
    void put(std::uint64_t at, std::uint64_t width, Change&& change) {
        save(at, width);
        std::uint64_t value = 0;
        std::memcpy(&value, file_.data() + at, width);
        value = change(value);
        std::memcpy(file_.data() + at, &value, width);
    }

    void change(const Region& region) {
        constexpr std::uint64_t widths[] = {1, 2, 4, 4, 8, 8};
        const std::uint64_t width = std::min(widths[below(std::size(widths))], region.size);
        const std::uint64_t at = region.offset + below((region.size - width) / width + 1) * width;
        if (below(8) == 0) return copy(region, at);
        put(at, width, [&](std::uint64_t value) { return other_value(value, at, width, region); });
    }

    // Flipped, absurd, next to the limits, or what leads back to itself.
    std::uint64_t other_value(std::uint64_t value, std::uint64_t at, std::uint64_t width, const Region& region) {
        switch (below(14)) {
            case 0: return value ^ std::uint64_t{1} << below(width * 8);
            case 1: return 0;
            case 2: return UINT64_MAX;
            case 3: return UINT64_MAX >> 1;
            case 4: return std::uint64_t{1} << (width * 8 - 1);
            case 5: return value + 1;
            case 6: return value - 1;
            case 7: return file_.size() - below(16);
            case 8: return at;                   // of itself, in the file
            case 9: return at - region.offset;   // of itself, in the structure
            case 10: return region.size - below(16);
            case 11: return std::uint64_t{1} << below(width * 8);
            case 12: return value * 16;
            default: return random_();
        }
    }

    // Up to 64 bytes of the structure over others of it: entries twice, the same target, overlaps, cycles.
    void copy(const Region& region, std::uint64_t at) {
        const std::uint64_t size = std::min(1 + below(64), region.offset + region.size - at);
        const std::string from = file_.substr(region.offset + below(region.size - size + 1), size);
        save(at, size);
        file_.replace(at, size, from);
    }

    std::string& file_;
    std::uint64_t size_;
    std::mt19937_64 random_;
    std::vector<std::pair<std::uint64_t, std::string>> undo_;
};

}  // namespace hostile
