// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// OtlpHttp: spans as OTLP/JSON by HTTP POST, from a thread of its own. Needs libcurl (target otel_ebpf::otlp).
// https://opentelemetry.io/docs/specs/otlp/#otlphttp
#pragma once

#include <curl/curl.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

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

// The URL for spans under an OTLP base URL: "/v1/traces" is appended to its path, unless it ends so already.
inline std::string otlp_traces_url(std::string_view base) {
    constexpr std::string_view path = "/v1/traces";
    while (base.ends_with('/')) base.remove_suffix(1);
    std::string url(base);
    if (!base.ends_with(path)) url += path;
    return url;
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

// OTEL_EXPORTER_OTLP_{TRACES_,}{ENDPOINT,HEADERS,TIMEOUT} over the defaults; those with TRACES_ win. The endpoint for
// traces is taken as it is, the general one is a base URL.
inline OtlpHttpOptions otlp_http_options_from_environment() {
    constexpr auto read = [](const char* name) -> std::string_view {
        const char* const value = std::getenv(name);
        return value == nullptr ? std::string_view() : std::string_view(value);
    };
    constexpr auto read_either = [read](const char* name, const char* general_name) {
        const std::string_view value = read(name);
        return value.empty() ? read(general_name) : value;
    };
    OtlpHttpOptions options;
    if (const auto url = read("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"); !url.empty()) options.url = url;
    else if (const auto base = read("OTEL_EXPORTER_OTLP_ENDPOINT"); !base.empty()) options.url = otlp_traces_url(base);
    options.headers =
        detail::parse_otlp_headers(read_either("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"));
    const auto timeout = read_either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
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
        // libcurl asks for one call per process, and never to be cleaned up while it may be in use elsewhere.
        static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
        if (initialised != CURLE_OK) {
            return fail(Stage::open, std::string("start libcurl: ") + curl_easy_strerror(initialised));
        }
        if (!options.url.starts_with("http://") && !options.url.starts_with("https://")) {
            return fail(Stage::open, "export spans to '" + options.url + "': not an http:// or https:// URL");
        }
        for (const auto& [name, value] : options.headers) {
            if (name.empty() || name.find_first_of(":\r\n") != std::string::npos ||
                value.find_first_of("\r\n") != std::string::npos) {
                return fail(Stage::open, "export spans to " + options.url + ": invalid header name or value");
            }
        }
        std::unique_ptr<OtlpHttp> sink(new OtlpHttp(std::move(options)));
        if (!sink->easy_ || !sink->multi_) return fail(Stage::open, "start libcurl: out of memory");
        sink->start();
        return sink;
    }

    // Waits up to half a second for what is queued.
    ~OtlpHttp() override {
        if (!worker_.joinable()) return;
        flush(std::chrono::milliseconds(500));
        worker_.request_stop();
        curl_multi_wakeup(multi_.get());
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
            stats_.last_error = "export to " + options_.url + ": the queue is full";
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
        bool may_retry = false;
        std::chrono::milliseconds retry_after{0};
        std::uint64_t rejected_spans = 0;
        std::string error;
    };

    template <auto function>
    struct Call {
        void operator()(auto* object) const { function(object); }
    };
    using Easy = std::unique_ptr<CURL, Call<curl_easy_cleanup>>;
    using Multi = std::unique_ptr<CURLM, Call<curl_multi_cleanup>>;
    using HeaderList = std::unique_ptr<curl_slist, Call<curl_slist_free_all>>;

    explicit OtlpHttp(OtlpHttpOptions options)
        : options_(std::move(options)), shown_url_(options_.url), multi_(curl_multi_init()), easy_(curl_easy_init()) {
        const std::size_t user = shown_url_.find("//") + 2;
        const std::size_t at = shown_url_.find('@');
        if (at < shown_url_.find('/', user)) shown_url_.erase(user, at + 1 - user);
        add_header("Content-Type: application/json");
        add_header("Expect:");  // no round trip before a large body
        for (const auto& [name, value] : options_.headers) add_header(name + ": " + value);
    }

    void add_header(const std::string& line) {
        if (curl_slist* const longer = curl_slist_append(headers_.get(), line.c_str()); longer != nullptr) {
            static_cast<void>(headers_.release());
            headers_.reset(longer);
        }
    }

    void start() {
        CURL* const easy = easy_.get();
        curl_easy_setopt(easy, CURLOPT_URL, options_.url.c_str());
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers_.get());
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(options_.request_timeout.count()));
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &OtlpHttp::keep_response);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &response_);
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, curl_error_.data());
#if LIBCURL_VERSION_NUM >= 0x075700
        curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);  // a name being resolved must not hold up the destructor
