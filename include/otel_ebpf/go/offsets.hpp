// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Look-up in the tables of measured struct layouts (offset_table.hpp). They were measured on amd64; arm64 has the same.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>

#include <otel_ebpf/version.hpp>

namespace otel_ebpf::go {

// Value of a type or member that a release does not declare.
inline constexpr std::uint16_t absent_offset = 0xffff;
// Value of one whose place depends on the Go release: a struct of the standard library that changed lies before it.
inline constexpr std::uint16_t unstable_offset = 0xfffe;

struct OffsetRelease {
    Version version;
    bool is_measured = false;  // false: inferred, the measured ones around it agree in everything
};

// One value that holds from a release until the next run of the same entry.
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
    std::span<const OffsetRelease> releases;  // ascending; no pre-releases
    std::span<const OffsetRun> runs;
    std::span<const OffsetEntry> entries;  // sorted by package, type, member
    VersionRange go = {};                  // Go releases by which the module was compiled

    // A module without tags, whose releases are dates: see version_by_date.
    [[nodiscard]] constexpr bool is_by_date() const {
        return !releases.empty() && releases.front().version.major > 2000;
    }
};

enum class OffsetState : std::uint8_t { known, absent, unknown };

// How the value of a release is known. All after `inferred` may be wrong: DWARF is asked first, and the plan says so.
enum class OffsetBasis : std::uint8_t {
    measured,
    inferred,     // the measured releases around it agree
    newer_patch,  // newer than all releases of its minor in the table, which has the last of them
    pre_release,  // the releases before and after it agree
    new_minor,    // no release of its minor is in the table, but the value is the same in all that are
};

struct OffsetAnswer {
    OffsetState state = OffsetState::unknown;
    std::uint16_t value = 0;
    OffsetBasis basis = OffsetBasis::measured;

    [[nodiscard]] constexpr bool is_assumed() const { return basis > OffsetBasis::inferred; }
};

// The pseudo-version of a module without tags, "v0.0.0-20240102030405-0123456789ab", as {2024, 102, 30405}.
constexpr std::optional<Version> version_by_date(std::string_view text) {
    constexpr std::string_view prefix = "v0.0.0-";
    constexpr std::size_t digits = 14;
    if (!text.starts_with(prefix) || text.size() <= prefix.size() + digits || text[prefix.size() + digits] != '-')
        return std::nullopt;
    std::uint64_t number = 0;
    for (const char c : text.substr(prefix.size(), digits)) {
        if (c < '0' || c > '9') return std::nullopt;
        number = number * 10 + static_cast<std::uint64_t>(c - '0');
    }
    constexpr std::uint64_t day = 1'000'000, year = 10'000 * day;  // HHMMSS, MMDDHHMMSS
    return Version{static_cast<std::uint32_t>(number / year), static_cast<std::uint32_t>(number % year / day),
                   static_cast<std::uint32_t>(number % day)};
}

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

constexpr std::optional<OffsetEntry> find_entry(const OffsetModule& module, std::string_view package,
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
    if (entry == module.entries.end() || Key{entry->package, entry->type, entry->member} != key) return std::nullopt;
    return *entry;
}

constexpr OffsetAnswer answer(std::uint16_t value, OffsetBasis basis) {
    if (value == unstable_offset) return {};
    return {value == absent_offset ? OffsetState::absent : OffsetState::known, value, basis};
}

}  // namespace detail

// Value of a member (or of the type's size) in one version of the module. A release that the table does not have takes
// the value of those around it where they agree, and after the last of its minor the value of that one. In a minor
// that is not in the table nothing is known, unless the value never changed and `assume_unmoved`.
constexpr OffsetAnswer find_offset(const OffsetModule& module, const Version& version, std::string_view package,
                                   std::string_view type, std::string_view member, bool assume_unmoved = false) {
    const auto entry = detail::find_entry(module, package, type, member);
    if (!entry) return {};

    const auto after = std::ranges::upper_bound(module.releases, version, {}, &OffsetRelease::version);
    if (after == module.releases.begin()) return {};
    const auto before = std::prev(after);
    const bool is_last = after == module.releases.end();
    const auto index = static_cast<std::size_t>(before - module.releases.begin());
    const std::uint16_t value = detail::value_at(module, *entry, index);
    if (before->version == version)
        return detail::answer(value, before->is_measured ? OffsetBasis::measured : OffsetBasis::inferred);

    const bool near_before = module.is_by_date() || detail::same_minor(before->version, version);
    const bool near_after = !is_last && (module.is_by_date() || detail::same_minor(after->version, version));
    if (near_after) {
        if (detail::value_at(module, *entry, index + 1) != value) return {};
        return detail::answer(value, version.is_release ? OffsetBasis::inferred : OffsetBasis::pre_release);
    }
    if (near_before && !module.is_by_date()) return detail::answer(value, OffsetBasis::newer_patch);
    if (assume_unmoved && entry->run_count == 1) return detail::answer(value, OffsetBasis::new_minor);
    return {};
}

}  // namespace otel_ebpf::go
