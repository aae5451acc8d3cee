// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// How HTTP requests become span names and attributes: pure functions, after
// https://github.com/open-telemetry/semantic-conventions/blob/v1.43.0/docs/http/http-spans.md.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

#include <otel_ebpf/semconv.hpp>
#include <otel_ebpf/span.hpp>

namespace otel_ebpf::http {

// The method when it is one of those that the conventions know (case matters), else semconv::method_other; then the
// original belongs into http.request.method_original.
constexpr std::string_view known_method(std::string_view method) {
    constexpr std::array<std::string_view, 10> known = {"GET",     "HEAD",    "POST",  "PUT",   "DELETE",
                                                        "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"};
    return std::find(known.begin(), known.end(), method) != known.end() ? method : semconv::method_other;
}

// "{method} {route}", or "{method}" without a route; `method` as known_method() gave it, "_OTHER" reads "HTTP".
inline std::string_view span_name(std::string_view method, std::string_view route, TextArena& arena) {
    if (method == semconv::method_other) method = "HTTP";
    if (route.empty()) return method;
    char* const name = arena.allocate(method.size() + 1 + route.size());
    char* end = std::copy(method.begin(), method.end(), name);
    *end++ = ' ';
    end = std::copy(route.begin(), route.end(), end);
    return {name, static_cast<std::size_t>(end - name)};
}

// The path of a Go 1.22 ServeMux pattern "[METHOD ][HOST]/[PATH]"; empty when there is none.
constexpr std::string_view route_of(std::string_view pattern) {
    pattern.remove_prefix(std::min(pattern.find_first_of(" \t") + 1, pattern.size()));
    const std::size_t slash = pattern.find('/');
    return slash == std::string_view::npos ? std::string_view() : pattern.substr(slash);
}

struct Target {
    std::string_view scheme;     // absolute-form only
    std::string_view authority;  // absolute-form and authority-form; without user information
    std::string_view path;       // "*" for asterisk-form; empty for authority-form
    std::string_view query;      // without '?'
};

// Splits a request-target in any form of RFC 9112, 3.2.
constexpr Target split_target(std::string_view request_target) {
    constexpr auto without_userinfo = [](std::string_view authority) {
        return authority.substr(authority.rfind('@') + 1);  // npos + 1 == 0
    };
    Target target;
    std::string_view rest = request_target;
    if (rest == "*") {
        target.path = rest;
        return target;
    }
    if (!rest.starts_with('/')) {
        const std::size_t colon = rest.find("://");
        if (colon == std::string_view::npos || rest.find_first_of("/?") < colon) {
            target.authority = without_userinfo(rest.substr(0, rest.find_first_of("/?")));
            return target;
        }
        target.scheme = rest.substr(0, colon);
        rest.remove_prefix(colon + 3);
        const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
        target.authority = without_userinfo(rest.substr(0, end));
        rest.remove_prefix(end);
    }
    const std::size_t question = rest.find('?');
    target.path = rest.substr(0, question);
    if (target.path.empty()) target.path = "/";  // RFC 9110, 4.2.3
    if (question != std::string_view::npos) target.query = rest.substr(question + 1);
    return target;
}

// Keys whose values are secrets. The list of 1.43.0 and, first, two that other versions of the conventions name.
inline constexpr std::array<std::string_view, 7> secret_query_keys = {
    "AWSAccessKeyId",       "Signature", "X-Amz-Signature", "X-Amz-Credential",
    "X-Amz-Security-Token", "sig",       "X-Goog-Signature"};

namespace detail {

struct QueryParameter {
    std::string_view key;
    std::string_view value;
    bool has_value = false;
};

// Takes the first "key[=value]" off `query`, and the '&' behind it.
constexpr QueryParameter take_parameter(std::string_view& query) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view parameter = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const std::size_t equals = parameter.find('=');
    if (equals == std::string_view::npos) return {parameter, {}, false};
    return {parameter.substr(0, equals), parameter.substr(equals + 1), true};
}

constexpr bool is_secret(const QueryParameter& parameter) {
    return parameter.has_value &&
           std::find(secret_query_keys.begin(), secret_query_keys.end(), parameter.key) != secret_query_keys.end();
}

}  // namespace detail

// `query` with the values of secret_query_keys replaced by REDACTED: the same view when there are none, else text in
// `arena`.
inline std::string_view redact_query(std::string_view query, TextArena& arena) {
    constexpr std::string_view redacted = "REDACTED";
    std::size_t secrets = 0;
    std::size_t secret_bytes = 0;
    for (std::string_view rest = query; !rest.empty();) {
        const detail::QueryParameter parameter = detail::take_parameter(rest);
        if (!detail::is_secret(parameter)) continue;
        ++secrets;
        secret_bytes += parameter.value.size();
    }
    if (secrets == 0) return query;

    char* const text = arena.allocate(query.size() - secret_bytes + secrets * redacted.size());
    char* end = text;
    std::string_view rest = query;
    while (!rest.empty()) {
        const char* const begin = rest.data();
        const detail::QueryParameter parameter = detail::take_parameter(rest);
        const char* const next = rest.empty() ? query.data() + query.size() : rest.data();
        if (detail::is_secret(parameter)) {
            end = std::copy(begin, parameter.value.data(), end);
            end = std::copy(redacted.begin(), redacted.end(), end);
            end = std::copy(parameter.value.data() + parameter.value.size(), next, end);
        } else {
            end = std::copy(begin, next, end);
        }
    }
    return {text, static_cast<std::size_t>(end - text)};
}

struct HostPort {
    std::string_view host;  // IPv6 addresses without brackets
    std::optional<std::uint16_t> port;
};

// Splits "host", "host:port", "[::1]:8080", "[::1]" and a bare "::1". A port that is not a number is left out.
constexpr HostPort split_host_port(std::string_view text) {
    constexpr auto to_port = [](std::string_view digits) -> std::optional<std::uint16_t> {
        std::uint32_t port = 0;
        for (const char c : digits) {
            if (c < '0' || c > '9' || port > 0xffff) return std::nullopt;
            port = port * 10 + static_cast<std::uint32_t>(c - '0');
        }
        if (digits.empty() || port > 0xffff) return std::nullopt;
        return static_cast<std::uint16_t>(port);
    };
    if (text.starts_with('[')) {
        const std::size_t close = text.find(']');
        if (close == std::string_view::npos) return {text, std::nullopt};
        const std::string_view behind = text.substr(close + 1);
        return {text.substr(1, close - 1), behind.starts_with(':') ? to_port(behind.substr(1)) : std::nullopt};
    }
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos || text.find(':', colon + 1) != std::string_view::npos) {
        return {text, std::nullopt};
    }
    return {text.substr(0, colon), to_port(text.substr(colon + 1))};
}

// Sets http.response.status_code and, for what the conventions call an error (from 500 on for servers, from 400 on for
// everybody else), the span's status and error.type.
inline void set_status_code(Span& span, std::uint16_t code) {
    span.set(semconv::http_response_status_code, std::int64_t{code});
    if (code < (span.kind == SpanKind::server ? 500 : 400)) return;
    std::array<char, 5> digits;
    const char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), code).ptr;
    span.status = StatusCode::error;
    span.set(semconv::error_type, span.arena().copy({digits.data(), static_cast<std::size_t>(end - digits.data())}));
}

}  // namespace otel_ebpf::http
