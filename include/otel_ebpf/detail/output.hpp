// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Output: buffered text to a file, pipe or terminal that neither blocks on a slow reader nor dies of a gone one.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <deque>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/fd.hpp>
#include <otel_ebpf/span.hpp>

namespace otel_ebpf::detail {

// Keeps a write to a closed pipe from raising SIGPIPE, whatever the program does with that signal.
class SigpipeGuard {
public:
    SigpipeGuard() {
        sigset_t pending;
        sigpending(&pending);
        was_pending_ = sigismember(&pending, SIGPIPE) == 1;
        sigemptyset(&only_sigpipe_);
        sigaddset(&only_sigpipe_, SIGPIPE);
        pthread_sigmask(SIG_BLOCK, &only_sigpipe_, &before_);
    }
    ~SigpipeGuard() {
        const timespec at_once{};
        if (!was_pending_) sigtimedwait(&only_sigpipe_, nullptr, &at_once);
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    SigpipeGuard(const SigpipeGuard&) = delete;
    SigpipeGuard& operator=(const SigpipeGuard&) = delete;

private:
    sigset_t only_sigpipe_{};
    sigset_t before_{};
    bool was_pending_ = false;
};

// Text is appended to buffer() and closed off by commit(), which says how many spans it stands for. After a write
// error everything held is dropped and counted, except a unit that is partly out: it is finished later, so that lines
// stay whole.
class Output {
public:
    static constexpr std::size_t write_bytes = 128 * 1024;      // written at once when so much is there
    static constexpr std::size_t max_pending_bytes = 4u << 20;  // held for a slow reader
    static constexpr std::chrono::milliseconds max_age{50};     // written when so old, at the next commit

    // Appends to the file PATH, created when missing; "-" is standard output.
    [[nodiscard]] static Result<Output> open(const std::string& path) {
        const bool is_stdout = path == "-";
        // O_NONBLOCK: a FIFO without a reader is an error, not a wait.
        constexpr int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
        Fd fd(is_stdout ? ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0) : ::open(path.c_str(), flags, 0644));
        std::string name = is_stdout ? "standard output" : path;
        if (!fd) return fail_errno(Stage::open, "open " + name + " for spans");
        return Output(std::move(fd), std::move(name));
    }

    Output(Fd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {
        struct stat status {};
        is_file_ = ::fstat(fd_.get(), &status) == 0 && S_ISREG(status.st_mode);
    }

    [[nodiscard]] bool is_terminal() const { return ::isatty(fd_.get()) == 1; }

    // Append to it; never remove from it.
    [[nodiscard]] std::string& buffer() { return buffer_; }

    void commit(std::uint64_t spans) {
        const auto now = std::chrono::steady_clock::now();
        units_.push_back({buffer_.size(), spans});
        if (buffer_.size() - sent_ >= write_bytes || now - last_write_ >= max_age) write_until(now);
        if (buffer_.size() - sent_ <= max_pending_bytes || units_.size() < 2) return;
        drop_units_behind(units_.size() - 1);
        stats_.last_error = "write to " + name_ + ": the reader is too slow";
    }

    // False when something committed is still held after `timeout`.
    bool drain(std::chrono::milliseconds timeout) {
        write_until(std::chrono::steady_clock::now() + timeout);
        return units_.empty();
    }

    [[nodiscard]] const SinkStats& stats() const { return stats_; }

private:
    using TimePoint = std::chrono::steady_clock::time_point;

    struct Unit {
        std::size_t end = 0;  // in buffer_
        std::uint64_t spans = 0;
    };

    void write_until(TimePoint deadline) {
        last_write_ = std::chrono::steady_clock::now();
        const SigpipeGuard guard;
        while (sent_ < buffer_.size()) {
            if (!is_file_ && !writable_before(deadline)) break;
            // A writable pipe takes PIPE_BUF bytes without blocking, whatever its O_NONBLOCK says.
            const std::size_t left = buffer_.size() - sent_;
            const std::size_t bytes = is_file_ ? left : std::min<std::size_t>(left, PIPE_BUF);
            const ssize_t done = ::write(fd_.get(), buffer_.data() + sent_, bytes);
            if (done >= 0) {
                sent_ += static_cast<std::size_t>(done);
            } else if (errno != EINTR && errno != EAGAIN) {
                on_error(errno);
                break;
            }
        }
        count_written_units();
    }

    [[nodiscard]] bool writable_before(TimePoint deadline) const {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        pollfd request{fd_.get(), POLLOUT, 0};
        return ::poll(&request, 1, static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, INT_MAX))) > 0;
    }

    void count_written_units() {
        while (!units_.empty() && units_.front().end <= sent_) {
            stats_.spans_written += units_.front().spans;
            begin_ = units_.front().end;
            units_.pop_front();
        }
        if (begin_ <= buffer_.size() / 2) return;
        buffer_.erase(0, begin_);
        for (Unit& unit : units_) unit.end -= begin_;
        sent_ -= begin_;
        begin_ = 0;
    }

    void on_error(int error) {
        count_written_units();
        stats_.last_error = "write to " + name_ + ": " + std::system_category().message(error);
        const bool finish_first = sent_ > begin_ && error != EPIPE;
        drop_units_behind(finish_first ? 1 : 0);
    }

    void drop_units_behind(std::size_t kept) {
        for (; units_.size() > kept; units_.pop_back()) stats_.spans_dropped += units_.back().spans;
        buffer_.resize(units_.empty() ? begin_ : units_.back().end);
        sent_ = std::min(sent_, buffer_.size());
    }

    Fd fd_;
    std::string name_;
    bool is_file_ = false;
    std::string buffer_;
    std::size_t begin_ = 0;  // of units_.front() in buffer_
    std::size_t sent_ = 0;   // bytes at the front of buffer_ that are out
    std::deque<Unit> units_;
    TimePoint last_write_{};
    SinkStats stats_;
};

}  // namespace otel_ebpf::detail
