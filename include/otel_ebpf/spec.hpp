// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ProbeSpec: a Probe without its skeleton type, which is what the planner and the Manager work with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <otel_ebpf/probe.hpp>

namespace otel_ebpf {

struct UprobeSpec {
    std::string symbol;
    Site at = Site::entry;
    std::string program;
    std::string callee;
    std::uint16_t live_registers = 0;
    VersionRange go;
    std::string group;
    bool required = true;
    std::string option;
    Rate rate = Rate::per_call;
};

// A variable in the .rodata of one bundle.
struct Slot {
    std::string name;
    std::size_t offset = 0;
    std::size_t size = 0;
};

struct FactSpec {
    Slot slot;
    FactQuery what;
    bool required = true;
    VersionRange go;
    std::string group;
};

struct OptionSpec {
    std::string name;  // without the Probe's name
    bool by_default = false;
    std::string doc;
    Slot slot;         // empty name: planner only
};

// The shape of a map that a Probe relies on.
struct MapNeed {
    std::string name;
    std::uint32_t type = 0;
    std::uint32_t key_size = 0;
    std::uint32_t value_size = 0;
    std::uint32_t max_entries = 0;  // 0: any
    std::uint32_t flags = 0;
    std::string pin;
};

struct ProbeSpec {
    std::string name;
    Abi abi = Abi::go;
    SpanKind kind = SpanKind::internal;
    std::string scope;
    Slot event_kind;
    std::size_t event_bytes = 0;
    std::vector<UprobeSpec> uprobes;
    std::vector<FactSpec> facts;
    std::vector<OptionSpec> options;
    std::vector<MapNeed> maps;
    // `record` holds at least event_bytes bytes.
    std::function<bool(std::span<const std::byte> record, const ProcessInfo&, Span&)> to_span;

    // Two bundles that include the same Probe: it is attached once.
    [[nodiscard]] std::uint64_t hash() const {
        std::uint64_t value = 14695981039346656037ULL;  // FNV-1a, 64 bit
        const auto mix = [&value](std::string_view text) {
            for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
            value = (value ^ 0xff) * 1099511628211ULL;
        };
        const auto mix_number = [&mix](std::uint64_t number) {
            mix({reinterpret_cast<const char*>(&number), sizeof(number)});
        };
        const auto mix_range = [&mix](const VersionRange& range) {
            mix(range.from.to_string() + range.below.to_string());
        };
        mix(name);
        mix_number(event_bytes);
        mix_number(static_cast<std::uint64_t>(abi));
        for (const UprobeSpec& uprobe : uprobes) {
            mix(uprobe.symbol);
            mix(uprobe.program);
            mix(uprobe.callee);
            mix(uprobe.group);
            mix(uprobe.option);
            mix_number(static_cast<std::uint64_t>(uprobe.at));
            mix_number(uprobe.live_registers);
            mix_number(uprobe.required ? 1 : 0);
            mix_range(uprobe.go);
        }
        for (const FactSpec& fact : facts) {
            mix(fact.slot.name);
            mix(fact.what.module);
            mix_number(fact.what.assume_unmoved ? 1 : 0);
            mix(fact.what.package);
            mix(fact.what.type);
            mix(fact.what.member);
            mix(fact.group);
            mix_range(fact.go);
        }
        return value;
    }
};

}  // namespace otel_ebpf
