// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ReportData: a ReportModel as JSON for the page, in columns, each text once, safe inside <script>.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <variant>
#include <vector>

#include <otel_ebpf/export/text.hpp>
#include <otel_ebpf/profile/report_model.hpp>

namespace otel_ebpf::profile {

struct ReportOptions {
    std::string title;                // empty: the names of the processes
    std::uint64_t lost_samples = 0;   // counted by the sampler
    std::uint64_t lost_spans = 0;     // counted by the Manager and by the SpanLog
    std::vector<std::string> notes;   // what a reader has to know, a sentence each: warnings of Reports
};

namespace detail {

// Appends text as a JSON string that shows what it holds (control characters as \xNN, no change of the writing
// direction) and can neither end a <script> element nor begin a comment in it.
inline void append_script_string(std::string& out, std::string_view text) {
    std::string readable;
    append_terminal_text(readable, text);
    std::string quoted;
    append_json_string(quoted, readable);
    for (const char c : quoted) {
        if (c == '<') out += "\\u003c";
        else out += c;
    }
}

// Every distinct text once, by number.
class TextTable {
public:
    std::uint32_t operator()(std::string_view text) {
        const auto [it, is_new] = numbers_.try_emplace(std::string(text), static_cast<std::uint32_t>(texts_.size()));
        if (is_new) texts_.push_back(&it->first);
        return it->second;
    }
    void append_to(std::string& out) const {
        out += '[';
        for (const std::string* const text : texts_) {
            if (text != texts_.front()) out += ',';
            append_script_string(out, *text);
        }
        out += ']';
    }

private:
    std::unordered_map<std::string, std::uint32_t> numbers_;
    std::vector<const std::string*> texts_;  // keys of numbers_
};

class ReportData {
public:
    ReportData(const Profile& profile, const ReportModel& model, const ReportOptions& options)
        : profile_(profile), model_(model), options_(options) {}

    [[nodiscard]] std::string to_json() {
        out_ = "{";
        summary();
        processes();
        stacks();
        spans();
        samples();
        attribute_sets();
        key("strings");
        texts_.append_to(out_);
        out_ += '}';
        return std::move(out_);
    }

private:
    void key(std::string_view name) {
        if (out_.back() != '{') out_ += ',';
        out_ += '"';
        out_ += name;
        out_ += "\":";
    }
    template <class Number>
    void member(std::string_view name, Number number) {
        key(name);
        append_number(out_, number);
    }
    // One value per row: a number, or no_index as -1; or a text, which is written in place.
    template <class Rows, class Column>
    void column(std::string_view name, const Rows& rows, Column value_of) {
        key(name);
        out_ += '[';
        bool is_first = true;
        for (const auto& row : rows) {
            if (!is_first) out_ += ',';
            is_first = false;
            const auto value = value_of(row);
            if constexpr (std::is_convertible_v<decltype(value), std::string_view>) {
                append_script_string(out_, value);
            } else if constexpr (std::is_same_v<std::remove_const_t<decltype(value)>, std::uint32_t>) {
                if (value == no_index) out_ += "-1";
                else append_number(out_, value);
            } else {
                append_number(out_, value);
            }
        }
        out_ += ']';
    }

    // Numbers of the page are doubles: times are relative, so that they are exact.
    [[nodiscard]] std::uint64_t relative_ns(std::uint64_t unix_ns) const {
        constexpr std::uint64_t exact = std::uint64_t{1} << 53;
        return std::min(unix_ns - std::min(unix_ns, model_.start_unix_ns), exact);
    }

    void summary() {
        std::string title = options_.title;
        if (title.empty())
            for (const SampledProcess& process : profile_.processes)
                title += (title.empty() ? "" : ", ") + service_of(process);
        key("title");
        append_script_string(out_, title);
        member("start_ms", static_cast<double>(model_.start_unix_ns / 1000) / 1000);
        member("profile_start", relative_ns(profile_.start_unix_ns));
        member("duration", profile_.duration_ns);
        member("period", profile_.period_ns);
        member("lost_samples", options_.lost_samples);
        member("lost_spans", options_.lost_spans);
        member("samples_linked", model_.samples_linked);
        member("samples_dangling", model_.samples_dangling);
        member("samples_outside", model_.samples_outside);
        column("notes", options_.notes, [](const std::string& note) { return std::string_view(note); });
    }

    [[nodiscard]] static std::string service_of(const SampledProcess& process) {
        for (const auto& [name, value] : process.resource.attributes)
            if (name == "service.name")
                if (const auto* const text = std::get_if<std::string>(&value)) return *text;
        return process.name;
    }

    void processes() {
        key("processes");
        out_ += '{';
        const auto& rows = profile_.processes;
        column("tgid", rows, [](const SampledProcess& process) { return process.tgid; });
        column("name", rows, [&](const SampledProcess& process) { return texts_(process.name); });
        column("service", rows, [&](const SampledProcess& process) { return texts_(service_of(process)); });
        out_ += '}';
    }

