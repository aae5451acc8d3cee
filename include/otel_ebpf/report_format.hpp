// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Report and Stats as JSON, and what went wrong as lines for people.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/core.h>

#include <otel_ebpf/detail/json_writer.hpp>
#include <otel_ebpf/report.hpp>

namespace otel_ebpf {

[[nodiscard]] inline std::string to_json(const Stats& stats, const Report& report) {
    detail::JsonWriter json;
    json.begin_object().member("otel_ebpf_stats", 1);
    json.line().member("events", stats.records).member("spans", stats.spans);
    json.member("bytes_per_span", stats.bytes_per_span()).member("dropped", stats.dropped());
    json.line().key("counters").begin_object();
    for (std::size_t i = 0; i < stat_names.size(); ++i) json.member(stat_names[i], stats.kernel[i]);
    json.member("unknown_kinds", stats.unknown_kinds).member("short_records", stats.short_records);
    json.member("refused_records", stats.refused_records).member("truncated_spans", stats.truncated_spans);
    json.member("unfinished", stats.unfinished).end_object();
    json.line().key("sink").begin_object().member("spans_written", stats.sink.spans_written);
    json.member("spans_dropped", stats.sink.spans_dropped).member("last_error", stats.sink.last_error).end_object();
    json.line().key("times_ms").begin_object().member("open", stats.open_ms).member("load", stats.load_ms);
    json.member("attach", stats.attach_ms).member("stop", stats.stop_ms).end_object();
    json.line().key("programs").begin_object();
    for (const ProgramStats& program : stats.programs) {
        json.line().key(program.name).begin_object().member("run_cnt", program.run_count);
        json.member("run_time_ns", program.run_time_ns).member("verified_insns", program.verified_instructions);
        json.end_object();
    }
    json.end_object().line().key("targets").begin_array();
    for (const TargetRow& row : report.targets) {
        json.line().begin_object().member("pid", row.pid).member("executable", row.executable);
        json.member("service_name", row.service_name).member("state", to_string(row.state));
        json.member("exited", row.exited).member("reason", row.reason);
        json.member("publication", to_string(row.publication));
        json.member("publication_reason", row.publication_reason).end_object();
    }
    json.end_array().member("targets_forgotten", report.targets_forgotten).line().key("report").begin_array();
    for (const ReportRow& row : report.rows) {
        json.line().begin_object().member("state", to_string(row.state)).member("probe", row.plan.probe);
        json.member("group", row.plan.group).member("symbol", row.plan.symbol).member("program", row.plan.program);
        json.member("cost", site::to_string(row.plan.cost)).member("rate", to_string(row.plan.rate));
        json.member("file_offset", row.plan.file_offset).member("executable", row.executable);
        json.member("reason", row.reason).end_object();
    }
    json.end_array().line().key("publication").begin_object().member("map", report.publication.map);
    json.key("targets").begin_array();
    for (const PublicationStats& target : stats.publication) {
        json.line().begin_object().member("pid", target.pid).member("published", target.counts.published);
        json.member("foreign", target.counts.foreign).member("failed", target.counts.failed);
        json.member("unreadable", target.counts.unreadable).member("both", target.counts.both);
        json.member("trace_differs", target.counts.trace_differs);
        json.member("span_differs", target.counts.span_differs).end_object();
    }
    json.end_array().end_object().line().key("messages").begin_array();
    for (const std::string& message : report.messages) json.value(std::string_view(message));
    return json.end_array().end_object().take();
}

// What the user should know although the rest works; one line each.
[[nodiscard]] inline std::vector<std::string> warnings_in(const Report& report) {
    std::vector<std::string> lines;
    for (const ReportRow& row : report.rows) {
        if (row.state == RowState::failed)
            lines.push_back(fmt::format("{}: not attached: {}", row.plan.symbol, row.reason));
        if (row.state == RowState::skipped && !row.plan.expected)
            lines.push_back(fmt::format("{}: skipped: {}", row.plan.symbol, row.reason));
        if (row.state == RowState::attached && row.plan.cost == site::CostClass::stepped)
            lines.push_back(fmt::format("{}: slow site: {}", row.plan.symbol, row.reason));
    }
    for (const TargetRow& row : report.targets) {
        if (row.state == RowState::failed) lines.push_back(fmt::format("target {}: {}", row.pid, row.reason));
        if (!row.publication_reason.empty())
            lines.push_back(fmt::format("target {}: current spans are published: {}: {}", row.pid,
                                        to_string(row.publication), row.publication_reason));
    }
    lines.insert(lines.end(), report.messages.begin(), report.messages.end());
    return lines;
}

// How the current spans of targets reach profilers, and who doesn't see them; empty when nothing is published.
[[nodiscard]] inline std::vector<std::string> publication_in(const Report& report) {
    std::vector<std::string> lines;
    const auto any = [&report](Publication mode) {
        return std::any_of(report.targets.begin(), report.targets.end(),
                           [mode](const TargetRow& row) { return row.publication == mode; });
    };
    if (any(Publication::jit))
        lines.push_back(fmt::format("current spans are published in {} just in time (jit): seen by profilers on a "
                                    "cpu-clock timer; not by samplers on hardware counters, off-CPU or probe-triggered "
                                    "samplers, nor by tools that poll the map", report.publication.map));
    if (any(Publication::eager))
        lines.push_back(
            fmt::format("current spans are published in {} at every change (eager)", report.publication.map));
    return lines;
}

// Counters that are not zero although nothing should be lost; "" when all is well.
[[nodiscard]] inline std::string losses_in(const Stats& stats) {
    std::string text;
    const auto add = [&text](std::string_view name, std::uint64_t count) {
        if (count != 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, count);
    };
    for (const oe_stat stat : {OE_STAT_RINGBUF_FULL, OE_STAT_STORE_FULL, OE_STAT_DEPTH_EXCEEDED, OE_STAT_PROCESSES_FULL,
                               OE_STAT_ORPHAN_END, OE_STAT_ABANDONED, OE_STAT_RECLAIMED, OE_STAT_DISCARDED,
                               OE_STAT_READ_FAULT, OE_STAT_HEADERS_INCOMPLETE})
        add(stat_names[stat], stats[stat]);
    add("unknown_kinds", stats.unknown_kinds);
    add("short_records", stats.short_records);
    add("refused_records", stats.refused_records);
    add("unfinished", stats.unfinished);
    add("truncated_spans", stats.truncated_spans);
    add("sink_dropped", stats.sink.spans_dropped);
    return text;
}

}  // namespace otel_ebpf
