// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Spans as OTLP/JSON, and JsonLines into files and pipes.
#include "test.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <otel_ebpf/export/jsonl.hpp>
#include <otel_ebpf/export/otlp_json.hpp>

namespace oe = otel_ebpf;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

const oe::Resource resource{{{"service.name", "shop"}, {"process.pid", std::int64_t{42}}}};
const oe::Scope net_http{"net/http", "1.0"};
const oe::Scope pricing{"pricing", ""};

json export_json(const std::vector<oe::Span>& spans, const oe::Resource& of = resource) {
    std::string text;
    oe::otlp::append_export_request(text, {of, spans});
    return json::parse(text);
}

oe::Span make_span(oe::TextArena& arena, const oe::Scope* scope = &net_http) {
    oe::Span span(arena);
    span.context.trace_id = *oe::TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736");
    span.context.span_id = *oe::SpanId::from_hex("00f067aa0ba902b7");
    span.context.flags = 1;
    span.name = "GET /items/{id}";
    span.kind = oe::SpanKind::server;
    span.start_unix_ns = 1'700'000'000'123'456'789;
    span.end_unix_ns = 1'700'000'000'223'456'789;
    span.scope = scope;
    return span;
}

// A temporary file name that goes away.
struct TemporaryPath {
    std::string path = "/tmp/otel_ebpf_test_" + std::to_string(::getpid()) + "_" + oe::random_span_id().to_hex();
    ~TemporaryPath() { ::unlink(path.c_str()); }
};

std::vector<std::string> lines_of(const std::string& path) {
    std::ifstream file(path);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
}

}  // namespace

TEST_CASE("otlp_json: every field of a span") {
    oe::TextArena arena;
    oe::Span span = make_span(arena);
    span.parent = *oe::SpanId::from_hex("0102030405060708");
    span.parent_is_remote = true;
    span.status = oe::StatusCode::error;
    span.status_message = "boom";
    span.set("text", "caf\xc3\xa9");
    span.set("number", std::numeric_limits<std::int64_t>::min());
    span.set("real", oe::Value(0.25));
    span.set("nan", oe::Value(std::numeric_limits<double>::quiet_NaN()));
    span.set("infinity", oe::Value(-std::numeric_limits<double>::infinity()));
    span.set("yes", true);
    span.dropped_attributes = 3;

    CHECK(export_json({span}) == json::parse(R"({"resourceSpans":[{
        "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}},
                                  {"key":"process.pid","value":{"intValue":"42"}}]},
        "scopeSpans":[{"scope":{"name":"net/http","version":"1.0"},"spans":[{
            "traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","parentSpanId":"0102030405060708",
            "flags":769,"name":"GET /items/{id}","kind":2,
            "startTimeUnixNano":"1700000000123456789","endTimeUnixNano":"1700000000223456789",
            "attributes":[{"key":"text","value":{"stringValue":"café"}},
                          {"key":"number","value":{"intValue":"-9223372036854775808"}},
                          {"key":"real","value":{"doubleValue":0.25}},
                          {"key":"nan","value":{"doubleValue":"NaN"}},
                          {"key":"infinity","value":{"doubleValue":"-Infinity"}},
                          {"key":"yes","value":{"boolValue":true}}],
            "droppedAttributesCount":3,"status":{"message":"boom","code":2}}]}]}]})"));
}

TEST_CASE("otlp_json: a root without anything optional") {
    oe::TextArena arena;
    oe::Span span = make_span(arena, nullptr);
    span.context.flags = 0;
    CHECK(export_json({span}, oe::Resource{}) == json::parse(R"({"resourceSpans":[{"resource":{"attributes":[]},
        "scopeSpans":[{"scope":{},"spans":[{
            "traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","flags":256,
            "name":"GET /items/{id}","kind":2,
            "startTimeUnixNano":"1700000000123456789","endTimeUnixNano":"1700000000223456789","status":{}}]}]}]})"));
    CHECK(export_json({}, oe::Resource{})["resourceSpans"][0]["scopeSpans"].empty());
}

TEST_CASE("otlp_json: consecutive spans of a scope share a group") {
    oe::TextArena arena;
    std::vector<oe::Span> spans;
    for (const oe::Scope* scope : {&net_http, &net_http, &pricing, static_cast<const oe::Scope*>(nullptr), &net_http})
        spans.push_back(make_span(arena, scope));
    const json scopes = export_json(spans)["resourceSpans"][0]["scopeSpans"];
    REQUIRE(scopes.size() == 4);
    CHECK(scopes[0]["spans"].size() == 2);
    CHECK(scopes[1]["scope"] == json::parse(R"({"name":"pricing"})"));
    CHECK(scopes[2]["scope"].empty());
    CHECK(scopes[3]["spans"].size() == 1);
}

