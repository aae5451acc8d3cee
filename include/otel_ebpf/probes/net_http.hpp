// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Probe of Go's net/http: server spans for HTTP/1 and HTTP/2. The .bpf.c includes probes/net_http.programs.h.
//
// Not seen: what never reaches serverHandler.ServeHTTP (requests that the server itself refuses as malformed).
#pragma once

#include <charconv>
#include <cstdint>
#include <string_view>

#include <otel_ebpf/http_semconv.hpp>
#include <otel_ebpf/probe.hpp>
#include <otel_ebpf/probes/net_http.bpf.h>
#include <otel_ebpf/semconv.hpp>
#include <otel_ebpf/span.hpp>

namespace otel_ebpf::probes::net_http {

using Event = oe_http_server_event;

namespace detail {

// The texts behind the fixed part of a record, in the order in which the BPF side appends them.
struct Texts {
    std::string_view method, target, host, peer, user_agent, pattern;

    explicit Texts(const Event& event) {
        std::string_view rest = tail_of(event);
        const auto take = [&rest](std::size_t length) {
            const std::string_view text = rest.substr(0, length);
            rest.remove_prefix(text.size());
            return text;
        };
        peer = take(event.peer_len);
        method = take(event.method_len);
        take(event.joined);
        target = take(event.target_len);
        host = take(event.host_len);
        user_agent = take(event.user_agent_len);
        pattern = take(event.route_len);
    }
};

inline void set_address(Span& span, std::string_view address_key, std::string_view port_key, std::string_view text) {
    if (text.empty()) return;
    const http::HostPort address = http::split_host_port(text);
    span.set(address_key, address.host);
    if (address.port) span.set(port_key, std::int64_t{*address.port});
}

inline void set_protocol_version(Span& span, const Event& event) {
    if (event.proto_major == 0) return;
    if (event.proto_major == 1 && event.proto_minor == 1) return span.set(semconv::network_protocol_version, "1.1");
    if (event.proto_major == 2) return span.set(semconv::network_protocol_version, "2");
    char text[8];
    char* end = std::to_chars(text, text + 3, event.proto_major).ptr;
    *end++ = '.';
    end = std::to_chars(end, text + sizeof(text), event.proto_minor).ptr;
    span.set(semconv::network_protocol_version, span.arena().copy({text, static_cast<std::size_t>(end - text)}));
}

inline void set_outcome(Span& span, const Event& event) {
    if (event.status != 0) http::set_status_code(span, event.status);
    if (event.outcome != OE_HTTP_ABORTED) return;
    span.status = StatusCode::error;
    span.status_message = "the handler panicked or ended its goroutine";
    if (event.status < 500) span.set(semconv::error_type, "panic");
}

}  // namespace detail

// Attributes after the HTTP semantic conventions; what was cut is named in otel_ebpf.truncated.
inline bool to_span(const Event& event, const ProcessInfo&, Span& span) {
    const detail::Texts texts(event);
    if (texts.method.empty() && event.method_len != 0) return false;

    const std::string_view method = http::known_method(texts.method);
    const std::string_view route = http::route_of(texts.pattern);
    span.name = http::span_name(method, route, span.arena());
    span.set(semconv::http_request_method, method);
    if (method == semconv::method_other && !texts.method.empty())
        span.set(semconv::http_request_method_original, texts.method);

    const http::Target target = http::split_target(texts.target);
    span.set(semconv::url_scheme, event.tls != 0 ? "https" : "http");
    if (!target.path.empty()) span.set(semconv::url_path, target.path);
    if (!target.query.empty()) span.set(semconv::url_query, http::redact_query(target.query, span.arena()));
    if (!route.empty()) span.set(semconv::http_route, route);
    detail::set_outcome(span, event);

    detail::set_address(span, semconv::server_address, semconv::server_port, texts.host);
    detail::set_address(span, semconv::network_peer_address, semconv::network_peer_port, texts.peer);
    if (!texts.peer.empty()) span.set(semconv::client_address, http::split_host_port(texts.peer).host);
    detail::set_protocol_version(span, event);
    if (!texts.user_agent.empty()) span.set(semconv::user_agent_original, texts.user_agent);
    if (event.request_body_bytes > 0)
        span.set(semconv::http_request_body_size, std::int64_t{event.request_body_bytes});
    if (event.response_body_bytes > 0)
        span.set(semconv::http_response_body_size, static_cast<std::int64_t>(event.response_body_bytes));
    if (event.outcome == OE_HTTP_HIJACKED) span.set("otel_ebpf.hijacked", true);
    return true;
}

template <class S>
concept bpf_file_includes_net_http_programs = Skeleton<S> && requires {
    &Progs<S>::oe_http_start;
    &Progs<S>::oe_http_end;
};

template <Skeleton S>
inline constexpr Uprobe<S> server_uprobes[] = {
    {.symbol = "net/http.serverHandler.ServeHTTP",
     .run = &Progs<S>::oe_http_start,
     .live_registers = args(2, 3),  // (serverHandler{srv}, ResponseWriter{itab, data}, *Request)
     .rate = Rate::per_request},
    {.symbol = "net/http.(*response).finishRequest",
     .at = Site::next_call,
     .run = &Progs<S>::oe_http_end,
     .rate = Rate::per_request_h1},
    {.symbol = "net/http.(*conn).serve.func1",
     .at = Site::next_call,
     .run = &Progs<S>::oe_http_conn_end,
     .rate = Rate::per_connection},
    {.symbol = "net/http.(*ServeMux).ServeHTTP",
     .at = Site::after_call,
     .run = &Progs<S>::oe_http_route,
     .callee = "net/http.(*ServeMux).findHandler",
     .live_registers = results(2, 3),  // (Handler{itab, data}, pattern{ptr, len}, ...)
     .go = from_version(1, 22),
     .group = "route",
     .option = "route_site",
     .rate = Rate::per_request},
    {.symbol = "net/http.(*http2serverConn).runHandler.func1",
     .at = Site::next_call,
     .run = &Progs<S>::oe_http2_end,
     .go = below_version(1, 27),
     .group = "http2",
     .rate = Rate::per_request_h2},
    {.symbol = "net/http/internal/http2.(*serverConn).runHandler.func1",
     .at = Site::next_call,
     .run = &Progs<S>::oe_http2_end,
     .go = from_version(1, 27),
     .group = "http2",
     .rate = Rate::per_request_h2},
    {.symbol = "golang.org/x/net/http2.(*serverConn).runHandler.func1",
     .at = Site::next_call,
     .run = &Progs<S>::oe_http2_x_end,
     .group = "http2_x_net",
     .required = false,
     .rate = Rate::per_request_h2},
};

template <Skeleton S>
inline constexpr Fact<S> server_facts[] = {
    {&Rodata<S>::oe_f_request_method, offset_of("std", "net/http", "Request", "Method")},
    {&Rodata<S>::oe_f_request_request_uri, offset_of("std", "net/http", "Request", "RequestURI")},
    {&Rodata<S>::oe_f_request_header, offset_of("std", "net/http", "Request", "Header")},
    {&Rodata<S>::oe_f_request_proto_major, offset_of("std", "net/http", "Request", "ProtoMajor")},
    {&Rodata<S>::oe_f_request_proto_minor, offset_of("std", "net/http", "Request", "ProtoMinor"), false},
    {&Rodata<S>::oe_f_request_content_length, offset_of("std", "net/http", "Request", "ContentLength"), false},
    {&Rodata<S>::oe_f_request_host, offset_of("std", "net/http", "Request", "Host"), false},
    {&Rodata<S>::oe_f_request_remote_addr, offset_of("std", "net/http", "Request", "RemoteAddr"), false},
    {&Rodata<S>::oe_f_request_tls, offset_of("std", "net/http", "Request", "TLS"), false},
    {&Rodata<S>::oe_f_request_pattern, offset_of("std", "net/http", "Request", "Pattern"), false, from_version(1, 23)},
    {&Rodata<S>::oe_f_response_status, offset_of("std", "net/http", "response", "status")},
    {&Rodata<S>::oe_f_response_written, offset_of("std", "net/http", "response", "written"), false},
    {&Rodata<S>::oe_f_http2_rws, offset_of("std", "net/http", "http2responseWriter", "rws"), false,
     below_version(1, 27)},
    {&Rodata<S>::oe_f_http2_rws, offset_of("std", "net/http/internal/http2", "responseWriter", "rws"), false,
     from_version(1, 27)},
    {&Rodata<S>::oe_f_http2_rws_status, offset_of("std", "net/http", "http2responseWriterState", "status"), false,
     below_version(1, 27)},
    {&Rodata<S>::oe_f_http2_rws_status,
     offset_of("std", "net/http/internal/http2", "responseWriterState", "status"), false, from_version(1, 27)},
    {&Rodata<S>::oe_f_http2_rws_wrote_bytes, offset_of("std", "net/http", "http2responseWriterState", "wroteBytes"),
     false, below_version(1, 27)},
    {&Rodata<S>::oe_f_http2_rws_wrote_bytes,
     offset_of("std", "net/http/internal/http2", "responseWriterState", "wroteBytes"), false, from_version(1, 27)},
    {&Rodata<S>::oe_f_http2_x_rws,
     offset_of("golang.org/x/net", "golang.org/x/net/http2", "responseWriter", "rws"), false},
    {&Rodata<S>::oe_f_http2_x_rws_status,
     offset_of("golang.org/x/net", "golang.org/x/net/http2", "responseWriterState", "status"), false},
    {&Rodata<S>::oe_f_http2_x_rws_wrote_bytes,
     offset_of("golang.org/x/net", "golang.org/x/net/http2", "responseWriterState", "wroteBytes"), false},
    {&Rodata<S>::oe_f_go_swiss_maps,
     version_in("std", version_between({1, 24, 0, false}, {1, 28, 0, false})), false},
    {&Rodata<S>::oe_f_go_bucket_maps, version_in("std", below_version(1, 24)), false},
    {&Rodata<S>::oe_f_go_no_swiss_maps, built_with_experiment("noswissmap"), false},
    {&Rodata<S>::oe_f_go_split_groups, built_with_experiment("mapsplitgroup"), false},
    {.slot = &Rodata<S>::oe_f_http2_attached, .group = "http2"},
    {.slot = &Rodata<S>::oe_f_http2_x_attached, .group = "http2_x_net"},
    {.slot = &Rodata<S>::oe_f_http_route_attached, .group = "route"},
};

template <Skeleton S>
inline constexpr Option<S> server_options[] = {
    {.name = "route_site", .by_default = true,
     .doc = "one more hit per request, for the route behind middleware that copies the request"},
    {.name = "user_agent", .by_default = true, .doc = "capture user_agent.original",
     .slot = &Rodata<S>::oe_o_http_user_agent},
};

// Server spans of net/http for a tool whose .bpf.c includes <otel_ebpf/probes/net_http.programs.h>.
template <class S>
    requires bpf_file_includes_net_http_programs<S>
inline constexpr Probe<S, Event> server{
    .name = "net_http",
    .kind = SpanKind::server,
    .event_kind = &Rodata<S>::oe_e_http_server,
    .uprobes = server_uprobes<S>,
    .facts = server_facts<S>,
    .options = server_options<S>,
    .scope = "otel_ebpf/net/http",
    .to_span = &to_span,
};

}  // namespace otel_ebpf::probes::net_http
