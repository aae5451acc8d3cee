// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Span names and attributes of HTTP requests.
#include "test.hpp"

#include <otel_ebpf/http_semconv.hpp>

namespace oe = otel_ebpf;
namespace http = otel_ebpf::http;

TEST_CASE("http_semconv: methods") {
    for (const char* method : {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
        CHECK(http::known_method(method) == method);
    for (const char* method : {"", "get", "GETS", "PROPFIND", "_OTHER"}) CHECK(http::known_method(method) == "_OTHER");
}

TEST_CASE("http_semconv: span names") {
    oe::TextArena arena;
    CHECK(http::span_name("GET", "/items/{id}", arena) == "GET /items/{id}");
    CHECK(http::span_name("GET", "", arena) == "GET");
    CHECK(http::span_name("_OTHER", "", arena) == "HTTP");
    CHECK(http::span_name("_OTHER", "/items/{id}", arena) == "HTTP /items/{id}");
}

TEST_CASE("http_semconv: the route of a ServeMux pattern") {
    CHECK(http::route_of("/items/{id}") == "/items/{id}");
    CHECK(http::route_of("GET /items/{id}") == "/items/{id}");
    CHECK(http::route_of("GET \t /{rest...}") == "/{rest...}");
    CHECK(http::route_of("shop.example/cart/{$}") == "/cart/{$}");
    CHECK(http::route_of("POST shop.example/cart") == "/cart");
    CHECK(http::route_of("/") == "/");
    CHECK(http::route_of("") == "");
    CHECK(http::route_of("GET ") == "");
    CHECK(http::route_of("shop.example") == "");
}

TEST_CASE("http_semconv: request targets") {
    const auto check = [](std::string_view text, http::Target expected) {
        INFO(text);
        const http::Target target = http::split_target(text);
        CHECK(target.scheme == expected.scheme);
        CHECK(target.authority == expected.authority);
        CHECK(target.path == expected.path);
        CHECK(target.query == expected.query);
    };
    check("/", {"", "", "/", ""});
    check("/a/b?q=1&r=http://x", {"", "", "/a/b", "q=1&r=http://x"});
    check("//double?", {"", "", "//double", ""});
    check("*", {"", "", "*", ""});
    check("http://h:80/p?q", {"http", "h:80", "/p", "q"});
    check("https://me:pw@h?q", {"https", "h", "/", "q"});
    check("http://[::1]:80", {"http", "[::1]:80", "/", ""});
    check("shop.example:443", {"", "shop.example:443", "", ""});
    check("me@shop.example:443", {"", "shop.example:443", "", ""});
    check("", {"", "", "", ""});
}

TEST_CASE("http_semconv: secrets in a query are redacted, their keys kept") {
    oe::TextArena arena;
    const std::string_view harmless = "q=OpenTelemetry&Sig=case&signature=too&sig";
    CHECK(http::redact_query(harmless, arena).data() == harmless.data());
    CHECK(http::redact_query("", arena) == "");
    CHECK(http::redact_query("sig=abc", arena) == "sig=REDACTED");
    CHECK(http::redact_query("sig=", arena) == "sig=REDACTED");
    CHECK(http::redact_query("a=1&sig=a=b&b=2", arena) == "a=1&sig=REDACTED&b=2");
    CHECK(http::redact_query("sig=x&&sig=yyyyyyyyyyyyyyyyyyy&", arena) == "sig=REDACTED&&sig=REDACTED&");
    CHECK(http::redact_query("AWSAccessKeyId=1&Signature=2&X-Goog-Signature=3", arena) ==
          "AWSAccessKeyId=REDACTED&Signature=REDACTED&X-Goog-Signature=REDACTED");
    CHECK(http::redact_query("X-Amz-Signature=1&X-Amz-Credential=2&X-Amz-Security-Token=3&X-Amz-Date=4", arena) ==
          "X-Amz-Signature=REDACTED&X-Amz-Credential=REDACTED&X-Amz-Security-Token=REDACTED&X-Amz-Date=4");
}

TEST_CASE("http_semconv: hosts and ports") {
    const auto check = [](std::string_view text, std::string_view host, std::optional<std::uint16_t> port) {
        INFO(text);
        CHECK(http::split_host_port(text).host == host);
        CHECK(http::split_host_port(text).port == port);
    };
    check("host", "host", std::nullopt);
    check("host:80", "host", 80);
    check("host:", "host", std::nullopt);
    check("host:http", "host", std::nullopt);
    check("host:65535", "host", 65535);
    check("host:65536", "host", std::nullopt);
    check("host:99999999999999999999", "host", std::nullopt);
    check("[::1]:8080", "::1", 8080);
    check("[::1]", "::1", std::nullopt);
    check("::1", "::1", std::nullopt);
    check("[::1", "[::1", std::nullopt);
    check("", "", std::nullopt);
    check(":80", "", 80);
}

TEST_CASE("http_semconv: which status codes are errors") {
    const auto is_error = [](oe::SpanKind kind, std::uint16_t code) {
        oe::TextArena arena;
        oe::Span span(arena);
        span.kind = kind;
        http::set_status_code(span, code);
        CHECK(std::get<std::int64_t>(span.attributes()[0].value) == code);
        if (span.status != oe::StatusCode::error) return false;
        CHECK(span.attributes()[1].key == "error.type");
        CHECK(std::get<std::string_view>(span.attributes()[1].value) == std::to_string(code));
        return true;
    };
    CHECK_FALSE(is_error(oe::SpanKind::server, 200));
    CHECK_FALSE(is_error(oe::SpanKind::server, 499));
    CHECK(is_error(oe::SpanKind::server, 500));
    CHECK_FALSE(is_error(oe::SpanKind::client, 399));
    CHECK(is_error(oe::SpanKind::client, 404));
}
