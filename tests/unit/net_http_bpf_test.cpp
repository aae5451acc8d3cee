// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The net/http handlers (probes/net_http.bpf.h) on the host, from a Request in target memory to a Span.
#include "test.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <otel_ebpf/probes/net_http.hpp>
#include <otel_ebpf/semconv.hpp>
#include <otel_ebpf/trace_context.hpp>

#include "go_map_memory.hpp"

namespace {

namespace oe = otel_ebpf;
namespace semconv = otel_ebpf::semconv;

// Members of our Request and response; the handlers learn them as facts.
enum Offset : std::uint16_t {
    method = 0,
    proto_major = 40,
    proto_minor = 48,
    header = 56,
    content_length = 88,
    host = 128,
    remote_addr = 176,
    request_uri = 192,
    tls = 208,
    pattern = 232,
    written = 64,
    status = 80,
    rws = 0,
    rws_status = 24,
    rws_bytes = 48,
};

struct Request {
    std::string method = "GET";
    std::string target = "/";
    std::string host = "shop.example:8080";
    std::string peer = "10.0.0.9:5151";
    std::string pattern = {};
    HeaderFields headers = {};
    std::uint64_t proto_major = 1;
    std::uint64_t content_length = 0;
    bool tls = false;
    bool swiss = true;
};

struct Response {
    std::uint64_t status = 200;
    std::uint64_t body_bytes = 0;
};

const std::string traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const oe::TraceId trace_id = oe::parse_traceparent(traceparent)->trace_id;
const oe::SpanId parent_id = oe::parse_traceparent(traceparent)->span_id;

struct HttpServer {
    HostKernel kernel;
    Goroutines goroutines{kernel};
    std::uint16_t next_fact = 0;
    oe_exe exe{};
    std::uint64_t last_request = 0, last_response = 0;
    std::uint32_t seed = 0;

    explicit HttpServer(bool swiss = true) {
        std::fill(std::begin(exe.value), std::end(exe.value), std::uint16_t{OE_UNKNOWN});
        oe_e_http_server = OE_KIND_FIRST_PROBE;
        fact(oe_f_g_goid, Goroutines::goid_offset);
        fact(oe_f_g_panic, Goroutines::panic_offset);
        fact(oe_f_request_method, method);
        fact(oe_f_request_proto_major, proto_major);
        fact(oe_f_request_proto_minor, proto_minor);
        fact(oe_f_request_header, header);
        fact(oe_f_request_content_length, content_length);
        fact(oe_f_request_host, host);
        fact(oe_f_request_remote_addr, remote_addr);
        fact(oe_f_request_request_uri, request_uri);
        fact(oe_f_request_tls, tls);
        fact(oe_f_request_pattern, pattern);
        fact(oe_f_response_written, written);
        fact(oe_f_response_status, status);
        fact(oe_f_http2_rws, rws);
        fact(oe_f_http2_rws_status, rws_status);
        fact(oe_f_http2_rws_wrote_bytes, rws_bytes);
        fact(oe_f_http2_attached, 1);
        fact(oe_f_http_route_attached, 0);
        fact(oe_f_go_swiss_maps, swiss ? 1 : 0);
        fact(oe_f_go_bucket_maps, swiss ? 0 : 1);
        host_set_exe(0, &exe);
        oe_process row{};
        row.generation = 1;
        row.probes = ~0ULL;
        host_set_process(1, &row);
    }

    void fact(std::uint16_t& slot, std::uint16_t value) {
        slot = next_fact++;
        exe.value[slot] = value;
    }
    void set_fact(std::uint16_t slot, std::uint16_t value) {
        exe.value[slot] = value;
        host_set_exe(0, &exe);
    }

