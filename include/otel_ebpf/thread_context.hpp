// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The record of a thread context (OTEP 4947): decoding, and its place in a process.
//
// A record may be read only by who interrupts its thread or runs on it: here are bytes that BPF has copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/byte_source.hpp>
#include <otel_ebpf/tls_variable.hpp>
#include <otel_ebpf/trace_context.hpp>

namespace otel_ebpf {

inline constexpr std::string_view thread_context_symbol = "otel_thread_ctx_v1";
// Values of threadlocal.schema_version that name records at otel_thread_ctx_v1. Writers before the final text say the
// second one.
inline constexpr std::string_view thread_schemas[] = {"tls_v1", "tlsdesc_v1_dev"};

[[nodiscard]] constexpr bool is_thread_schema(std::string_view schema) {
    return schema == thread_schemas[0] || schema == thread_schemas[1];
}

// Key by its index in the process' key table, and value; a later entry has replaced an earlier one of the same key.
using ThreadAttributes = std::vector<std::pair<std::uint8_t, std::string>>;

// {key u8, length u8, bytes} repeated; an entry that is not whole ends them.
[[nodiscard]] inline ThreadAttributes decode_thread_attributes(std::span<const std::byte> bytes) {
    ThreadAttributes attributes;
    while (bytes.size() >= 2) {
        const auto key = std::to_integer<std::uint8_t>(bytes[0]);
        const auto size = std::to_integer<std::size_t>(bytes[1]);
        if (bytes.size() - 2 < size) break;
        std::string value(reinterpret_cast<const char*>(bytes.data()) + 2, size);
        bytes = bytes.subspan(2 + size);
        bool is_known = false;
        for (auto& [known, old] : attributes) {
            if (known != key) continue;
            old = std::move(value);
            is_known = true;
            break;
        }
        if (!is_known) attributes.emplace_back(key, std::move(value));
    }
    return attributes;
}

// With names; entries whose index is not in the table are counted in `unknown`: the table may have grown since.
[[nodiscard]] inline std::vector<std::pair<std::string, std::string>> named_attributes(
    ThreadAttributes attributes, std::span<const std::string> keys, std::uint32_t& unknown) {
    std::vector<std::pair<std::string, std::string>> named;
    for (auto& [key, value] : attributes) {
        if (key < keys.size()) named.emplace_back(keys[key], std::move(value));
        else ++unknown;
    }
    return named;
}

struct ThreadContext {
    SpanContext span;  // not valid(): the thread works for no span
    ThreadAttributes attributes;
};

inline constexpr std::size_t thread_record_bytes = 28;  // in front of the attributes

// nullopt: a record that is not valid, or not whole.
[[nodiscard]] inline std::optional<ThreadContext> decode_thread_record(std::span<const std::byte> record) {
    if (record.size() < thread_record_bytes || std::to_integer<int>(record[24]) != 1) return std::nullopt;
    ThreadContext context;
    context.span.trace_id = load<TraceId>(record, 0);
    context.span.span_id = load<SpanId>(record, 16);
    // Both ids or neither.
    if (context.span.is_valid()) context.span.flags = std::to_integer<std::uint8_t>(record[25]);
    else context.span = {};
    const std::size_t size = load<std::uint16_t>(record, 26);
    const auto rest = record.subspan(thread_record_bytes);
    context.attributes = decode_thread_attributes(rest.first(std::min(size, rest.size())));
    return context;
}

}  // namespace otel_ebpf