#endif
        // Signals are for the program's own threads.
        sigset_t all;
        sigset_t before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        worker_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }

    static std::size_t keep_response(const char* data, std::size_t, std::size_t size, void* response) {
        constexpr std::size_t enough = 16 * 1024;
        auto& text = *static_cast<std::string*>(response);
        text.append(data, std::min(size, enough - text.size()));
        return size;
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
        auto backoff = options_.first_backoff;
        while (true) {
            Answer answer = post(request, stop);
            if (answer.accepted || !answer.may_retry) return answer;
            const auto wait = answer.retry_after.count() > 0
                                  ? answer.retry_after
                                  : backoff / 2 + backoff * static_cast<int>(random_() % 512) / 1024;
            if (Clock::now() + wait > give_up) return answer;
            backoff = std::min(2 * backoff, options_.max_backoff);

            std::unique_lock lock(mutex_);
            stats_.last_error = answer.error;
            const std::uint64_t begun = flushes_begun_;
            changed_.wait_for(lock, stop, wait,
                              [&] { return answer.retry_after.count() == 0 && flushes_begun_ != begun; });
            if (stop.stop_requested()) return answer;
        }
    }

    Answer post(const Request& request, const std::stop_token& stop) {
        CURL* const easy = easy_.get();
        response_.clear();
        curl_error_[0] = '\0';
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.data());

        // The multi interface, because a transfer of it can be ended at once: by curl_multi_wakeup.
        CURLcode result = CURLE_ABORTED_BY_CALLBACK;
        curl_multi_add_handle(multi_.get(), easy);
        for (int running = 1; running > 0 && !stop.stop_requested();) {
            if (curl_multi_perform(multi_.get(), &running) != CURLM_OK) break;
            if (running > 0) curl_multi_poll(multi_.get(), nullptr, 0, 1000, nullptr);
        }
        int left = 0;
        while (const CURLMsg* const message = curl_multi_info_read(multi_.get(), &left)) {
            if (message->msg == CURLMSG_DONE) result = message->data.result;
        }
        curl_multi_remove_handle(multi_.get(), easy);
        return to_answer(request.spans, result);
    }

    Answer to_answer(std::uint64_t spans, CURLcode result) const {
        Answer answer;
        const auto set_error = [&](const std::string& why, std::string_view detail) {
            answer.error = "export " + std::to_string(spans) + " spans to " + shown_url_ + ": " + why;
            if (detail.empty()) return;
            answer.error += ": ";
            append_terminal_text(answer.error, detail.substr(0, 200));
        };
        if (result != CURLE_OK) {
            answer.may_retry = true;
            set_error(curl_easy_strerror(result), curl_error_.data());
            return answer;
        }
        long status = 0;
        curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
        answer.accepted = status >= 200 && status < 300;
        if (answer.accepted) {
            const std::string_view rejected = detail::find_json_field(response_, "\"rejectedSpans\"");
            std::from_chars(rejected.data(), rejected.data() + rejected.size(), answer.rejected_spans);
            const std::string_view message = detail::find_json_field(response_, "\"errorMessage\"");
            if (answer.rejected_spans > 0 || !message.empty()) {
                set_error("the server rejected " + std::to_string(answer.rejected_spans), message);
            }
            return answer;
        }
        answer.may_retry = status == 429 || (status >= 502 && status <= 504);
        if (answer.may_retry) {
            curl_off_t seconds = 0;
            curl_easy_getinfo(easy_.get(), CURLINFO_RETRY_AFTER, &seconds);
            constexpr curl_off_t day = 24 * 60 * 60;
            answer.retry_after = std::chrono::seconds(std::clamp<curl_off_t>(seconds, 0, day));
        }
        set_error("HTTP status " + std::to_string(status), response_);
        return answer;
    }

    const OtlpHttpOptions options_;
    std::string shown_url_;  // without user and password
    std::string encoded_;    // scratch of write()

    mutable std::mutex mutex_;
    std::condition_variable_any changed_;
    std::deque<Request> queue_;
    std::uint64_t queued_spans_ = 0;  // that being sent included
    std::size_t queued_bytes_ = 0;
    std::uint64_t flushes_ = 0;  // that wait now
    std::uint64_t flushes_begun_ = 0;
    SinkStats stats_;

    // Only the worker touches these once it runs.
    HeaderList headers_;
    Multi multi_;
    Easy easy_;
    std::string response_;
    std::array<char, CURL_ERROR_SIZE> curl_error_{};
    std::minstd_rand random_{std::random_device{}()};

    std::jthread worker_;  // last: joined before the rest goes
};

}  // namespace otel_ebpf
