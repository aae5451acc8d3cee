// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// SpanLine: a span as one line for people, and trees of them drawn with branches and colours.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <ctime>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <otel_ebpf/export/text.hpp>
#include <otel_ebpf/export/trace_tree.hpp>
#include <otel_ebpf/semconv.hpp>
#include <otel_ebpf/span.hpp>

namespace otel_ebpf {

// All text is safe on a terminal.
struct SpanLine {
    std::string trace;  // first 8 digits of the trace id
    std::string service;
    std::string name;
    std::string result;   // "200", "ok", "error" or nothing
    std::string details;  // "key=value key=value"
    std::uint64_t start_unix_ns = 0;
    std::uint64_t duration_ns = 0;
    SpanKind kind = SpanKind::internal;
    bool is_error = false;
    bool is_warning = false;  // HTTP 4xx that is no error of this side
};

using SpanLineTrees = TraceTrees<SpanLine>;

constexpr std::string_view to_string(SpanKind kind) {
    switch (kind) {
        case SpanKind::unspecified: return "";
        case SpanKind::internal: return "internal";
        case SpanKind::server: return "server";
        case SpanKind::client: return "client";
        case SpanKind::producer: return "producer";
        case SpanKind::consumer: return "consumer";
    }
    return "";
}

namespace detail {

inline std::size_t count_characters(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<std::uint8_t>(c) & 0xc0) != 0x80; }));
}

// Pads with spaces to `width` characters, text first.
inline void append_left(std::string& out, std::string_view text, std::size_t width) {
    out += text;
    out.append(width - std::min(width, count_characters(text)), ' ');
}

// The same, cut to `width` characters with a mark.
inline void append_left_cut(std::string& out, std::string_view text, std::size_t width) {
    if (count_characters(text) <= width) return append_left(out, text, width);
    if (width == 0) return;
    std::size_t kept = 0;
    for (std::size_t characters = 0;; ++kept) {
        const bool begins_character = (static_cast<std::uint8_t>(text[kept]) & 0xc0) != 0x80;
        if (begins_character && ++characters == width) break;
    }
    out += text.substr(0, kept);
    out += "…";
}

inline void append_right(std::string& out, std::string_view text, std::size_t width) {
    out.append(width - std::min(width, count_characters(text)), ' ');
    out += text;
}

// Terminal text of at most about `limit` bytes of input, with a mark where it was cut.
inline void append_short_text(std::string& out, std::string_view bytes, std::size_t limit) {
    const std::size_t cut = std::min(bytes.size(), limit);
    std::size_t end = cut;
    const auto is_inside_character = [&] { return (static_cast<std::uint8_t>(bytes[end]) & 0xc0) == 0x80; };
    while (end < bytes.size() && end > 0 && cut - end < 3 && is_inside_character()) --end;
    append_terminal_text(out, bytes.substr(0, end));
    if (end < bytes.size()) out += "…";
}

inline void append_value(std::string& out, const Value& value) {
    constexpr std::size_t longest = 96;
    if (const auto* text = std::get_if<std::string_view>(&value)) append_short_text(out, *text, longest);
    else if (const auto* integer = std::get_if<std::int64_t>(&value)) append_number(out, *integer);
    else if (const auto* real = std::get_if<double>(&value)) append_number(out, *real);
    else out += std::get<bool>(value) ? "true" : "false";
}

// Said by the name or the result already, or of little use to somebody who watches.
constexpr bool is_left_out(std::string_view key) {
    constexpr std::array<std::string_view, 5> prefixes = {"network.", "server.", "client.", "user_agent.", "http."};
    return key == semconv::url_scheme ||
           (key != semconv::http_request_method_original &&
            std::any_of(prefixes.begin(), prefixes.end(), [key](auto prefix) { return key.starts_with(prefix); }));
}

// Three or four digits: "640 ns", "12.3 µs", "4.56 ms", "1.23 s".
inline std::string duration_text(std::uint64_t ns) {
    std::string text;
    if (ns < 1000) {
        append_number(text, ns);
        return text + " ns";
    }
    constexpr std::array<std::string_view, 3> units = {" µs", " ms", " s"};
    std::uint64_t unit_ns = 1000;
    std::size_t unit = 0;
    for (; unit + 1 < units.size() && ns >= unit_ns * 1000; ++unit) unit_ns *= 1000;
    append_number(text, ns / unit_ns);
    const int decimals = ns < 10 * unit_ns ? 2 : ns < 100 * unit_ns ? 1 : 0;
    std::uint64_t rest = ns % unit_ns;
    if (decimals > 0) text += '.';
    for (int i = 0; i < decimals; ++i) {
        rest *= 10;
        text += static_cast<char>('0' + rest / unit_ns);
        rest %= unit_ns;
    }
    text += units[unit];
    return text;
}

