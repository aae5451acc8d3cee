// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Assignment: the numbers that Probes get before load: event kinds, fact indices, option values.
//
// The BPF side never holds offsets, only indices into an executable's row, so that one load serves every executable.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/spec.hpp>
#include <otel_ebpf/types.h>

namespace otel_ebpf {

// Values of Options by full name ("net_http.route_site").
using OptionValues = std::map<std::string, bool>;

// Reads "true", "false", "on", "off", "1", "0".
inline Result<bool> parse_option_value(std::string_view name, std::string_view text) {
    if (text == "true" || text == "on" || text == "1") return true;
    if (text == "false" || text == "off" || text == "0") return false;
    return fail(Stage::unsupported, fmt::format("set option {}: '{}' is neither true nor false", name, text), EINVAL);
}

// Where a fact is found in some Go releases.
struct FactSource {
    FactQuery what;
    VersionRange go;

    friend bool operator==(const FactSource&, const FactSource&) = default;
};

// One distinct fact and its place in the row of every executable.
struct FactIndex {
    std::vector<FactSource> sources;  // a slot that several facts name is filled by the one for the Go release
    std::string group;                // "PROBE/GROUP" in place of `sources`
    bool is_address = false;  // in oe_exe.addr, else in oe_exe.value
    std::uint16_t index = 0;
};

struct SlotValue {
    Slot slot;
    std::uint64_t value = 0;
};

class Assignment {
public:
    // Numbers the Probes of one more bundle; facts and kinds that are known already keep theirs. Returns what to write
    // to the bundle's .rodata. An option that no Probe of the bundle declares is not an error here: see unknown_option.
    [[nodiscard]] Result<std::vector<SlotValue>> add(std::span<const ProbeSpec> probes, const OptionValues& options) {
        std::vector<SlotValue> slots;
        for (const ProbeSpec& probe : probes) {
            slots.push_back({probe.event_kind, kind_of(probe)});
            if (kind_of(probe) >= OE_KIND_FIRST_PROBE + 64)
                return fail(Stage::load, fmt::format("number Probe {}: more than 64 Probes", probe.name), E2BIG);
            for (const FactSpec& fact : probe.facts) {
                auto index = index_of(sources_of(probe, fact), fact.group.empty() ? "" : probe.name + "/" + fact.group);
                if (!index) return Failure(std::move(index.error()).in("probe " + probe.name));
                slots.push_back({fact.slot, *index});
            }
            for (const OptionSpec& option : probe.options)
                if (!option.slot.name.empty()) slots.push_back({option.slot, option_value(probe, option, options)});
        }
        return slots;
    }

    // The number in oe_event_header.kind of a Probe's records; the same Probe in two bundles has one.
    std::uint16_t kind_of(const ProbeSpec& probe) {
        const auto [position, is_new] = kinds_.try_emplace(
            {probe.name, probe.hash()}, static_cast<std::uint16_t>(OE_KIND_FIRST_PROBE + kinds_.size()));
        return position->second;
    }

    static bool option_value(const ProbeSpec& probe, const OptionSpec& option, const OptionValues& values) {
        const auto position = values.find(probe.name + "." + option.name);
        return position == values.end() ? option.by_default : position->second;
    }

    [[nodiscard]] std::span<const FactIndex> facts() const { return facts_; }

private:
    static std::vector<FactSource> sources_of(const ProbeSpec& probe, const FactSpec& fact) {
        std::vector<FactSource> sources;
        if (!fact.group.empty()) return sources;
        for (const FactSpec& other : probe.facts)
            if (other.slot.offset == fact.slot.offset) sources.push_back({other.what, other.go});
        return sources;
    }

    Result<std::uint16_t> index_of(std::vector<FactSource> sources, std::string group) {
        for (const FactIndex& known : facts_)
            if (known.sources == sources && known.group == group) return known.index;
        const bool is_address = !sources.empty() && (sources.front().what.kind == FactKind::symbol_address ||
                                                     sources.front().what.kind == FactKind::type_address);
        std::uint16_t& next = is_address ? next_address_ : next_value_;
        if (next == (is_address ? OE_EXE_ADDRS : OE_EXE_VALUES))
            return fail(Stage::load, fmt::format("number the facts: the row of an executable has room for {} of a kind",
                                                 next), E2BIG);
        facts_.push_back({std::move(sources), std::move(group), is_address, next});
        return next++;
    }

    std::map<std::pair<std::string, std::uint64_t>, std::uint16_t> kinds_;
    std::vector<FactIndex> facts_;
    std::uint16_t next_value_ = 0;
    std::uint16_t next_address_ = 0;
};

// The first name in `values` that no Probe declares, with those that exist; nullopt when all are known.
inline std::optional<std::string> unknown_option(std::span<const ProbeSpec> probes, const OptionValues& values) {
    std::set<std::string> known;
    std::string list;
    for (const ProbeSpec& probe : probes)
        for (const OptionSpec& option : probe.options) {
            const std::string name = probe.name + "." + option.name;
            if (known.insert(name).second) list += (list.empty() ? "" : ", ") + name;
        }
    for (const auto& [name, value] : values)
        if (!known.contains(name))
            return fmt::format("no option '{}'; there are: {}", name, list.empty() ? "none" : list);
    return std::nullopt;
}

}  // namespace otel_ebpf
