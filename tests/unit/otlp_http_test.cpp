// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// OtlpHttp against a small HTTP server on loopback.
#include "http_server.hpp"
#include "test.hpp"

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <otel_ebpf/export/otlp_http.hpp>

namespace oe = otel_ebpf;
using namespace std::chrono_literals;

namespace {

std::unique_ptr<oe::OtlpHttp> open_sink(oe::OtlpHttpOptions options) {
    options.max_delay = 10ms;
    auto sink = oe::OtlpHttp::open(std::move(options));
    REQUIRE(sink);
    return std::move(*sink);
}

void write_spans(oe::Sink& sink, int batches, int spans_each = 1) {
    static const oe::Resource resource{{{"service.name", "shop"}}};
    oe::TextArena arena;
    for (int i = 0; i < batches; ++i) {
        std::vector<oe::Span> spans;
        for (int j = 0; j < spans_each; ++j) {
            oe::Span& span = spans.emplace_back(arena);
            span.context = {oe::random_trace_id(), oe::random_span_id(), 1};
            span.name = "GET /";
        }
        sink.write({resource, spans});
    }
}

int spans_in(const std::string& request) {
    const auto body = nlohmann::json::parse(request.substr(request.find("\r\n\r\n") + 4));
    int count = 0;
    for (const auto& resource : body["resourceSpans"])
        for (const auto& scope : resource["scopeSpans"]) count += static_cast<int>(scope["spans"].size());
    return count;
}

}  // namespace

TEST_CASE("otlp_http: spans arrive once, on one connection, with the headers asked for") {
    HttpServer server({response("200 OK")});
    const auto sink = open_sink({.url = server.url(), .headers = {{"x-tenant", "seven"}}});
    write_spans(*sink, 3, 5);
    REQUIRE(sink->flush(5s));
    write_spans(*sink, 1, 2);
    REQUIRE(sink->flush(5s));

    int spans = 0;
    for (const std::string& request : server.requests()) {
        CHECK(request.starts_with("POST /v1/traces HTTP/1.1\r\n"));
        CHECK(request.find("Content-Type: application/json\r\n") != std::string::npos);
        CHECK(request.find("x-tenant: seven\r\n") != std::string::npos);
        spans += spans_in(request);
    }
    CHECK(spans == 17);
    CHECK(server.connections() == 1);
    CHECK(sink->stats().spans_written == 17);
    CHECK(sink->stats().spans_dropped == 0);
    CHECK(sink->stats().last_error.empty());
}

TEST_CASE("otlp_http: 503 is tried again, 400 is not") {
    HttpServer busy({response("503 Service Unavailable"), response("429 Too Many Requests"), response("200 OK")});
    auto sink = open_sink({.url = busy.url(), .first_backoff = 10ms});
    write_spans(*sink, 1, 4);
    CHECK(sink->flush(5s));
    CHECK(busy.requests().size() == 3);
    CHECK(sink->stats().spans_written == 4);
    CHECK(sink->stats().spans_dropped == 0);

    HttpServer refusing({response("400 Bad Request", "{\"message\":\"no \x1b[31mway\"}")});
    sink = open_sink({.url = refusing.url()});
    write_spans(*sink, 1, 4);
    CHECK(sink->flush(5s));
    CHECK(refusing.requests().size() == 1);
    CHECK(sink->stats().spans_written == 0);
    CHECK(sink->stats().spans_dropped == 4);
    CHECK(sink->stats().last_error.find("400") != std::string::npos);
    CHECK(sink->stats().last_error.find('\x1b') == std::string::npos);
}

TEST_CASE("otlp_http: Retry-After is obeyed, and given up on when it is too long") {
    HttpServer server({response("503 Service Unavailable", "", "Retry-After: 1\r\n"), response("200 OK")});
    auto sink = open_sink({.url = server.url(), .first_backoff = 1ms});
    const auto begin = std::chrono::steady_clock::now();
    write_spans(*sink, 1);
    CHECK(sink->flush(10s));
    CHECK(std::chrono::steady_clock::now() - begin >= 900ms);
    CHECK(sink->stats().spans_written == 1);

    HttpServer closed({response("503 Service Unavailable", "", "Retry-After: 3600\r\n")});
    sink = open_sink({.url = closed.url()});
    write_spans(*sink, 1);
    CHECK(sink->flush(5s));
    CHECK(sink->stats().spans_dropped == 1);
}