    std::uint64_t put(const Request& request) {
        TargetMemory& memory = kernel.memory;
        const std::uint64_t at = memory.allocate(248);
        memory.put_string(at + method, request.method);
        memory.put_string(at + request_uri, request.target);
        memory.put_string(at + host, request.host);
        memory.put_string(at + remote_addr, request.peer);
        memory.put_string(at + pattern, request.pattern);
        memory.put(at + proto_major, request.proto_major);
        memory.put(at + proto_minor, std::uint64_t{request.proto_major == 1 ? 1U : 0U});
        memory.put(at + content_length, request.content_length);
        memory.put(at + tls, std::uint64_t{request.tls ? at : 0});
        GoMapBuilder build(memory, seed++);
        const std::uint64_t map = !request.swiss               ? build.buckets(request.headers, 2)
                                  : request.headers.size() > 8 ? build.swiss(request.headers, 1)
                                                               : build.swiss(request.headers);
        memory.put(at + header, map);
        return at;
    }

    void start(const Request& request, std::uint64_t goid = 7) {
        host_hit hit = goroutines.hit(goid, 500);
        last_response = kernel.memory.allocate(128);
        last_request = put(request);
        hit.args[2] = last_response;
        hit.args[3] = last_request;
        host_http_start(&hit);
    }
    void route(std::string_view text, std::uint64_t goid = 7) {
        host_hit hit = goroutines.hit(goid, 900);
        hit.args[2] = kernel.memory.text(text);
        hit.args[3] = text.size();
        host_http_route(&hit);
    }
    void end(const Response& response = {}, std::uint64_t goid = 7) {
        kernel.memory.put(last_response + written, response.body_bytes);
        kernel.memory.put(last_response + written + 8, std::uint64_t{0});
        kernel.memory.put(last_response + status, response.status);
        const host_hit hit = goroutines.hit(goid, 500);
        host_http_end(&hit);
    }
    void end_http2(const Response& response = {}, std::uint64_t goid = 7) {
        const std::uint64_t state = kernel.memory.allocate(64);
        kernel.memory.put(last_response + rws, state);
        kernel.memory.put(state + rws_status, response.status);
        kernel.memory.put(state + rws_bytes, response.body_bytes);
        const host_hit hit = goroutines.hit(goid, 500);
        host_http2_end(&hit);
    }
    void conn_end(std::uint64_t goid = 7) {
        const host_hit hit = goroutines.hit(goid, 100);
        host_http_conn_end(&hit);
    }
};

// A record as the SpanReader turns it into a Span.
struct Read {
    oe::TextArena arena;
    std::vector<std::uint64_t> words;  // aligned
    std::optional<oe::Span> span;
    const oe_http_server_event* event = nullptr;

    explicit Read(const std::vector<std::byte>& record) : words((record.size() + 7) / 8) {
        std::memcpy(words.data(), record.data(), record.size());
        event = reinterpret_cast<const oe_http_server_event*>(words.data());
        REQUIRE(record.size() >= sizeof(*event));
        REQUIRE(event->span.header.size_bytes == record.size());
        span.emplace(arena);
        REQUIRE(oe::probes::net_http::to_span(*event, {}, *span));
    }
    [[nodiscard]] std::string_view text(std::string_view key) const {
        return span->get<std::string_view>(key).value_or("(none)");
    }
    [[nodiscard]] std::int64_t number(std::string_view key) const { return span->get<std::int64_t>(key).value_or(-1); }
    [[nodiscard]] bool is_root() const { return oe::SpanId::from_bytes(event->span.parent_id).is_zero(); }
    [[nodiscard]] bool continues() const {
        return oe::TraceId::from_bytes(event->span.trace_id) == trace_id &&
               oe::SpanId::from_bytes(event->span.parent_id) == parent_id &&
               (event->span.header.span_flags & OE_SPAN_REMOTE_PARENT) != 0;
    }
};

}  // namespace