    void stacks() {
        key("frames");
        out_ += '{';
        column("function", model_.frames, [&](const ReportFrame& frame) { return texts_(frame.function); });
        column("file", model_.frames, [&](const ReportFrame& frame) { return texts_(frame.file); });
        column("module", model_.frames, [&](const ReportFrame& frame) { return texts_(frame.module); });
        column("kind", model_.frames, [](const ReportFrame& frame) { return static_cast<int>(frame.kind); });
        out_ += '}';
        key("nodes");
        out_ += '{';
        column("parent", model_.nodes, [](const ReportNode& node) { return node.parent; });
        column("frame", model_.nodes, [](const ReportNode& node) { return node.frame; });
        out_ += '}';
    }

    void spans() {
        static const SpanRecord not_exported{};
        const auto record = [](const ReportSpan& span) -> const SpanRecord& {
            return span.record == nullptr ? not_exported : *span.record;
        };
        const auto& rows = model_.spans;
        std::vector<std::string> traces;
        std::vector<std::uint32_t> trace_of;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            if (i == 0 || rows[i].trace_id != rows[i - 1].trace_id) traces.push_back(rows[i].trace_id.to_hex());
            trace_of.push_back(static_cast<std::uint32_t>(traces.size() - 1));
        }
        column("traces", traces, [](const std::string& id) { return std::string_view(id); });
        key("spans");
        out_ += '{';
        column("trace", trace_of, [](std::uint32_t trace) { return trace; });
        column("id", rows, [](const ReportSpan& span) { return span.span_id.to_hex(); });
        column("parent", rows, [&](const ReportSpan& span) {
            const SpanId& parent = record(span).parent;
            return parent.is_zero() ? std::string() : parent.to_hex();
        });
        column("name", rows, [&](const ReportSpan& span) { return texts_(record(span).name); });
        column("service", rows, [&](const ReportSpan& span) { return texts_(record(span).service); });
        column("tgid", rows, [&](const ReportSpan& span) { return record(span).tgid; });
        column("kind", rows, [&](const ReportSpan& span) { return static_cast<int>(record(span).kind); });
        column("status", rows, [&](const ReportSpan& span) { return static_cast<int>(record(span).status); });
        column("message", rows, [&](const ReportSpan& span) { return texts_(record(span).status_message); });
        column("start", rows, [&](const ReportSpan& span) { return relative_ns(span.start_unix_ns); });
        column("duration", rows, [&](const ReportSpan& span) {
            return relative_ns(span.end_unix_ns) - relative_ns(span.start_unix_ns);
        });
        column("depth", rows, [](const ReportSpan& span) { return span.depth; });
        column("flags", rows, [&](const ReportSpan& span) {
            return (span.record == nullptr ? 1 : 0) | (span.parent_is_missing ? 2 : 0) |
                   (record(span).parent_is_remote ? 4 : 0);
        });
        column("attributes", rows, [&](const ReportSpan& span) { return attribute_set_of(record(span)); });
        out_ += '}';
    }

    void samples() {
        key("samples");
        out_ += '{';
        const auto& rows = model_.samples;
        column("span", rows, [](const ReportSamples& row) { return row.span; });
        column("process", rows, [](const ReportSamples& row) { return row.sample->process; });
        column("tid", rows, [](const ReportSamples& row) { return row.sample->tid; });
        column("node", rows, [](const ReportSamples& row) { return row.node; });
        column("count", rows, [](const ReportSamples& row) { return row.sample->count(); });
        // Microseconds, the rows behind each other, each time as its distance to the one before it.
        std::vector<std::int64_t> distances;
        std::int64_t previous_us = 0;
        for (const ReportSamples& row : rows)
            for (const std::uint64_t time : row.sample->times_unix_ns) {
                const auto time_us = static_cast<std::int64_t>(relative_ns(time) / 1000);
                distances.push_back(time_us - previous_us);
                previous_us = time_us;
            }
        column("times", distances, [](std::int64_t distance_us) { return distance_us; });
        out_ += '}';
    }

    std::uint32_t attribute_set_of(const SpanRecord& record) {
        std::vector<std::uint32_t> set;
        for (const auto& [name, value] : record.attributes) {
            set.push_back(texts_(name));
            set.push_back(texts_(std::visit(
                [](const auto& held) -> std::string {
                    using T = std::remove_cvref_t<decltype(held)>;
                    if constexpr (std::is_same_v<T, std::string>) {
                        return held;
                    } else if constexpr (std::is_same_v<T, bool>) {
                        return held ? "true" : "false";
                    } else {
                        std::string text;
                        append_number(text, held);
                        return text;
                    }
                },
                value)));
        }
        return sets_.try_emplace(std::move(set), static_cast<std::uint32_t>(sets_.size())).first->second;
    }

    // Names and values in turn.
    void attribute_sets() {
        std::vector<const std::vector<std::uint32_t>*> by_number(sets_.size());
        for (const auto& [set, number] : sets_) by_number[number] = &set;
        key("attribute_sets");
        out_ += '[';
        for (std::size_t i = 0; i < by_number.size(); ++i) {
            out_ += i == 0 ? "[" : ",[";
            for (const std::uint32_t& text : *by_number[i]) {
                if (&text != by_number[i]->data()) out_ += ',';
                append_number(out_, text);
            }
            out_ += ']';
        }
        out_ += ']';
    }

    const Profile& profile_;
    const ReportModel& model_;
    const ReportOptions& options_;
    TextTable texts_;
    std::map<std::vector<std::uint32_t>, std::uint32_t> sets_;
    std::string out_;
};

}  // namespace detail
}  // namespace otel_ebpf::profile