TEST_CASE("otlp_json: random bytes in every text field give valid JSON without control bytes") {
    std::mt19937 random(7);
    const auto bytes = [&random](oe::TextArena& arena) {
        std::string text(random() % 40, '\0');
        for (char& c : text) c = static_cast<char>(random());
        return arena.copy(text);
    };
    for (int round = 0; round < 500; ++round) {
        oe::TextArena arena;
        const oe::Scope scope{std::string(bytes(arena)), std::string(bytes(arena))};
        oe::Span span = make_span(arena, &scope);
        span.name = bytes(arena);
        span.status_message = bytes(arena);
        for (int i = 0; i < 4; ++i) span.set(bytes(arena), bytes(arena));
        std::string text;
        oe::otlp::append_export_request(
            text, {oe::Resource{{{std::string(bytes(arena)), std::string(bytes(arena))}}}, std::span(&span, 1)});
        const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
        REQUIRE(std::none_of(text.begin(), text.end(), is_control));
        REQUIRE_NOTHROW(json::parse(text));
    }
}

TEST_CASE("jsonl: appends one request per line") {
    const TemporaryPath file;
    oe::TextArena arena;
    const std::vector<oe::Span> spans = {make_span(arena), make_span(arena)};
    for (int run = 0; run < 2; ++run) {
        auto sink = oe::JsonLines::open(file.path);
        REQUIRE(sink);
        (*sink)->write({resource, spans});
        (*sink)->write({resource, {}});
        (*sink)->write({resource, std::span(spans).first(1)});
        CHECK((*sink)->flush(1s));
        CHECK((*sink)->stats().spans_written == 3);
    }
    const std::vector<std::string> lines = lines_of(file.path);
    REQUIRE(lines.size() == 4);
    for (const std::string& line : lines) CHECK(json::parse(line).contains("resourceSpans"));
}

TEST_CASE("jsonl: a path that cannot be opened is an error") {
    const auto sink = oe::JsonLines::open("/nonexistent/folder/spans.jsonl");
    REQUIRE_FALSE(sink);
    CHECK(sink.error().what == "open /nonexistent/folder/spans.jsonl for spans: No such file or directory");
}

TEST_CASE("jsonl: a full disk costs counted spans, and lines stay whole") {
    oe::TextArena arena;
    const oe::Span span = make_span(arena);
    auto full = oe::JsonLines::open("/dev/full");
    REQUIRE(full);
    for (int i = 0; i < 1000; ++i) (*full)->write({resource, std::span(&span, 1)});
    (*full)->flush(1s);
    CHECK((*full)->stats().spans_written == 0);
    CHECK((*full)->stats().spans_dropped == 1000);
    CHECK((*full)->stats().last_error == "write to /dev/full: No space left on device");

    // A file size limit cuts a line in two; after it is lifted the line is finished.
    const TemporaryPath file;
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const auto previous = std::signal(SIGXFSZ, SIG_IGN);
    auto sink = oe::JsonLines::open(file.path);
    REQUIRE(sink);
    const rlimit small{1000, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    for (int i = 0; i < 100; ++i) (*sink)->write({resource, std::span(&span, 1)});
    (*sink)->flush(0ms);
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
    for (int i = 0; i < 10; ++i) (*sink)->write({resource, std::span(&span, 1)});
    CHECK((*sink)->flush(1s));
    std::signal(SIGXFSZ, previous);

    const oe::SinkStats stats = (*sink)->stats();
    CHECK(stats.spans_dropped > 0);
    CHECK(stats.spans_written + stats.spans_dropped == 110);
    const std::vector<std::string> lines = lines_of(file.path);
    CHECK(lines.size() == stats.spans_written);
    for (const std::string& line : lines) CHECK_NOTHROW(json::parse(line));
}

TEST_CASE("jsonl: a slow reader never blocks the writer, a closed pipe never kills it") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    oe::Fd reader(ends[0]);
    oe::JsonLines sink(oe::detail::Output(oe::Fd(ends[1]), "a pipe"));
    oe::TextArena arena;
    const oe::Span span = make_span(arena);
    constexpr std::uint64_t written = 30'000;  // some 15 MB of lines into a pipe of 64 KiB
    for (std::uint64_t i = 0; i < written; ++i) sink.write({resource, std::span(&span, 1)});
    CHECK_FALSE(sink.flush(10ms));
    CHECK(sink.stats().spans_written > 0);
    CHECK(sink.stats().spans_dropped > 0);
    CHECK(sink.stats().last_error == "write to a pipe: the reader is too slow");

    reader.reset();
    CHECK(sink.flush(10ms));
    CHECK(sink.stats().spans_written + sink.stats().spans_dropped == written);
    CHECK(sink.stats().last_error == "write to a pipe: Broken pipe");
}