TEST_CASE("net_http.bpf: a request becomes a span") {
    for (const bool swiss : {true, false}) {
        HttpServer server(swiss);
        Request request{.method = "POST", .target = "/cart/7?x=1", .tls = true, .swiss = swiss};
        request.content_length = 12;
        request.headers = {{"Accept", {"*/*"}}, {"Traceparent", {traceparent}}, {"User-Agent", {"curl/8"}}};
        server.start(request);
        server.route("POST /cart/{id}");
        server.end({.status = 503, .body_bytes = 99});
        REQUIRE(server.kernel.records.size() == 1);
        const Read read(server.kernel.records[0]);
        CHECK(read.continues());
        CHECK(read.event->span.header.trace_flags == 1);
        CHECK(read.event->span.header.truncated == 0);
        CHECK(read.span->name == "POST /cart/{id}");
        CHECK(read.text(semconv::url_path) == "/cart/7");
        CHECK(read.text(semconv::url_query) == "x=1");
        CHECK(read.text(semconv::url_scheme) == "https");
        CHECK(read.text(semconv::http_route) == "/cart/{id}");
        CHECK(read.text(semconv::server_address) == "shop.example");
        CHECK(read.number(semconv::server_port) == 8080);
        CHECK(read.text(semconv::network_peer_address) == "10.0.0.9");
        CHECK(read.number(semconv::network_peer_port) == 5151);
        CHECK(read.text(semconv::user_agent_original) == "curl/8");
        CHECK(read.text(semconv::network_protocol_version) == "1.1");
        CHECK(read.number(semconv::http_response_status_code) == 503);
        CHECK(read.number(semconv::http_request_body_size) == 12);
        CHECK(read.number(semconv::http_response_body_size) == 99);
        CHECK(read.span->status == oe::StatusCode::error);
        CHECK(host_stat(OE_STAT_READ_FAULT) == 0);
        CHECK(host_stat(OE_STAT_FACT_MISSING) == 0);
    }
}

TEST_CASE("net_http.bpf: the requests of one connection don't mix") {
    HttpServer server;
    for (const char* peer : {"10.0.0.9:5151", "10.0.0.9:5151", "[::1]:80", "10.0.0.9:5151"}) {
        Request request{.target = std::string("/") + peer[0], .peer = peer};
        server.start(request);
        server.end();
        const Read read(server.kernel.records.back());
        CHECK(read.is_root());
        CHECK(read.text(semconv::url_path) == request.target);
        CHECK(read.text(semconv::network_peer_address) == (peer[0] == '[' ? "::1" : "10.0.0.9"));
    }
}

TEST_CASE("net_http.bpf: the peer is copied once for a connection") {
    HttpServer server;
    const std::uint64_t peer = server.kernel.memory.text("10.0.0.9:5151");
    std::uint64_t reads[3] = {};
    for (int i = 0; i < 3; ++i) {
        host_hit hit = server.goroutines.hit(7, 500);
        server.last_response = hit.args[2] = server.kernel.memory.allocate(128);
        hit.args[3] = server.put({.target = "/" + std::string(static_cast<std::size_t>(i), 'x')});
        server.kernel.memory.put(hit.args[3] + remote_addr, peer);
        server.kernel.reads = 0;
        host_http_start(&hit);
        reads[i] = server.kernel.reads;
        server.end();
        CHECK(Read(server.kernel.records.back()).text(semconv::network_peer_address) == "10.0.0.9");
    }
    CHECK(reads[1] == reads[0] - 1);
    CHECK(reads[2] == reads[1]);
}

TEST_CASE("net_http.bpf: method and target of one request line") {
    HttpServer server;
    for (const std::string target : {"/", "/a/b?c=d", "*", ""}) {
        Request request{.method = "OPTIONS", .target = target};
        host_hit hit = server.goroutines.hit(7, 500);
        server.last_response = hit.args[2] = server.kernel.memory.allocate(128);
        hit.args[3] = server.put(request);
        const std::uint64_t line = server.kernel.memory.text("OPTIONS " + target + " HTTP/1.1");
        server.kernel.memory.put(hit.args[3] + method, line);
        server.kernel.memory.put(hit.args[3] + request_uri, line + 8);
        host_http_start(&hit);
        server.end();
        const Read read(server.kernel.records.back());
        CHECK(read.text(semconv::http_request_method) == "OPTIONS");
        CHECK(read.event->target_len == target.size());
        CHECK(read.text(semconv::network_peer_address) == "10.0.0.9");
        CHECK(read.text(semconv::server_address) == "shop.example");
    }
}