// Local time of day with milliseconds.
inline void append_time_of_day(std::string& out, std::uint64_t unix_ns) {
    const auto seconds = static_cast<std::time_t>(unix_ns / 1'000'000'000);
    std::tm local{};
    localtime_r(&seconds, &local);
    const auto append_digits = [&out](std::uint64_t value, std::uint64_t divisor) {
        for (; divisor > 0; divisor /= 10) out += static_cast<char>('0' + value / divisor % 10);
    };
    append_digits(static_cast<std::uint64_t>(local.tm_hour), 10);
    out += ':';
    append_digits(static_cast<std::uint64_t>(local.tm_min), 10);
    out += ':';
    append_digits(static_cast<std::uint64_t>(local.tm_sec), 10);
    out += '.';
    append_digits(unix_ns / 1'000'000 % 1000, 100);
}

}  // namespace detail

// With `all_attributes`, also those that only repeat what the line says or tell of the connection.
inline SpanLine make_span_line(const Span& span, std::string_view service, bool all_attributes = false) {
    SpanLine line;
    line.trace = span.context.trace_id.to_hex().substr(0, 8);
    detail::append_short_text(line.service, service, 32);
    detail::append_short_text(line.name, span.name, 160);
    line.start_unix_ns = span.start_unix_ns;
    line.duration_ns = span.end_unix_ns - std::min(span.end_unix_ns, span.start_unix_ns);
    line.kind = span.kind;
    line.is_error = span.status == StatusCode::error;

    for (const Attribute& attribute : span.attributes()) {
        if (attribute.key != semconv::http_response_status_code) continue;
        detail::append_value(line.result, attribute.value);
        line.is_warning = !line.is_error && line.result.starts_with('4');
    }
    if (line.result.empty() && line.is_error) line.result = "error";
    if (line.result.empty() && span.status == StatusCode::ok) line.result = "ok";

    const auto begin_detail = [&line](std::string_view key) {
        if (!line.details.empty()) line.details += ' ';
        append_terminal_text(line.details, key);
        line.details += '=';
    };
    std::string value;
    for (const Attribute& attribute : span.attributes()) {
        if (!all_attributes && detail::is_left_out(attribute.key)) continue;
        value.clear();
        detail::append_value(value, attribute.value);
        const bool is_known = (attribute.key == semconv::url_path && line.name.ends_with(" " + value)) ||
                              (attribute.key == semconv::error_type && value == line.result);
        if (is_known && !all_attributes) continue;
        begin_detail(attribute.key);
        line.details += value;
    }
    if (!span.status_message.empty()) {
        begin_detail("message");
        detail::append_short_text(line.details, span.status_message, 160);
    }
    return line;
}

// What of a SpanLine is drawn, for views narrower than a log.
struct TreeStyle {
    bool colors = false;
    bool trace_ids = true;
    bool kinds = true;
    std::size_t service_width = 12;
    std::size_t name_width = 40;  // branches included; keeps results and details in columns
    bool cut = false;             // services and names that are longer
};

// Appends one line per span, children indented under their parents, each ended by a newline.
inline void append_tree(std::string& out, std::span<const SpanLineTrees::Node> tree, const TreeStyle& style) {
    constexpr std::uint32_t max_depth = 24;  // deeper spans are drawn at this depth
    constexpr std::string_view dim = "\x1b[2m", bold = "\x1b[1m", red = "\x1b[31m", green = "\x1b[32m",
                               yellow = "\x1b[33m", reset = "\x1b[0m";
    const auto paint = [&](std::string_view color) {
        if (style.colors) out += color;
    };
    const std::size_t least_name = style.cut ? 8 : 0;  // of deep spans too
    const auto append_cell = style.cut ? detail::append_left_cut : detail::append_left;
    std::vector<bool> more_follow;  // per depth: whether an ancestor there has younger siblings
    for (const SpanLineTrees::Node& node : tree) {
        const SpanLine& line = node.payload;
        const std::uint32_t depth = std::min(node.depth, max_depth);
        more_follow.resize(depth + 1);
        more_follow[depth] = !node.is_last_child;

        paint(dim);
        detail::append_time_of_day(out, line.start_unix_ns);
        if (style.trace_ids) {
            out += "  ";
            out += line.trace;
        }
        paint(reset);
        out += "  ";
        detail::append_right(out, detail::duration_text(line.duration_ns), 8);
        out += "  ";
        paint(dim);
        append_cell(out, line.service, style.service_width);
        if (style.kinds) {
            out += ' ';
            detail::append_left(out, to_string(line.kind), 8);
        }
        out += "  ";
        std::string branch;
        for (std::uint32_t i = 1; i < depth; ++i) branch += more_follow[i] ? "│  " : "   ";
        if (depth > 0) branch += node.is_last_child ? "└─ " : "├─ ";
        if (node.parent_is_missing) branch += "… ";
        out += branch;
        paint(reset);
        paint(depth == 0 ? bold : std::string_view());
        const std::size_t used = detail::count_characters(branch);
        const bool is_last_column = line.result.empty() && line.details.empty();
        if (is_last_column) out += line.name;
        else append_cell(out, line.name, std::max(style.name_width - std::min(used, style.name_width), least_name));
        paint(reset);
        if (!line.result.empty()) {
            out += "  ";
            paint(line.is_error ? red : line.is_warning ? yellow : green);
            out += line.result;
            paint(reset);
        }
        if (!line.details.empty()) {
            out += "  ";
            paint(line.is_error ? red : dim);
            out += line.details;
            paint(reset);
        }
        out += '\n';
    }
}

}  // namespace otel_ebpf
