// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Report: one row per planned site and per target, so that nothing is skipped silently. Stats: every counter.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <otel_ebpf/plan.hpp>
#include <otel_ebpf/publication.hpp>
#include <otel_ebpf/span.hpp>
#include <otel_ebpf/types.h>

namespace otel_ebpf {

enum class RowState { attached, skipped, failed };

constexpr std::string_view to_string(RowState state) {
    switch (state) {
        case RowState::attached: return "attached";
        case RowState::skipped: return "skipped";
        case RowState::failed: return "failed";
    }
    return "unknown";
}

struct ReportRow {
    std::string executable;
    PlanRow plan;
    RowState state = RowState::skipped;
    std::string reason;
    std::error_code code{};  // of a failure, where an errno is behind it
};

struct TargetRow {
    std::int64_t pid = 0;  // 0: an executable that is followed
    std::string executable;
    std::string service_name;
    RowState state = RowState::attached;
    std::string reason;
    bool exited = false;
    Publication publication = Publication::off;  // how its current spans are published
    std::string publication_reason = {};         // where that is not what was asked for
};

// Where current spans are published.
struct PublicationReport {
    std::string map;  // path of the pin, "private" where it can't be shared, "" when nothing is published
};

struct Report {
    std::vector<TargetRow> targets;
    std::vector<ReportRow> rows;
    std::size_t targets_forgotten = 0;  // rows of processes that ended, beyond the newest 1,024
    PublicationReport publication;
    std::vector<std::string> messages;  // what concerns no single row: a program that the verifier refused, ...

    [[nodiscard]] std::size_t attached() const {
        return static_cast<std::size_t>(std::count_if(
            rows.begin(), rows.end(), [](const ReportRow& row) { return row.state == RowState::attached; }));
    }
};

// Names of enum oe_stat, in its order.
inline constexpr std::array<std::string_view, OE_STAT_MAX> stat_names = {
    "stack_check",    "other_process",  "ringbuf_full", "store_full",
    "store_overflow", "depth_exceeded", "orphan_end",    "abandoned",    "reclaimed",    "discarded",
    "read_fault",     "fact_missing",   "processes_full", "headers_incomplete", "bad_traceparent", "threads_full",
    "task_unknown"};

struct ProgramStats {
    std::string name;
    std::uint64_t run_count = 0;    // with kernel.bpf_stats_enabled
    std::uint64_t run_time_ns = 0;
    std::uint32_t verified_instructions = 0;
};

// What came of publishing one target's spans; see struct oe_ctx_counts.
struct PublicationStats {
    std::int64_t pid = 0;
    oe_ctx_counts counts{};
};

struct Stats {
    std::array<std::uint64_t, OE_STAT_MAX> kernel{};  // by enum oe_stat, of all CPUs
    std::uint64_t records = 0;           // read from the ring buffer
    std::uint64_t record_bytes = 0;      // of records that became spans
    std::uint64_t spans = 0;             // handed to the sink
    std::uint64_t unknown_kinds = 0;     // records of no Probe
    std::uint64_t short_records = 0;     // smaller than their Probe's struct
    std::uint64_t refused_records = 0;   // to_span returned false
    std::uint64_t truncated_spans = 0;   // with a text that was cut
    std::uint64_t unfinished = 0;        // started, neither ended nor given up
    SinkStats sink;
    std::vector<ProgramStats> programs;
    std::vector<PublicationStats> publication;
    double open_ms = 0;   // objects opened and features detected
    double load_ms = 0;   // programs verified, BTF read
    double attach_ms = 0; // inspection to last link, of the targets given to open()
    double stop_ms = 0;

    [[nodiscard]] std::uint64_t operator[](oe_stat stat) const { return kernel[stat]; }
    [[nodiscard]] double bytes_per_span() const {
        return spans == 0 ? 0 : static_cast<double>(record_bytes) / static_cast<double>(spans);
    }
    // Spans or records that were lost anywhere.
    [[nodiscard]] std::uint64_t dropped() const {
        return kernel[OE_STAT_RINGBUF_FULL] + kernel[OE_STAT_STORE_FULL] + kernel[OE_STAT_DEPTH_EXCEEDED] +
               kernel[OE_STAT_PROCESSES_FULL] + kernel[OE_STAT_THREADS_FULL] +
               unknown_kinds + short_records + refused_records + sink.spans_dropped;
    }
};

}  // namespace otel_ebpf
