// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Sends spans of every shape to a Collector and writes the same as JSON lines: post_spans URL FILE
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include <otel_ebpf/export/jsonl.hpp>
#include <otel_ebpf/export/otlp_http.hpp>

namespace oe = otel_ebpf;

namespace {

oe::Span make_span(oe::TextArena& arena, unsigned i) {
    static const oe::Scope net_http{"net/http", "0.1.0"};
    static const oe::Scope pricing{"pricing", ""};
    oe::Span span(arena);
    span.context = {oe::random_trace_id(), oe::random_span_id(), static_cast<std::uint8_t>(i % 2)};
    if (i % 3 != 0) span.parent = oe::random_span_id();
    span.parent_is_remote = i % 3 == 2;
    span.kind = static_cast<oe::SpanKind>(i % 6);
    span.status = static_cast<oe::StatusCode>(i / 2 % 3);
    if (span.status == oe::StatusCode::error) span.status_message = "no \xff way \x1b";
    span.name = arena.copy("GET /" + std::string(1, static_cast<char>(i)));
    span.start_unix_ns = 1'760'000'000'123'456'789 + i;
    span.end_unix_ns = span.start_unix_ns + i * 1000;
    span.scope = i % 50 < 25 ? &net_http : &pricing;
    if (i % 4 == 0) return span;
    span.set("text", "caf\xc3\xa9 \"\\/");
    span.set("bytes", arena.copy(std::string("\0\xff\x80\xc2\x9b"
                                             "31m\n",
                                             9)));
    span.set("integer", -std::int64_t{i});
    span.set("real", oe::Value(i / 7.0));
    span.set("yes", i % 8 == 1);
    span.set("empty", "");
    span.dropped_attributes = i % 5;
    return span;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    auto server = oe::OtlpHttp::open({.url = oe::otlp_traces_url(argv[1])});
    auto file = oe::JsonLines::open(argv[2]);
    if (!server || !file) {
        std::fprintf(stderr, "%s\n", (server ? file.error() : server.error()).what.c_str());
        return 1;
    }
    const oe::Resource resource{
        {{"service.name", "shop"}, {"process.pid", std::int64_t{42}}, {"cgo", false}, {"load", 0.5}}};
    for (unsigned batch = 0; batch < 3; ++batch) {
        oe::TextArena arena;
        std::vector<oe::Span> spans;
        for (unsigned i = 0; i < 85; ++i) spans.push_back(make_span(arena, batch * 85 + i));
        (*server)->write({resource, spans});
        (*file)->write({resource, spans});
    }
    const bool done = (*server)->flush(std::chrono::seconds(10)) && (*file)->flush(std::chrono::seconds(1));
    const oe::SinkStats stats = (*server)->stats();
    std::printf("%lu spans accepted, %lu dropped %s\n", static_cast<unsigned long>(stats.spans_written),
                static_cast<unsigned long>(stats.spans_dropped), stats.last_error.c_str());
    return done && stats.spans_dropped == 0 ? 0 : 1;
}
