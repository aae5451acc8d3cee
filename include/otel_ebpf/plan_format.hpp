// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// An AttachPlan as a table for people, and as JSON from which a loader in any language can attach.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/core.h>

#include <otel_ebpf/assignment.hpp>
#include <otel_ebpf/detail/json_writer.hpp>
#include <otel_ebpf/plan.hpp>
#include <otel_ebpf/types.h>

namespace otel_ebpf {

// Raised when a member of the JSON changes its meaning or goes.
inline constexpr int plan_json_version = 1;

constexpr std::string_view to_string(Site site) {
    switch (site) {
        case Site::entry: return "entry";
        case Site::next_call: return "next call";
        case Site::after_call: return "after call";
        case Site::returns: return "returns";
    }
    return "unknown";
}

// One line per row: what is hit how often at what cost; then what is skipped and why.
[[nodiscard]] inline std::string to_table(const AttachPlan& plan) {
    std::string text =
        fmt::format("{}\n  {}, build id {}, planned for Linux {}\n", plan.executable,
                    plan.go_version.empty()
                        ? "not Go"
                        : "Go " + plan.go_version.substr(plan.go_version.starts_with("go") ? 2 : 0),
                    plan.build_id.empty() ? "none" : plan.build_id, plan.kernel.to_string());
    using Line = std::array<std::string, 6>;
    std::vector<Line> lines = {{"hit", "cost", "program", "file offset", "symbol", "site"}};
    for (const PlanRow& row : plan.rows)
        if (row.attach)
            lines.push_back({std::string(to_string(row.rate)), std::string(site::to_string(row.cost)), row.program,
                             fmt::format("{:#x}", row.file_offset), row.symbol, row.reason});
    std::array<std::size_t, 6> widths{};
    for (const Line& line : lines)
        for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
    for (const Line& line : lines) {
        text += "  ";
        for (std::size_t i = 0; i + 1 < line.size(); ++i) text += fmt::format("{:<{}}  ", line[i], widths[i]);
        text += line.back() + "\n";
    }
    for (const PlanRow& row : plan.rows)
        if (!row.attach) text += fmt::format("  skipped {} ({}): {}\n", row.symbol, to_string(row.at), row.reason);
    for (const PlanFact& fact : plan.facts) {
        if (!fact.assumption.empty())
            text += fmt::format("  assumed {} = {}: {}\n", fact.name, fact.value, fact.assumption);
        if (!fact.known && !fact.absent) text += fmt::format("  unknown {}: {}\n", fact.name, fact.reason);
    }
    return text;
}

// The numbers in a bundle's .rodata, by variable name.
using NamedSlots = std::span<const SlotValue>;

// Complete for a loader: set `rodata`, load, write `table_row` to a free row R of oe_exes, attach each row of `rows`
// with "attach": true at `file_offset` with the cookie R << 32 | `descriptor`, then add the process to oe_processes.
[[nodiscard]] inline std::string to_json(const AttachPlan& plan, NamedSlots slots) {
    detail::JsonWriter json;
    json.begin_object().member("otel_ebpf_plan", plan_json_version).member("abi_version", OE_ABI_VERSION);
    json.line().member("executable", plan.executable).member("build_id", plan.build_id);
    json.member("go_version", plan.go_version).member("kernel", plan.kernel.to_string());
    json.line().key("rows").begin_array();
    for (const PlanRow& row : plan.rows) {
        json.line().begin_object().member("attach", row.attach).member("probe", row.probe).member("group", row.group);
        json.member("symbol", row.symbol).member("program", row.program).member("site", to_string(row.at));
        json.member("rate", to_string(row.rate)).member("reason", row.reason);
        if (row.attach) {
            json.member("vaddr", row.vaddr).member("file_offset", row.file_offset);
            json.member("cost", site::to_string(row.cost)).member("rule", site::to_string(row.rule));
            json.member("filter", site::to_string(row.filter)).member("descriptor", row.descriptor);
        } else {
            json.member("expected", row.expected);
        }
        json.end_object();
    }
    json.end_array().line().key("facts").begin_array();
    for (const PlanFact& fact : plan.facts) {
        json.line().begin_object().member("name", fact.name).member("index", fact.index);
        json.member("in", fact.is_address ? "addr" : "value").member("known", fact.known);
        if (fact.known) json.member("value", fact.value).member("assumed", !fact.assumption.empty());
        if (!fact.assumption.empty() || !fact.known) json.member("reason", fact.known ? fact.assumption : fact.reason);
        json.end_object();
    }
    json.end_array().line().key("table_row").hex(std::as_bytes(std::span(&plan.table_row, 1)));
    json.line().key("rodata").begin_object();
    std::map<std::string_view, std::uint64_t> values;  // several Probes and facts may name one variable
    for (const SlotValue& slot : slots) values.emplace(slot.slot.name, slot.value);
    for (const auto& [name, value] : values) json.member(name, value);
    return json.end_object().end_object().take();
}

}  // namespace otel_ebpf
