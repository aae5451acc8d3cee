// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Spans as OTLP/JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): ids in hex, enumerations as
// numbers, 64-bit integers as strings.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include <otel_ebpf/export/text.hpp>
#include <otel_ebpf/span.hpp>

namespace otel_ebpf::otlp {

// Bits of Span.flags above the W3C byte. opentelemetry-proto 1.11, trace/v1/trace.proto, SpanFlags
inline constexpr std::uint32_t flag_has_is_remote = 0x100;
inline constexpr std::uint32_t flag_is_remote = 0x200;

namespace detail {

template <class Value>
void append_any_value(std::string& out, const Value& value) {
    std::visit(
        [&out](const auto& held) {
            using T = std::remove_cvref_t<decltype(held)>;
            if constexpr (std::is_same_v<T, bool>) {
                out += held ? R"({"boolValue":true})" : R"({"boolValue":false})";
            } else if constexpr (std::is_same_v<T, std::int64_t>) {
                out += R"({"intValue":")";
                append_number(out, held);
                out += "\"}";
            } else if constexpr (std::is_same_v<T, double>) {
                out += R"({"doubleValue":)";
                // https://protobuf.dev/programming-guides/json/: what JSON has no number for is a string
                if (std::isfinite(held)) append_number(out, held);
                else out += std::isnan(held) ? R"("NaN")" : held > 0 ? R"("Infinity")" : R"("-Infinity")";
                out += '}';
            } else {
                out += R"({"stringValue":)";
                append_json_string(out, held);
                out += '}';
            }
        },
        value);
}

template <class Value>
void append_attribute(std::string& out, std::string_view key, const Value& value) {
    out += R"({"key":)";
    append_json_string(out, key);
    out += R"(,"value":)";
    append_any_value(out, value);
    out += "},";
}

// Ends a list whose every element was written with a comma behind it.
inline void close_list(std::string& out) {
    if (out.back() == ',') out.back() = ']';
    else out += ']';
}

template <std::size_t Size>
void append_id(std::string& out, const Id<Size>& id) {
    std::array<char, 2 * Size> text;
    id.to_hex(text);
    out.append(text.data(), text.size());
}

inline void append_span(std::string& out, const Span& span) {
    out += R"({"traceId":")";
    append_id(out, span.context.trace_id);
    out += R"(","spanId":")";
    append_id(out, span.context.span_id);
    if (!span.parent.is_zero()) {
        out += R"(","parentSpanId":")";
        append_id(out, span.parent);
    }
    out += R"(","flags":)";
    append_number(out, span.context.flags | flag_has_is_remote | (span.parent_is_remote ? flag_is_remote : 0));
    out += R"(,"name":)";
    append_json_string(out, span.name);
    out += R"(,"kind":)";
    append_number(out, static_cast<std::uint32_t>(span.kind));
    out += R"(,"startTimeUnixNano":")";
    append_number(out, span.start_unix_ns);
    out += R"(","endTimeUnixNano":")";
    append_number(out, span.end_unix_ns);
    out += '"';
    if (!span.attributes().empty()) {
        out += R"(,"attributes":[)";
        for (const Attribute& attribute : span.attributes()) append_attribute(out, attribute.key, attribute.value);
        close_list(out);
    }
    if (span.dropped_attributes != 0) {
        out += R"(,"droppedAttributesCount":)";
        append_number(out, span.dropped_attributes);
    }
    out += R"(,"status":{)";
    if (!span.status_message.empty()) {
        out += R"("message":)";
        append_json_string(out, span.status_message);
        if (span.status != StatusCode::unset) out += ',';
    }
    if (span.status != StatusCode::unset) {
        out += R"("code":)";
        append_number(out, static_cast<std::uint32_t>(span.status));
    }
    out += "}},";
}

inline void append_scope(std::string& out, const Scope* scope) {
    out += R"({"scope":{)";
    if (scope != nullptr) {
        out += R"("name":)";
        append_json_string(out, scope->name);
        if (!scope->version.empty()) {
            out += R"(,"version":)";
            append_json_string(out, scope->version);
        }
    }
    out += R"(},"spans":[)";
}

}  // namespace detail

// Appends one ResourceSpans object.
inline void append_resource_spans(std::string& out, const SpanBatch& batch) {
    out += R"({"resource":{"attributes":[)";
    for (const auto& [key, value] : batch.resource.attributes) detail::append_attribute(out, key, value);
    detail::close_list(out);
    out += R"(},"scopeSpans":[)";
    const Scope* scope = nullptr;
    for (const Span& span : batch.spans) {
        if (&span == batch.spans.data() || span.scope != scope) {
            if (&span != batch.spans.data()) {
                detail::close_list(out);
                out += "},";
            }
            scope = span.scope;
            detail::append_scope(out, scope);
        }
        detail::append_span(out, span);
    }
    if (!batch.spans.empty()) {
        detail::close_list(out);
        out += '}';
    }
    out += "]}";
}

// What surrounds ResourceSpans objects, separated by commas, in an ExportTraceServiceRequest.
inline constexpr std::string_view export_request_begin = R"({"resourceSpans":[)";
inline constexpr std::string_view export_request_end = "]}";

// Appends a whole ExportTraceServiceRequest, without a newline.
inline void append_export_request(std::string& out, const SpanBatch& batch) {
    out += export_request_begin;
    append_resource_spans(out, batch);
    out += export_request_end;
}

}  // namespace otel_ebpf::otlp
