// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// OtlpHttp: spans as OTLP/JSON by HTTP POST, from a thread of its own. Needs libcurl (target otel_ebpf::otlp).
// https://opentelemetry.io/docs/specs/otlp/#otlphttp
#pragma once

#include <pthread.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <otel_ebpf/detail/http_post.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/export/otlp_json.hpp>
#include <otel_ebpf/export/text.hpp>
#include <otel_ebpf/span.hpp>

namespace otel_ebpf {

struct OtlpHttpOptions {
    std::string url = "http://127.0.0.1:4318/v1/traces";  // of the POST, as it is; see otlp_traces_url()
    std::vector<std::pair<std::string, std::string>> headers{};
    std::size_t max_queued_bytes = 8u << 20;  // of JSON, that being sent included; more is dropped and counted
    std::size_t max_queued_spans = 32768;
    std::size_t max_request_bytes = 1u << 20;  // a batch that is larger goes alone
    std::chrono::milliseconds max_delay{200};  // that a span waits for others to share a request with
    std::chrono::milliseconds request_timeout{10'000};
    std::chrono::milliseconds first_backoff{500};  // doubles, with jitter, up to max_backoff; Retry-After wins
    std::chrono::milliseconds max_backoff{5'000};
    std::chrono::milliseconds give_up_after{30'000};  // since the first try of a request; then it is dropped
};

// What the environment variables and the URLs of one signal have in their names.
struct OtlpSignal {
    std::string_view variable;  // OTEL_EXPORTER_OTLP_<variable>_ENDPOINT
    std::string_view path;
};
inline constexpr OtlpSignal otlp_traces{"TRACES", "/v1/traces"};

// The URL for a signal under an OTLP base URL: its path is appended, unless the URL ends so already.
inline std::string otlp_url(std::string_view base, const OtlpSignal& signal) {
    while (base.ends_with('/')) base.remove_suffix(1);
    std::string url(base);
    if (!base.ends_with(signal.path)) url += signal.path;
    return url;
}
inline std::string otlp_traces_url(std::string_view base) {
    return otlp_url(base, otlp_traces);
}

namespace detail {

// "key=value,key=value" with values in percent encoding, as OTEL_EXPORTER_OTLP_HEADERS has it (W3C Baggage).
inline std::vector<std::pair<std::string, std::string>> parse_otlp_headers(std::string_view text) {
    constexpr auto trim = [](std::string_view part) {
        const std::size_t first = part.find_first_not_of(" \t");
        if (first == std::string_view::npos) return std::string_view();
        return part.substr(first, part.find_last_not_of(" \t") - first + 1);
    };
    std::vector<std::pair<std::string, std::string>> headers;
    while (!text.empty()) {
        const std::size_t comma = std::min(text.find(','), text.size());
        const std::string_view member = text.substr(0, comma);
        text.remove_prefix(std::min(comma + 1, text.size()));
        const std::size_t equals = member.find('=');
        if (equals == std::string_view::npos) continue;
        const std::string_view encoded = trim(member.substr(equals + 1));
        std::string value;
        for (std::size_t i = 0; i < encoded.size(); ++i) {
            std::uint8_t byte = 0;
            const char* const digits = encoded.data() + i + 1;
            if (encoded[i] == '%' && encoded.size() - i > 2 &&
                std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
                value += static_cast<char>(byte);
                i += 2;
            } else {
                value += encoded[i];
            }
        }
        headers.emplace_back(trim(member.substr(0, equals)), std::move(value));
    }
    return headers;
}

// A field of the flat JSON that OTLP servers answer with, as it stands there, without quotes; empty when it is missing.
inline std::string_view find_json_field(std::string_view json, std::string_view quoted_name) {
    const std::size_t name = json.find(quoted_name);
    if (name == std::string_view::npos) return {};
    json.remove_prefix(name + quoted_name.size());
    const std::size_t begin = json.find_first_not_of(" \t\r\n:");
    if (begin == std::string_view::npos) return {};
    json.remove_prefix(begin);
    if (!json.starts_with('"')) return json.substr(0, json.find_first_of(",} \t\r\n"));
    std::size_t end = 1;
    while (end < json.size() && json[end] != '"') end += json[end] == '\\' ? 2 : 1;
    return json.substr(1, std::min(end, json.size()) - 1);
}

}  // namespace detail

// OTEL_EXPORTER_OTLP_{TRACES_,}{ENDPOINT,HEADERS,TIMEOUT} over the defaults; those with TRACES_, or what the signal is
// called, win. The endpoint of a signal is taken as it is, the general one is a base URL.
inline OtlpHttpOptions otlp_http_options_from_environment(const OtlpSignal& signal = otlp_traces) {
    constexpr auto read = [](const std::string& name) -> std::string_view {
        const char* const value = std::getenv(name.c_str());
        return value == nullptr ? std::string_view() : std::string_view(value);
    };
    const std::string general = "OTEL_EXPORTER_OTLP_", own = general + std::string(signal.variable) + "_";
    const auto read_either = [&](const char* name) {
        const std::string_view value = read(own + name);
        return value.empty() ? read(general + name) : value;
    };
    OtlpHttpOptions options;
    options.url = otlp_url("http://127.0.0.1:4318", signal);
    if (const auto url = read(own + "ENDPOINT"); !url.empty()) options.url = url;
    else if (const auto base = read(general + "ENDPOINT"); !base.empty()) options.url = otlp_url(base, signal);
    options.headers = detail::parse_otlp_headers(read_either("HEADERS"));
    const auto timeout = read_either("TIMEOUT");
    std::uint32_t milliseconds = 0;
    if (std::from_chars(timeout.data(), timeout.data() + timeout.size(), milliseconds).ec == std::errc() &&
        milliseconds > 0) {
        options.request_timeout = std::chrono::milliseconds(milliseconds);
    }
    return options;
}

// write() only appends to a bounded queue. stats() counts a span as written when the server accepted it, as dropped
// when the queue was full, the server refused it, or every try failed; what is queued is neither.
class OtlpHttp final : public Sink {
public:
    [[nodiscard]] static Result<std::unique_ptr<OtlpHttp>> open(OtlpHttpOptions options) {
        auto post = detail::HttpPost::open(
            {options.url, options.headers, "application/json", options.request_timeout}, "export spans");
        if (!post) return tl::unexpected(std::move(post).error());
        std::unique_ptr<OtlpHttp> sink(new OtlpHttp(std::move(options), std::move(*post)));
        sink->start();
        return sink;
    }

    // Waits up to half a second for what is queued.
    ~OtlpHttp() override {
        if (!worker_.joinable()) return;
        flush(std::chrono::milliseconds(500));
        worker_.request_stop();
        post_->wake();
    }
    OtlpHttp(const OtlpHttp&) = delete;
    OtlpHttp& operator=(const OtlpHttp&) = delete;

    void write(const SpanBatch& batch) override {
        if (batch.spans.empty()) return;
        encoded_.clear();
        otlp::append_resource_spans(encoded_, batch);
        const std::scoped_lock lock(mutex_);
        if (queued_spans_ + batch.spans.size() > options_.max_queued_spans ||
            queued_bytes_ + encoded_.size() > options_.max_queued_bytes) {
            stats_.spans_dropped += batch.spans.size();
            stats_.last_error = "export to " + post_->shown_url() + ": the queue is full";
            return;
        }
        const bool begins = queue_.empty() || queue_.back().body.size() + encoded_.size() > options_.max_request_bytes;
        if (begins) {
            queue_.push_back({{}, 0, Clock::now()});
            changed_.notify_all();
        }
        Request& request = queue_.back();
        queued_bytes_ -= request.body.size();
        request.body += begins ? otlp::export_request_begin : ",";
        request.body += encoded_;
        request.spans += batch.spans.size();
        queued_bytes_ += request.body.size();
        queued_spans_ += batch.spans.size();
    }

    // Sends at once, without waiting for max_delay or for what is left of a backoff.
    bool flush(std::chrono::milliseconds timeout) override {
        std::unique_lock lock(mutex_);
        ++flushes_;
        ++flushes_begun_;
        changed_.notify_all();
        const bool done = changed_.wait_for(lock, timeout, [this] { return queued_spans_ == 0; });
        --flushes_;
        return done;
    }

    [[nodiscard]] SinkStats stats() const override {
        const std::scoped_lock lock(mutex_);
        return stats_;
    }

private:
    using Clock = std::chrono::steady_clock;

    struct Request {
        std::string body;
        std::uint64_t spans = 0;
        Clock::time_point since{};
    };

    struct Answer {
        bool accepted = false;
        std::uint64_t rejected_spans = 0;
        std::string error;
    };

    OtlpHttp(OtlpHttpOptions options, std::unique_ptr<detail::HttpPost> post)
        : options_(std::move(options)), post_(std::move(post)) {}

    void start() {
        // Signals are for the program's own threads.
        sigset_t all;
        sigset_t before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        worker_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }

    void run(const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        while (changed_.wait(lock, stop, [this] { return !queue_.empty(); })) {
            changed_.wait_until(lock, stop, queue_.front().since + options_.max_delay,
                                [this] { return flushes_ > 0 || queue_.size() > 1; });
            if (stop.stop_requested()) return;
            Request request = std::move(queue_.front());
            queue_.pop_front();
            const std::size_t bytes = request.body.size();
            request.body += otlp::export_request_end;
            lock.unlock();
            const Answer answer = send(request, stop);
            lock.lock();
            const std::uint64_t refused =
                answer.accepted ? std::min(answer.rejected_spans, request.spans) : request.spans;
            stats_.spans_written += request.spans - refused;
            stats_.spans_dropped += refused;
            if (!answer.error.empty()) stats_.last_error = answer.error;
            queued_spans_ -= request.spans;
            queued_bytes_ -= bytes;
            changed_.notify_all();
        }
    }

    // Tries until the server accepts or refuses, it is too late, or the sink stops.
    Answer send(const Request& request, const std::stop_token& stop) {
        const auto give_up = Clock::now() + options_.give_up_after;
        detail::Backoff backoff(options_.first_backoff, options_.max_backoff);
        while (true) {
            const detail::HttpAnswer answer = post_->post(request.body, stop);
            Answer result = to_answer(request.spans, answer);
            if (answer.accepted || !answer.may_retry) return result;
            const auto wait = backoff.after(answer);
            if (Clock::now() + wait > give_up) return result;

            std::unique_lock lock(mutex_);
            stats_.last_error = result.error;
            const std::uint64_t begun = flushes_begun_;
            changed_.wait_for(lock, stop, wait,
                              [&] { return answer.retry_after.count() == 0 && flushes_begun_ != begun; });
            if (stop.stop_requested()) return result;
        }
    }

    [[nodiscard]] Answer to_answer(std::uint64_t spans, const detail::HttpAnswer& http) const {
        Answer answer;
        answer.accepted = http.accepted;
        const std::string what = "export " + std::to_string(spans) + " spans to " + post_->shown_url() + ": ";
        if (!http.accepted) {
            answer.error = what + http.error;
            return answer;
        }
        const std::string_view rejected = detail::find_json_field(http.body, "\"rejectedSpans\"");
        std::from_chars(rejected.data(), rejected.data() + rejected.size(), answer.rejected_spans);
        const std::string_view message = detail::find_json_field(http.body, "\"errorMessage\"");
        if (answer.rejected_spans == 0 && message.empty()) return answer;
        answer.error = what + "the server rejected " + std::to_string(answer.rejected_spans);
        if (!message.empty()) {
            answer.error += ": ";
            append_terminal_text(answer.error, message.substr(0, 200));
        }
        return answer;
    }

    const OtlpHttpOptions options_;
    std::string encoded_;  // scratch of write()

    mutable std::mutex mutex_;
    std::condition_variable_any changed_;
    std::deque<Request> queue_;
    std::uint64_t queued_spans_ = 0;  // that being sent included
    std::size_t queued_bytes_ = 0;
    std::uint64_t flushes_ = 0;  // that wait now
    std::uint64_t flushes_begun_ = 0;
    SinkStats stats_;

    std::unique_ptr<detail::HttpPost> post_;  // only the worker posts

    std::jthread worker_;  // last: joined before the rest goes
};

}  // namespace otel_ebpf
