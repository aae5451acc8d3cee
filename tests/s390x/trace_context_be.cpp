// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The shared traceparent vectors on a big-endian machine, in C++ and in host-compiled BPF C; no test framework, so
// that a bare cross compiler and qemu-user suffice. Exit status 1 on a mismatch.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include <otel_ebpf/trace_context.hpp>

#define OE_PRANDOM_U32() 0x01020304U
#include <otel_ebpf/traceparent.bpf.h>

#include "../vectors/traceparent.h"

namespace {

int mismatches = 0;

void expect(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "mismatch: %s\n", what);
    ++mismatches;
}

oe_trace_ctx expected_context(std::uint8_t flags) {
    oe_trace_ctx context{};
    std::memcpy(context.trace_id, traceparent_vector_trace_id, sizeof context.trace_id);
    std::memcpy(context.span_id, traceparent_vector_span_id, sizeof context.span_id);
    context.flags = flags;
    return context;
}

void check_parsing(const traceparent_vector& vector) {
    const oe_trace_ctx expected = vector.error == nullptr ? expected_context(vector.flags) : oe_trace_ctx{};

    char text[OE_TRACEPARENT_BUF] = {};
    std::memcpy(text, vector.text, std::min(vector.size_bytes, sizeof text));
    oe_trace_ctx parsed;
    std::memset(&parsed, 0xee, sizeof parsed);
    const int err = oe_traceparent_parse(&parsed, text, static_cast<__u32>(vector.size_bytes));
    expect(err == (vector.error == nullptr ? 0 : -EINVAL), vector.what);
    expect(std::memcmp(&parsed, &expected, sizeof parsed) == 0, vector.what);

    const auto context = otel_ebpf::parse_traceparent({vector.text, vector.size_bytes});
    expect(context.has_value() == (vector.error == nullptr), vector.what);
    if (context) {
        const oe_trace_ctx converted = otel_ebpf::to_trace_ctx(*context);
        expect(std::memcmp(&converted, &expected, sizeof converted) == 0, vector.what);
    } else {
        expect(otel_ebpf::to_string(context.error()) == vector.error, vector.what);
    }
}

void check_writing(std::uint8_t flags, const char* expected) {
    const oe_trace_ctx context = expected_context(flags);
    char text[OE_TRACEPARENT_LEN];
    oe_traceparent_write(text, &context);
    expect(std::memcmp(text, expected, sizeof text) == 0, expected);
    const auto formatted = otel_ebpf::format_traceparent(otel_ebpf::to_span_context(context));
    expect(std::memcmp(formatted.data(), expected, formatted.size()) == 0, expected);
}

}  // namespace

int main() {
    for (const traceparent_vector& vector : traceparent_vectors) check_parsing(vector);
    for (const auto& written : traceparent_written) check_writing(written.flags, written.text);

    __u8 id[16] = {};
    oe_random_id16(id);
    expect(!otel_ebpf::TraceId::from_bytes(id).is_zero(), "random trace id in BPF C");
    expect(!otel_ebpf::random_trace_id().is_zero(), "random trace id in C++");

    if (mismatches == 0) std::puts("all vectors match");
    return mismatches == 0 ? 0 : 1;
}
