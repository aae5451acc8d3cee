// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ReportModel: what a report shows, ready to be drawn: spans as trees, stacks as one tree, samples tied to both.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include <otel_ebpf/export/trace_tree.hpp>
#include <otel_ebpf/profile/model.hpp>
#include <otel_ebpf/profile/span_log.hpp>

namespace otel_ebpf::profile::detail {

inline constexpr std::uint32_t no_index = std::numeric_limits<std::uint32_t>::max();

// One function; addresses and lines in it are not told apart. The page knows the numbers.
struct ReportFrame {
    enum class Kind : std::uint8_t { code, go_runtime, kernel, unknown };
    std::string function;  // empty when unknown
    std::string file;
    std::string module;    // path of the mapping
    Kind kind = Kind::code;

    auto operator<=>(const ReportFrame&) const = default;
};

// A call path: `frame` called by the node `parent`, which comes before it.
struct ReportNode {
    std::uint32_t parent = no_index;
    std::uint32_t frame = 0;
};

struct ReportSpan {
    const SpanRecord* record = nullptr;  // nullptr: samples name it, but it was not exported
    TraceId trace_id;
    SpanId span_id;
    std::uint64_t start_unix_ns = 0;
    std::uint64_t end_unix_ns = 0;
    std::uint32_t depth = 0;             // 0: a root, as far as is known
    bool parent_is_missing = false;      // its parent is of a watched process, and not there
};

struct ReportSamples {
    const Sample* sample = nullptr;
    std::uint32_t span = no_index;
    std::uint32_t node = no_index;       // of the leaf; no_index: without a stack
};

struct ReportModel {
    std::uint64_t start_unix_ns = 0;     // the earliest time in it
    std::vector<ReportFrame> frames;
    std::vector<ReportNode> nodes;
    std::vector<ReportSpan> spans;       // traces by the start of their first root; in each, parents before children
    std::vector<ReportSamples> samples;
    std::uint64_t samples_linked = 0;    // to a span that was exported
    std::uint64_t samples_dangling = 0;  // to one that was not
    std::uint64_t samples_outside = 0;   // of every span

    [[nodiscard]] static ReportModel make(const Profile& profile, std::span<const SpanRecord> records);
};

// Stacks as one tree of call paths, in which every frame and every path is held once.
class StackTree {
public:
    StackTree(const Profile& profile, ReportModel& model)
        : profile_(profile),
          model_(model),
          frames_(profile.locations.size(), no_index),
          leaves_(profile.stacks.size(), no_index) {}

    // The node of a stack's leaf; no_index when the stack is empty.
    std::uint32_t leaf_of(std::uint32_t stack) {
        if (stack >= leaves_.size()) return no_index;
        std::uint32_t node = leaves_[stack];
        if (node != no_index) return node;
        const std::vector<std::uint32_t>& locations = profile_.stacks[stack];
        for (auto location = locations.rbegin(); location != locations.rend(); ++location)
            node = child_of(node, frame_of(*location));
        return leaves_[stack] = node;
    }

private:
    std::uint32_t child_of(std::uint32_t parent, std::uint32_t frame) {
        const std::uint64_t key = std::uint64_t{parent} << 32 | frame;
        const auto [it, is_new] = children_.try_emplace(key, static_cast<std::uint32_t>(model_.nodes.size()));
        if (is_new) model_.nodes.push_back({parent, frame});
        return it->second;
    }

    std::uint32_t frame_of(std::uint32_t index) {
        if (index >= frames_.size()) index = 0;
        if (frames_[index] != no_index) return frames_[index];
        const auto [it, is_new] = by_frame_.try_emplace(describe(profile_.locations[index]),
                                                        static_cast<std::uint32_t>(model_.frames.size()));
        if (is_new) model_.frames.push_back(it->first);
        return frames_[index] = it->second;
    }

    [[nodiscard]] ReportFrame describe(const Location& location) const {
        using Kind = ReportFrame::Kind;
        ReportFrame frame{location.function, location.file, {}, Kind::code};
        if (location.mapping < profile_.mappings.size()) frame.module = profile_.mappings[location.mapping].path;
        if (location.is_kernel) frame.kind = Kind::kernel;
        else if (location.function.empty()) frame.kind = Kind::unknown;
        else if (location.function.starts_with("runtime.") || location.function.starts_with("runtime/") ||
                 location.function.starts_with("internal/runtime/"))
            frame.kind = Kind::go_runtime;
        return frame;
    }

