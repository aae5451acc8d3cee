// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Look-up in the table of measured struct layouts (offset_table.hpp).
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <iterator>
#include <span>
#include <string_view>

#include <otel_ebpf/version.hpp>

namespace otel_ebpf::go {

// Value of a type or member that a release does not declare.
inline constexpr std::uint16_t absent_offset = 0xffff;

// One value that holds from a measured release until the next run of the same entry.
struct OffsetRun {
    std::uint16_t release;  // index in OffsetModule::releases
    std::uint16_t value;
};

struct OffsetEntry {
    std::string_view package;
    std::string_view type;
    std::string_view member;  // empty: the value is the size of the type
    std::uint16_t first_run;
    std::uint16_t run_count;
};

struct OffsetModule {
    std::string_view path;
    std::span<const Version> releases;  // those that were measured, ascending
    std::span<const OffsetRun> runs;
    std::span<const OffsetEntry> entries;  // sorted by package, type, member
};

enum class OffsetState : std::uint8_t { known, absent, unknown };

struct OffsetAnswer {
    OffsetState state = OffsetState::unknown;
    std::uint16_t value = 0;
    bool assumed = false;  // a patch release newer than the last one measured in its minor
};

namespace detail {

constexpr std::uint16_t value_at(const OffsetModule& module, const OffsetEntry& entry, std::size_t release) {
    std::uint16_t value = absent_offset;
    for (const OffsetRun& run : module.runs.subspan(entry.first_run, entry.run_count)) {
        if (run.release > release) break;
        value = run.value;
    }
    return value;
}

constexpr bool same_minor(const Version& a, const Version& b) {
    return a.major == b.major && a.minor == b.minor;
}

}  // namespace detail

// Value of a member (or of the type's size) in one version. Between two measured patch releases that agree the value
// is theirs; where they differ, before the first and in a minor that was not measured the answer is `unknown`.
constexpr OffsetAnswer find_offset(const OffsetModule& module, const Version& version, std::string_view package,
                                   std::string_view type, std::string_view member) {
    struct Key {
        std::string_view package, type, member;
        constexpr auto operator<=>(const Key&) const = default;
    };
    const Key key{package, type, member};
    const auto entry = std::lower_bound(module.entries.begin(), module.entries.end(), key,
                                        [](const OffsetEntry& row, const Key& wanted) {
                                            return Key{row.package, row.type, row.member} < wanted;
                                        });
    if (entry == module.entries.end() || Key{entry->package, entry->type, entry->member} != key) return {};

    const auto after = std::upper_bound(module.releases.begin(), module.releases.end(), version);
    if (after == module.releases.begin()) return {};
    const auto at_or_before = std::prev(after);
    if (!detail::same_minor(*at_or_before, version)) return {};
    const auto index = static_cast<std::size_t>(at_or_before - module.releases.begin());
    const std::uint16_t value = detail::value_at(module, *entry, index);
    bool assumed = false;
    if (*at_or_before != version) {
        const bool is_last_of_minor = after == module.releases.end() || !detail::same_minor(*after, version);
        if (!is_last_of_minor && detail::value_at(module, *entry, index + 1) != value) return {};
        assumed = is_last_of_minor;
    }
    return {value == absent_offset ? OffsetState::absent : OffsetState::known, value, assumed};
}

}  // namespace otel_ebpf::go
