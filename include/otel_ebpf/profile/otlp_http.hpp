// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Sends a Profile to an OTLP server by HTTP, once. Needs libcurl (target otel_ebpf::otlp).
// https://opentelemetry.io/docs/specs/otlp/#otlphttp
#pragma once

#include <curl/curl.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include <fmt/core.h>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/export/otlp_http.hpp>
#include <otel_ebpf/export/text.hpp>
#include <otel_ebpf/profile/model.hpp>
#include <otel_ebpf/profile/otlp.hpp>

namespace otel_ebpf::profile {

// The URL for profiles under an OTLP base URL: "/v1development/profiles" is appended, unless it ends so already.
[[nodiscard]] inline std::string otlp_profiles_url(std::string_view base) {
    constexpr std::string_view path = "/v1development/profiles";
    while (base.ends_with('/')) base.remove_suffix(1);
    std::string url(base);
    if (!base.ends_with(path)) url += path;
    return url;
}

// Blocks until the server has answered, for `timeout` at most. `options` gives URL, headers and timeout: see
// otlp_http_options_from_environment(). What the server rejects is an error too, with its words.
[[nodiscard]] inline Result<void> send_otlp(const Profile& profile, const OtlpHttpOptions& options) {
    static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> easy(curl_easy_init(), &curl_easy_cleanup);
    if (initialised != CURLE_OK || !easy) return fail(Stage::open, "start libcurl: out of memory");
    const std::string body = to_otlp_protobuf(profile);
    curl_slist* lines = curl_slist_append(nullptr, "Content-Type: application/x-protobuf");
    for (const auto& [name, value] : options.headers) lines = curl_slist_append(lines, (name + ": " + value).c_str());
    const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(lines, &curl_slist_free_all);
    std::string answer;
    const auto keep = +[](const char* data, std::size_t, std::size_t size, void* out) {
        constexpr std::size_t enough = 4096;
        auto& text = *static_cast<std::string*>(out);
        text.append(data, std::min(size, enough - std::min(enough, text.size())));
        return size;
    };
    std::array<char, CURL_ERROR_SIZE> reason{};
    curl_easy_setopt(easy.get(), CURLOPT_URL, options.url.c_str());
    curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(options.request_timeout.count()));
    curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDS, body.data());
    curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(easy.get(), CURLOPT_ERRORBUFFER, reason.data());
    const std::string context = fmt::format("send a profile of {} samples to {}", profile.sample_count(), options.url);
    if (const CURLcode result = curl_easy_perform(easy.get()); result != CURLE_OK)
        return fail(Stage::event, fmt::format("{}: {}: {}", context, curl_easy_strerror(result), reason.data()));
    long status = 0;
    curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200 && status < 300) return {};
    std::string text;
    append_terminal_text(text, std::string_view(answer).substr(0, 200));
    return fail(Stage::event, fmt::format("{}: HTTP status {}: {}", context, status, text));
}

}  // namespace otel_ebpf::profile