TEST_CASE("net_http.bpf: what is too long is cut and marked") {
    HttpServer server;
    const std::string longest(3000, 'x');
    Request request{.method = longest, .target = "/" + longest, .host = longest, .peer = longest};
    request.headers = {{"User-Agent", {longest}}};
    server.start(request);
    server.route("/" + longest);
    server.end();
    const Read read(server.kernel.records.at(0));
    CHECK(read.event->span.header.truncated == 0x3f);
    CHECK(read.event->method_len == OE_HTTP_METHOD_MAX);
    CHECK(read.event->target_len == OE_HTTP_TARGET_MAX);
    CHECK(read.event->host_len == OE_HTTP_HOST_MAX);
    CHECK(read.event->peer_len == OE_HTTP_PEER_MAX);
    CHECK(read.event->user_agent_len == OE_HTTP_USER_AGENT_MAX);
    CHECK(read.event->route_len == OE_HTTP_ROUTE_MAX);
    server.start({});
    server.end();
    CHECK(Read(server.kernel.records.at(1)).event->span.header.truncated == 0);
}

TEST_CASE("net_http.bpf: traceparent among any number of headers, in both map layouts") {
    for (const bool swiss : {true, false})
        for (const std::size_t others : {0U, 7U, 8U, 39U, 199U}) {
            INFO((swiss ? "swiss, " : "buckets, ") << others << " other headers");
            HttpServer server(swiss);
            Request request{.swiss = swiss};
            for (std::size_t i = 0; i < others; ++i)
                request.headers.push_back({"X-Header-" + std::to_string(i), {"v"}});
            request.headers.push_back({"Traceparent", {traceparent}});
            server.start(request);
            server.end();
            CHECK(Read(server.kernel.records.at(0)).continues());
        }
}

TEST_CASE("net_http.bpf: a traceparent that is malformed or comes twice makes a new root") {
    const std::vector<std::vector<std::string>> bad = {{""},
                                                       {"garbage"},
                                                       {traceparent, traceparent},
                                                       {},
                                                       {traceparent + "-extra"},
                                                       {"ff" + traceparent.substr(2)},
                                                       {traceparent.substr(0, 54)},
                                                       {std::string(4000, '0')}};
    for (const auto& values : bad) {
        HttpServer server;
        server.start({.headers = {{"Traceparent", values}}});
        server.end();
        CHECK(Read(server.kernel.records.at(0)).is_root());
        CHECK(host_stat(OE_STAT_BAD_TRACEPARENT) == 1);
    }
    HttpServer server;
    server.start({.headers = {{"Traceparent", {"01" + traceparent.substr(2) + "-extra"}}}});
    server.end();
    CHECK(Read(server.kernel.records.at(0)).continues());
    CHECK(host_stat(OE_STAT_BAD_TRACEPARENT) == 0);
}

TEST_CASE("net_http.bpf: the end at the connection's end") {
    HttpServer server;
    server.start({});
    server.conn_end();
    CHECK(Read(server.kernel.records.at(0)).event->outcome == OE_HTTP_HIJACKED);
    server.start({});
    server.kernel.memory.put(server.goroutines.g_of(7) + Goroutines::panic_offset, std::uint64_t{1});
    server.conn_end();
    CHECK(Read(server.kernel.records.at(1)).event->outcome == OE_HTTP_ABORTED);
    server.conn_end();  // nothing is open: the usual case
    CHECK(server.kernel.records.size() == 2);
    CHECK(host_stat(OE_STAT_ORPHAN_END) == 0);
}

