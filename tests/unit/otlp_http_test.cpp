// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// OtlpHttp against a small HTTP server on loopback.
#include "test.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>
#include <otel_ebpf/export/otlp_http.hpp>
#include <otel_ebpf/fd.hpp>

namespace oe = otel_ebpf;
using namespace std::chrono_literals;

namespace {

// Answers one request after another with the next of `responses` (the last one for ever), on one connection at a time.
class Server {
public:
    explicit Server(std::vector<std::string> responses, std::chrono::milliseconds delay = 0ms)
        : responses_(std::move(responses)), delay_(delay), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
        REQUIRE(::listen(listener_.get(), 8) == 0);
        REQUIRE(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
        port_ = ntohs(address.sin_port);
        thread_ = std::jthread([this](const std::stop_token& stop) { serve(stop); });
    }

    [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/v1/traces"; }
    [[nodiscard]] int connections() const { return connections_; }
    [[nodiscard]] std::vector<std::string> requests() const {
        const std::scoped_lock lock(mutex_);
        return requests_;
    }

private:
    bool wait_readable(int fd, const std::stop_token& stop) const {
        while (!stop.stop_requested()) {
            pollfd request{fd, POLLIN, 0};
            if (::poll(&request, 1, 10) > 0) return true;
        }
        return false;
    }

    void serve(const std::stop_token& stop) {
        while (wait_readable(listener_.get(), stop)) {
            const oe::Fd client(::accept(listener_.get(), nullptr, nullptr));
            ++connections_;
            std::string text;
            while (read_request(client.get(), text, stop)) {
                const auto until = std::chrono::steady_clock::now() + delay_;
                while (std::chrono::steady_clock::now() < until && !stop.stop_requested())
                    std::this_thread::sleep_for(5ms);
                const std::string& response = responses_[std::min(answered_, responses_.size() - 1)];
                ++answered_;
                if (::send(client.get(), response.data(), response.size(), MSG_NOSIGNAL) < 0) break;
            }
        }
    }

    bool read_request(int fd, std::string& text, const std::stop_token& stop) {
        while (true) {
            const std::size_t end = text.find("\r\n\r\n");
            if (end != std::string::npos) {
                const std::size_t length = std::stoul(text.substr(text.find("Content-Length: ") + 16));
                if (text.size() >= end + 4 + length) {
                    const std::scoped_lock lock(mutex_);
                    requests_.push_back(text.substr(0, end + 4 + length));
                    text.erase(0, end + 4 + length);
                    return true;
                }
            }
            char buffer[65536];
            if (!wait_readable(fd, stop)) return false;
            const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
            if (got <= 0) return false;
            text.append(buffer, static_cast<std::size_t>(got));
        }
    }

    std::vector<std::string> responses_;
    std::chrono::milliseconds delay_;
    oe::Fd listener_;
    std::uint16_t port_ = 0;
    std::size_t answered_ = 0;
    std::atomic<int> connections_ = 0;
    mutable std::mutex mutex_;
    std::vector<std::string> requests_;
    std::jthread thread_;
};

std::string response(const std::string& status, const std::string& body = "{}", const std::string& headers = "") {
    return "HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\n" + headers +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

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
    Server server({response("200 OK")});
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
    Server busy({response("503 Service Unavailable"), response("429 Too Many Requests"), response("200 OK")});
    auto sink = open_sink({.url = busy.url(), .first_backoff = 10ms});
    write_spans(*sink, 1, 4);
    CHECK(sink->flush(5s));
    CHECK(busy.requests().size() == 3);
    CHECK(sink->stats().spans_written == 4);
    CHECK(sink->stats().spans_dropped == 0);

    Server refusing({response("400 Bad Request", "{\"message\":\"no \x1b[31mway\"}")});
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
    Server server({response("503 Service Unavailable", "", "Retry-After: 1\r\n"), response("200 OK")});
    auto sink = open_sink({.url = server.url(), .first_backoff = 1ms});
    const auto begin = std::chrono::steady_clock::now();
    write_spans(*sink, 1);
    CHECK(sink->flush(10s));
    CHECK(std::chrono::steady_clock::now() - begin >= 900ms);
    CHECK(sink->stats().spans_written == 1);

    Server closed({response("503 Service Unavailable", "", "Retry-After: 3600\r\n")});
    sink = open_sink({.url = closed.url()});
    write_spans(*sink, 1);
    CHECK(sink->flush(5s));
    CHECK(sink->stats().spans_dropped == 1);
}

TEST_CASE("otlp_http: partial success is counted") {
    Server server({response("200 OK", R"({"partialSuccess": {"rejectedSpans": "3", "errorMessage": "too \"old\""}})")});
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
    Server server({response("200 OK")}, 60s);
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
