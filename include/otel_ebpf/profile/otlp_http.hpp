// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Sends a Profile to an OTLP server by HTTP. Needs libcurl (target otel_ebpf::otlp).
// https://opentelemetry.io/docs/specs/otlp/#otlphttp
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <fmt/core.h>
#include <protozero/exception.hpp>
#include <protozero/pbf_reader.hpp>

#include <otel_ebpf/detail/http_post.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/export/otlp_http.hpp>
#include <otel_ebpf/export/text.hpp>
#include <otel_ebpf/log.hpp>
#include <otel_ebpf/profile/model.hpp>
#include <otel_ebpf/profile/otlp.hpp>

namespace otel_ebpf::profile {

inline constexpr OtlpSignal otlp_profiles{"PROFILES", "/v1development/profiles"};

// The URL for profiles under an OTLP base URL: "/v1development/profiles" is appended, unless it ends so already.
[[nodiscard]] inline std::string otlp_profiles_url(std::string_view base) {
    return otlp_url(base, otlp_profiles);
}

namespace detail {

// ExportProfilesPartialSuccess
struct PartialSuccess {
    std::int64_t rejected_profiles = 0;
    std::string message;
};

// Of an ExportProfilesServiceResponse; nothing where the bytes are none.
inline PartialSuccess read_partial_success(std::string_view response) {
    PartialSuccess found;
    try {
        protozero::pbf_reader message(response.data(), response.size());
        while (message.next(1)) {
            protozero::pbf_reader partial = message.get_message();
            while (partial.next()) {
                if (partial.tag() == 1) found.rejected_profiles = partial.get_int64();
                else if (partial.tag() == 2) found.message = partial.get_string();
                else partial.skip();
            }
        }
    } catch (const protozero::exception&) {
        return {};
    }
    return found;
}

}  // namespace detail

// Blocks until the server has accepted the profile or refused it, or options.give_up_after is over. `options` gives
// URL, headers and times: see otlp_http_options_from_environment(otlp_profiles). What the server rejects is an error
// too, with its words; a warning of the server is logged.
[[nodiscard]] inline Result<void> send_otlp(const Profile& profile, const OtlpHttpOptions& options) {
    const auto opened = otel_ebpf::detail::HttpPost::open(
        {options.url, options.headers, "application/x-protobuf", options.request_timeout}, "send a profile");
    if (!opened) return tl::unexpected(opened.error());
    otel_ebpf::detail::HttpPost& post = **opened;
    const std::string body = to_otlp_protobuf(profile);
    const std::string what =
        fmt::format("send a profile of {} samples to {}: ", profile.sample_count(), post.shown_url());
    const auto give_up = std::chrono::steady_clock::now() + options.give_up_after;
    otel_ebpf::detail::Backoff backoff(options.first_backoff, options.max_backoff);
    otel_ebpf::detail::HttpAnswer answer = post.post(body);
    while (!answer.accepted) {
        const auto wait = backoff.after(answer);
        if (!answer.may_retry || std::chrono::steady_clock::now() + wait > give_up)
            return fail(Stage::event, what + answer.error);
        std::this_thread::sleep_for(wait);
        answer = post.post(body);
    }
    const detail::PartialSuccess partial = detail::read_partial_success(answer.body);
    std::string words;
    append_terminal_text(words, std::string_view(partial.message).substr(0, 200));
    if (partial.rejected_profiles != 0)
        return fail(Stage::event, fmt::format("{}the server rejected {} of its processes: {}", what,
                                              partial.rejected_profiles, words));
    if (!words.empty()) log(LogLevel::warning, what + "accepted, but: " + words);
    return {};
}

}  // namespace otel_ebpf::profile
