// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// HttpPost: bodies to one URL, one after the other over one connection, and how long to wait between tries. Needs
// libcurl (target otel_ebpf::otlp). https://opentelemetry.io/docs/specs/otlp/#otlphttp
#pragma once

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <random>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/export/text.hpp>

namespace otel_ebpf::detail {

struct HttpPostOptions {
    std::string url;
    std::vector<std::pair<std::string, std::string>> headers;
    std::string content_type;
    std::chrono::milliseconds timeout{10'000};  // of one try
};

// What came of one try.
struct HttpAnswer {
    bool accepted = false;  // status 2xx
    bool may_retry = false;
    std::chrono::milliseconds retry_after{0};  // as the server asked; 0: it didn't
    std::string body;                          // its first 16 KiB
    std::string error;                         // why it was not accepted, safe on a terminal
};

class HttpPost {
public:
    // `purpose` begins the messages of errors: "export spans".
    [[nodiscard]] static Result<std::unique_ptr<HttpPost>> open(const HttpPostOptions& options,
                                                                const std::string& purpose) {
        // libcurl asks for one call per process, and never to be cleaned up while it may be in use elsewhere.
        static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
        if (initialised != CURLE_OK)
            return fail(Stage::open, std::string("start libcurl: ") + curl_easy_strerror(initialised));
        std::unique_ptr<HttpPost> post(new HttpPost(options));
        if (!options.url.starts_with("http://") && !options.url.starts_with("https://"))
            return fail(Stage::open, purpose + " to '" + options.url + "': not an http:// or https:// URL");
        for (const auto& [name, value] : options.headers) {
            if (name.empty() || name.find_first_of(":\r\n") != std::string::npos ||
                value.find_first_of("\r\n") != std::string::npos)
                return fail(Stage::open, purpose + " to " + post->shown_url_ + ": invalid header name or value");
        }
        if (!post->easy_ || !post->multi_) return fail(Stage::open, "start libcurl: out of memory");
        post->prepare(options);
        return post;
    }

    // Without user and password.
    [[nodiscard]] const std::string& shown_url() const { return shown_url_; }

    // Tries once; ends early when `stop` is requested and wake() called. By one thread at a time.
    HttpAnswer post(std::string_view body, const std::stop_token& stop = {}) {
        CURL* const easy = easy_.get();
        response_.clear();
        curl_error_[0] = '\0';
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body.data());

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
        return to_answer(result);
    }

    // From any thread.
    void wake() { curl_multi_wakeup(multi_.get()); }

private:
    template <auto function>
    struct Call {
        void operator()(auto* object) const { function(object); }
    };
    using Easy = std::unique_ptr<CURL, Call<curl_easy_cleanup>>;
    using Multi = std::unique_ptr<CURLM, Call<curl_multi_cleanup>>;
    using HeaderList = std::unique_ptr<curl_slist, Call<curl_slist_free_all>>;

    explicit HttpPost(const HttpPostOptions& options)
        : shown_url_(options.url), multi_(curl_multi_init()), easy_(curl_easy_init()) {
        const std::size_t scheme = shown_url_.find("//");
        if (scheme == std::string::npos) return;
        const std::size_t user = scheme + 2;
        const std::size_t at = shown_url_.find('@');
        if (at < shown_url_.find('/', user)) shown_url_.erase(user, at + 1 - user);
    }

    void add_header(const std::string& line) {
        if (curl_slist* const longer = curl_slist_append(headers_.get(), line.c_str()); longer != nullptr) {
            static_cast<void>(headers_.release());
            headers_.reset(longer);
        }
    }

    void prepare(const HttpPostOptions& options) {
        add_header("Content-Type: " + options.content_type);
        add_header("Expect:");  // no round trip before a large body
        for (const auto& [name, value] : options.headers) add_header(name + ": " + value);
        CURL* const easy = easy_.get();
        curl_easy_setopt(easy, CURLOPT_URL, options.url.c_str());
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers_.get());
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(options.timeout.count()));
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &HttpPost::keep_response);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &response_);
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, curl_error_.data());
#if LIBCURL_VERSION_NUM >= 0x075700
        curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);  // a name being resolved must not hold up the destructor
#endif
    }

    static std::size_t keep_response(const char* data, std::size_t, std::size_t size, void* response) {
        constexpr std::size_t enough = 16 * 1024;
        auto& text = *static_cast<std::string*>(response);
        text.append(data, std::min(size, enough - text.size()));
        return size;
    }

    [[nodiscard]] HttpAnswer to_answer(CURLcode result) const {
        HttpAnswer answer;
        const auto set_error = [&answer](std::string why, std::string_view detail) {
            answer.error = std::move(why);
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
        answer.body = response_;
        answer.accepted = status >= 200 && status < 300;
        if (answer.accepted) return answer;
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

    std::string shown_url_;
    HeaderList headers_;
    Multi multi_;
    Easy easy_;
    std::string response_;
    std::array<char, CURL_ERROR_SIZE> curl_error_{};
};

// How long to wait before the next try of one body: doubles, with jitter, unless the server says how long.
class Backoff {
public:
    Backoff(std::chrono::milliseconds first, std::chrono::milliseconds longest) : next_(first), longest_(longest) {}

    [[nodiscard]] std::chrono::milliseconds after(const HttpAnswer& answer) {
        const auto wait = answer.retry_after.count() > 0
                              ? answer.retry_after
                              : next_ / 2 + next_ * static_cast<int>(random_() % 512) / 1024;
        next_ = std::min(2 * next_, longest_);
        return wait;
    }

private:
    std::chrono::milliseconds next_;
    std::chrono::milliseconds longest_;
    std::minstd_rand random_{std::random_device{}()};
};

}  // namespace otel_ebpf::detail