TEST_CASE("otlp_http: partial success is counted") {
    HttpServer server(
        {response("200 OK", R"({"partialSuccess": {"rejectedSpans": "3", "errorMessage": "too \"old\""}})")});
    const auto sink = open_sink({.url = server.url()});
    write_spans(*sink, 1, 10);
    REQUIRE(sink->flush(5s));
    CHECK(sink->stats().spans_written == 7);
    CHECK(sink->stats().spans_dropped == 3);
    CHECK(sink->stats().last_error.find("too ") != std::string::npos);
}

TEST_CASE("otlp_http: no server: drops are counted and stopping takes bounded time") {
    auto sink = open_sink({.url = "http://127.0.0.1:1/v1/traces", .max_queued_spans = 10, .first_backoff = 10ms});
    write_spans(*sink, 25);
    CHECK_FALSE(sink->flush(50ms));
    CHECK(sink->stats().spans_dropped == 15);
    CHECK(sink->stats().last_error.find("127.0.0.1:1") != std::string::npos);
    const auto begin = std::chrono::steady_clock::now();
    sink.reset();
    CHECK(std::chrono::steady_clock::now() - begin < 3s);  // 0.5 s alone on a machine

    sink = open_sink({.url = "http://127.0.0.1:1/v1/traces", .first_backoff = 5ms, .give_up_after = 20ms});
    write_spans(*sink, 2);
    CHECK(sink->flush(5s));
    CHECK(sink->stats().spans_dropped == 2);
}

TEST_CASE("otlp_http: a slow server fills the queue, and what does not fit is counted") {
    HttpServer server({response("200 OK")}, 60s);
    auto sink = open_sink({.url = server.url(), .max_queued_bytes = 20'000, .max_request_bytes = 2'000});
    write_spans(*sink, 1000);
    CHECK_FALSE(sink->flush(20ms));
    const oe::SinkStats stats = sink->stats();
    CHECK(stats.spans_dropped > 0);
    CHECK(stats.spans_dropped < 1000);
    CHECK(stats.spans_written == 0);
    CHECK(stats.last_error.find("queue is full") != std::string::npos);
    const auto begin = std::chrono::steady_clock::now();
    sink.reset();
    CHECK(std::chrono::steady_clock::now() - begin < 3s);
}

TEST_CASE("otlp_http: URLs, headers and what is refused") {
    CHECK(oe::otlp_traces_url("http://c:4318") == "http://c:4318/v1/traces");
    CHECK(oe::otlp_traces_url("http://c:4318/") == "http://c:4318/v1/traces");
    CHECK(oe::otlp_traces_url("https://c/otlp/") == "https://c/otlp/v1/traces");
    CHECK(oe::otlp_traces_url("https://c/v1/traces") == "https://c/v1/traces");

    using Headers = std::vector<std::pair<std::string, std::string>>;
    CHECK(oe::detail::parse_otlp_headers("a=b, c = d%20e%3D ,junk,f=%zz%4") ==
          Headers{{"a", "b"}, {"c", "d e="}, {"f", "%zz%4"}});
    CHECK(oe::detail::parse_otlp_headers("").empty());

    CHECK_FALSE(oe::OtlpHttp::open({.url = "127.0.0.1:4318"}));
    CHECK_FALSE(oe::OtlpHttp::open({.url = "file:///etc/passwd"}));
    CHECK_FALSE(oe::OtlpHttp::open({.headers = {{"a", "b\r\nc: d"}}}));

    const auto sink = open_sink({.url = "http://me:secret@127.0.0.1:1/v1/traces", .give_up_after = 0ms});
    write_spans(*sink, 1);
    CHECK(sink->flush(5s));
    CHECK(sink->stats().last_error.find("secret") == std::string::npos);
    CHECK(sink->stats().last_error.find("//127.0.0.1:1/") != std::string::npos);
}

TEST_CASE("otlp_http: options from the environment") {
    const auto set = [](const char* name, const char* value) { REQUIRE(::setenv(name, value, 1) == 0); };
    set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1");
    set("OTEL_EXPORTER_OTLP_HEADERS", "a=b");
    set("OTEL_EXPORTER_OTLP_TIMEOUT", "1500");
    oe::OtlpHttpOptions options = oe::otlp_http_options_from_environment();
    CHECK(options.url == "http://c:1/v1/traces");
    CHECK(options.headers.size() == 1);
    CHECK(options.request_timeout == 1500ms);
    set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:2/in");
    set("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "c=d,e=f");
    options = oe::otlp_http_options_from_environment();
    CHECK(options.url == "http://t:2/in");
    CHECK(options.headers.size() == 2);
    for (const char* name : {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TIMEOUT",
                             "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"}) {
        ::unsetenv(name);
    }
    CHECK(oe::otlp_http_options_from_environment().url == "http://127.0.0.1:4318/v1/traces");
}