TEST_CASE("net_http.bpf: HTTP/2") {
    HttpServer server;
    const Request request{.proto_major = 2};
    server.start(request);
    server.end_http2({.status = 404, .body_bytes = 5});
    const Read read(server.kernel.records.at(0));
    CHECK(read.number(semconv::http_response_status_code) == 404);
    CHECK(read.number(semconv::http_response_body_size) == 5);
    CHECK(read.text(semconv::network_protocol_version) == "2");

    server.set_fact(oe_f_http2_attached, 0);  // nothing would end it
    server.start(request);
    CHECK(host_stat(OE_STAT_DISCARDED) == 1);
    server.start({});
    server.end();
    CHECK(server.kernel.records.size() == 2);
    CHECK(host_stat(OE_STAT_ABANDONED) == 0);
}

TEST_CASE("net_http.bpf: without the route site, the pattern that the request has at its end counts") {
    HttpServer server;
    server.start({.pattern = "GET /items/{id}"});
    server.end();
    CHECK(Read(server.kernel.records.at(0)).text(semconv::http_route) == "/items/{id}");
    server.set_fact(oe_f_http_route_attached, 1);
    server.start({.pattern = "GET /items/{id}"});
    server.route("/outer/");
    server.route("GET /inner");
    server.end();
    CHECK(Read(server.kernel.records.at(1)).text(semconv::http_route) == "/inner");
}

TEST_CASE("net_http.bpf: facts that are missing cost their attributes, not the span") {
    const std::uint16_t slots[] = {oe_f_request_proto_major,
                                   oe_f_request_proto_minor,
                                   oe_f_request_content_length,
                                   oe_f_request_host,
                                   oe_f_request_remote_addr,
                                   oe_f_request_tls,
                                   oe_f_request_pattern,
                                   oe_f_response_written,
                                   oe_f_response_status,
                                   oe_f_go_swiss_maps,
                                   oe_f_g_panic,
                                   oe_f_request_header};
    for (std::size_t i = 0; i < std::size(slots); ++i) {
        HttpServer server;
        server.set_fact(static_cast<std::uint16_t>(slots[i]), OE_UNKNOWN);
        server.start({.target = "/x", .headers = {{"Traceparent", {traceparent}}}});
        server.end();
        REQUIRE(server.kernel.records.size() == 1);
        CHECK(Read(server.kernel.records[0]).text(semconv::url_path) == "/x");
    }
}

TEST_CASE("net_http.bpf: under read faults, a parent is the right one or none, and nothing is made up") {
    std::mt19937 random(3);
    std::size_t continued = 0, spans = 0;
    for (int round = 0; round < 2000; ++round) {
        const bool swiss = random() % 2 == 0;
        HttpServer server(swiss);
        server.kernel.read_fails = [&random, often = 2 + random() % 30] { return random() % often == 0; };
        for (int i = 0; i < 5; ++i) {
            Request request{.method = "DELETE", .target = "/path", .swiss = swiss};
            for (std::size_t k = random() % 20; k > 0; --k)
                request.headers.push_back({"X-" + std::to_string(k), {"v"}});
            if (i % 2 == 0) request.headers.push_back({"Traceparent", {traceparent}});
            server.start(request);
            if (random() % 2 == 0) server.route("/path");
            server.end();
        }
        for (const auto& record : server.kernel.records) {
            const Read read(record);
            ++spans;
            continued += read.continues();
            REQUIRE((read.is_root() || read.continues()));
            REQUIRE((read.event->method_len == 0 || read.text(semconv::http_request_method) == "DELETE"));
            REQUIRE((read.event->target_len == 0 || read.text(semconv::url_path) == "/path"));
            REQUIRE((read.event->peer_len == 0 || read.text(semconv::network_peer_address) == "10.0.0.9"));
            REQUIRE((read.event->host_len == 0 || read.text(semconv::server_address) == "shop.example"));
        }
    }
    CHECK(spans > 5000);
    CHECK(continued > 1000);
}