    const Profile& profile_;
    ReportModel& model_;
    std::vector<std::uint32_t> frames_;  // by location
    std::vector<std::uint32_t> leaves_;  // by stack
    std::map<ReportFrame, std::uint32_t> by_frame_;
    std::unordered_map<std::uint64_t, std::uint32_t> children_;
};

// Exported spans, and one that stands for each span that samples name and nobody exported.
class SpanForest {
public:
    explicit SpanForest(std::span<const SpanRecord> records) {
        spans_.reserve(records.size());
        for (const SpanRecord& record : records) {
            by_id_.try_emplace({record.trace_id, record.span_id}, spans_.size());
            spans_.push_back({&record, record.trace_id, record.span_id, record.start_unix_ns,
                              std::max(record.start_unix_ns, record.end_unix_ns), 0, false});
        }
    }

    void add_missing(const Sample& sample, std::uint64_t period_ns) {
        const auto [it, is_new] = by_id_.try_emplace({sample.trace_id, sample.span_id}, spans_.size());
        if (is_new) {
            constexpr auto latest = std::numeric_limits<std::uint64_t>::max();
            spans_.push_back({nullptr, sample.trace_id, sample.span_id, latest, 0, 0, false});
        }
        ReportSpan& span = spans_[it->second];
        if (span.record != nullptr) return;
        for (const std::uint64_t time : sample.times_unix_ns) {
            // A sample stands for the period before it.
            span.start_unix_ns = std::min(span.start_unix_ns, time - std::min(time, period_ns));
            span.end_unix_ns = std::max(span.end_unix_ns, time);
        }
    }

    // Moves the spans out in the order of ReportModel::spans.
    [[nodiscard]] std::vector<ReportSpan> take_in_order() {
        constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();
        TraceTrees<std::size_t> trees({.spans = unlimited, .spans_per_trace = unlimited});
        TextArena arena;
        Span key(arena);
        for (std::size_t i = 0; i < spans_.size(); ++i) {
            const ReportSpan& span = spans_[i];
            key.context = {span.trace_id, span.span_id, 0};
            key.parent = span.record == nullptr ? SpanId{} : span.record->parent;
            key.parent_is_remote = span.record != nullptr && span.record->parent_is_remote;
            key.start_unix_ns = span.start_unix_ns;
            trees.add(key, i, {});
        }
        std::vector<std::vector<ReportSpan>> traces;
        trees.take_all([&](std::span<const TraceTrees<std::size_t>::Node> tree) {
            std::vector<ReportSpan>& trace = traces.emplace_back();
            for (const auto& node : tree) {
                trace.push_back(spans_[node.payload]);
                trace.back().depth = node.depth;
                trace.back().parent_is_missing = node.parent_is_missing;
            }
        });
        std::sort(traces.begin(), traces.end(), [](const auto& a, const auto& b) {
            return std::tie(a.front().start_unix_ns, a.front().trace_id) <
                   std::tie(b.front().start_unix_ns, b.front().trace_id);
        });
        std::vector<ReportSpan> ordered;
        ordered.reserve(spans_.size());
        for (const auto& trace : traces) ordered.insert(ordered.end(), trace.begin(), trace.end());
        return ordered;
    }

private:
    std::vector<ReportSpan> spans_;
    std::map<std::pair<TraceId, SpanId>, std::size_t> by_id_;
};

inline ReportModel ReportModel::make(const Profile& profile, std::span<const SpanRecord> records) {
    ReportModel model;
    SpanForest forest(records);
    for (const Sample& sample : profile.samples)
        if (sample.has_context() && sample.count() != 0) forest.add_missing(sample, profile.period_ns);
    model.spans = forest.take_in_order();

    std::map<std::pair<TraceId, SpanId>, std::uint32_t> span_of;
    std::uint64_t earliest = profile.start_unix_ns;
    for (std::uint32_t i = 0; i < model.spans.size(); ++i) {
        const ReportSpan& span = model.spans[i];
        span_of.try_emplace({span.trace_id, span.span_id}, i);
        if (span.start_unix_ns == 0) continue;
        earliest = earliest == 0 ? span.start_unix_ns : std::min(earliest, span.start_unix_ns);
    }
    model.start_unix_ns = earliest;

    StackTree stacks(profile, model);
    model.samples.reserve(profile.samples.size());
    for (const Sample& sample : profile.samples) {
        if (sample.count() == 0) continue;
        ReportSamples row{&sample, no_index, stacks.leaf_of(sample.stack)};
        if (sample.has_context()) row.span = span_of.at({sample.trace_id, sample.span_id});
        std::uint64_t& count = row.span == no_index                          ? model.samples_outside
                               : model.spans[row.span].record == nullptr ? model.samples_dangling
                                                                         : model.samples_linked;
        count += sample.count();
        model.samples.push_back(row);
    }
    return model;
}

}  // namespace otel_ebpf::profile::detail
