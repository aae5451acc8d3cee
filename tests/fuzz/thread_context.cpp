// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Any bytes as the record of a thread context; as pprof labels that BPF filled from a target's memory.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <otel_ebpf/go/labels.hpp>
#include <otel_ebpf/thread_context.hpp>

namespace oe = otel_ebpf;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    if (const auto context = oe::decode_thread_record(bytes)) {
        if (context->span.trace_id.is_zero() != context->span.span_id.is_zero()) __builtin_trap();
        std::size_t total = 0;
        for (const auto& [key, value] : context->attributes) total += 2 + value.size();
        if (total > size) __builtin_trap();
        const std::string keys[] = {"a", "b"};
        std::uint32_t unknown = 0;
        const auto named = oe::named_attributes(context->attributes, keys, unknown);
        if (named.size() + unknown != context->attributes.size()) __builtin_trap();
    }
    oe_go_labels raw{};
    std::memcpy(&raw, data, size < sizeof(raw) ? size : sizeof(raw));
    for (const auto& [key, value] : oe::go::decode_labels(raw).pairs)
        if (!oe::go::is_utf8(key) || !oe::go::is_utf8(value)) __builtin_trap();
    return 0;
}
