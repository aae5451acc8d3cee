// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Profiles sent to an HTTP server on loopback: what arrives, and what each of its answers means.
#include "http_server.hpp"
#include "test.hpp"

#include <chrono>
#include <cstdlib>
#include <string>

#include <protozero/pbf_writer.hpp>

#include <otel_ebpf/profile/otlp_http.hpp>

namespace oe = otel_ebpf;
namespace profile = otel_ebpf::profile;
using namespace std::chrono_literals;

namespace {

profile::Profile small_profile() {
    profile::Profile out;
    out.start_unix_ns = 1'000;
    out.duration_ns = 1'000;
    out.processes = {{7, "shop", {}}};
    out.samples.emplace_back().times_unix_ns = {1'100, 1'200};
    return out;
}

oe::OtlpHttpOptions to(const HttpServer& server) {
    oe::OtlpHttpOptions options;
    options.url = profile::otlp_profiles_url(server.base_url());
    options.first_backoff = 10ms;
    return options;
}

std::string partial_success(std::int64_t rejected, const std::string& message) {
    std::string bytes;
    protozero::pbf_writer response(bytes);
    protozero::pbf_writer partial(response, 1);
    if (rejected != 0) partial.add_int64(1, rejected);
    if (!message.empty()) partial.add_string(2, message);
    partial.commit();
    return bytes;
}

std::string error_of(const oe::Result<void>& sent) {
    return sent ? "" : sent.error().what;
}

}  // namespace

TEST_CASE("profile over http: what arrives") {
    const HttpServer server({response("200 OK", "")});
    oe::OtlpHttpOptions options = to(server);
    options.headers = {{"x-tenant", "seven"}};
    CHECK(error_of(profile::send_otlp(small_profile(), options)).empty());
    REQUIRE(server.requests().size() == 1);
    const std::string request = server.requests().front();
    CHECK(request.starts_with("POST /v1development/profiles HTTP/1.1\r\n"));
    CHECK(request.find("Content-Type: application/x-protobuf\r\n") != std::string::npos);
    CHECK(request.find("x-tenant: seven\r\n") != std::string::npos);
    CHECK(request.substr(request.find("\r\n\r\n") + 4).size() == profile::to_otlp_protobuf(small_profile()).size());
}

TEST_CASE("profile over http: tried again while the server is busy, not when it refuses") {
    const HttpServer busy(
        {response("503 Service Unavailable"), response("429 Too Many Requests"), response("200 OK", "")});
    CHECK(error_of(profile::send_otlp(small_profile(), to(busy))).empty());
    CHECK(busy.requests().size() == 3);

    const HttpServer refusing({response("404 Not Found", "no \x1b[31mway")});
    const std::string error = error_of(profile::send_otlp(small_profile(), to(refusing)));
    CHECK(refusing.requests().size() == 1);
    CHECK(error == "send a profile of 2 samples to " + to(refusing).url + ": HTTP status 404: no \\x1b[31mway");

    const HttpServer closed({response("503 Service Unavailable", "", "Retry-After: 3600\r\n")});
    CHECK(error_of(profile::send_otlp(small_profile(), to(closed))).find("503") != std::string::npos);
}

TEST_CASE("profile over http: what the server rejects is an error, what it warns of is not") {
    const HttpServer rejecting({response("200 OK", partial_success(1, "too \x1b old"))});
    const std::string error = error_of(profile::send_otlp(small_profile(), to(rejecting)));
    CHECK(error.ends_with("rejected 1 of its processes: too \\x1b old"));

    std::string logged;
    oe::set_log([&logged](oe::LogLevel, std::string_view text) { logged += text; });
    const HttpServer warning({response("200 OK", partial_success(0, "old schema"))});
    CHECK(error_of(profile::send_otlp(small_profile(), to(warning))).empty());
    oe::set_log({});
    CHECK(logged.ends_with("accepted, but: old schema"));

    const HttpServer strange({response("200 OK", "\x0a\xff\xff\xff")});
    CHECK(error_of(profile::send_otlp(small_profile(), to(strange))).empty());
}

TEST_CASE("profile over http: no server, secrets, and what is refused") {
    oe::OtlpHttpOptions options;
    options.give_up_after = 0ms;
    options.url = "http://me:secret@127.0.0.1:1/v1development/profiles";
    const std::string error = error_of(profile::send_otlp(small_profile(), options));
    CHECK(error.find("//127.0.0.1:1/") != std::string::npos);
    CHECK(error.find("secret") == std::string::npos);
    options.headers = {{"a", "b\r\nc: d"}};
    CHECK(error_of(profile::send_otlp(small_profile(), options)).find("invalid header") != std::string::npos);
    options = {};
    options.url = "file:///etc/passwd";
    CHECK(error_of(profile::send_otlp(small_profile(), options)).find("not an http") != std::string::npos);
}

TEST_CASE("profile over http: options from the environment are those of profiles") {
    const auto options = [] { return oe::otlp_http_options_from_environment(profile::otlp_profiles); };
    CHECK(options().url == "http://127.0.0.1:4318/v1development/profiles");
    const char* const names[] = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                                 "OTEL_EXPORTER_OTLP_PROFILES_HEADERS"};
    const char* const values[] = {"http://c:1/", "for=traces", "for=profiles"};
    for (std::size_t i = 0; i < 3; ++i) REQUIRE(::setenv(names[i], values[i], 1) == 0);
    CHECK(options().url == "http://c:1/v1development/profiles");
    REQUIRE(options().headers.size() == 1);
    CHECK(options().headers[0].second == "profiles");
    for (const char* name : names) ::unsetenv(name);
}
