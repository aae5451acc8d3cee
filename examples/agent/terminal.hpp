// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Terminal: a terminal for a view that repaints itself, given back as it was.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/fd.hpp>

namespace agent {

namespace oe = otel_ebpf;

struct TerminalSize {
    std::size_t columns = 80;
    std::size_t rows = 24;
};

// While it lives: no cursor, no echo of what is typed, and no Ctrl-Z, which would leave the shell with both.
class Terminal {
public:
    // `fd` stays the caller's. The terminal is opened a second time, so that its writes don't block and those of others
    // on `fd` still do.
    [[nodiscard]] static oe::Result<Terminal> open(int fd) {
        const std::string path = "/proc/self/fd/" + std::to_string(fd);
        oe::Fd own(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
        if (!own) return oe::fail_errno(oe::Stage::open, "open the terminal of file descriptor " + std::to_string(fd));
        termios modes{};
        if (::tcgetattr(own.get(), &modes) != 0)
            return oe::fail_errno(oe::Stage::open, "read the modes of the terminal at " + path);
        return Terminal(std::move(own), modes);
    }

    Terminal(Terminal&&) = default;
    Terminal& operator=(Terminal&&) = delete;
    ~Terminal() {
        if (!fd_) return;
        pending_ += "\x1b[0m\x1b[?7h\x1b[?25h";
        send(std::chrono::milliseconds(200));
        set_modes(before_);
    }

    [[nodiscard]] TerminalSize size() const {
        winsize size{};
        if (::ioctl(fd_.get(), TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
        return {size.ws_col, size.ws_row};
    }

    // Queues `text` and sends what the terminal takes at once. Nothing bounds the queue but a caller that send()s
    // first.
    void write(std::string_view text) {
        pending_ += text;
        send(std::chrono::milliseconds(0));
    }

    // Sends what is queued; false when some of it is still there after `timeout`: output is stopped (Ctrl-S) or slow.
    bool send(std::chrono::milliseconds timeout) {
        const auto deadline = std::chrono::steady_clock::now() + timeout;
        while (!pending_.empty() && !is_gone()) {
            const ssize_t done = ::write(fd_.get(), pending_.data(), pending_.size());
            if (done > 0) {
                pending_.erase(0, static_cast<std::size_t>(done));
                continue;
            }
            if (errno != EAGAIN && errno != EINTR) {
                error_ = {errno, std::system_category()};
                break;
            }
            const auto left = deadline - std::chrono::steady_clock::now();
            pollfd writable{fd_.get(), POLLOUT, 0};
            if (::poll(&writable, 1, poll_ms(left)) <= 0) return false;
        }
        return pending_.empty();
    }

    // The terminal was closed or failed; `error()` says how.
    [[nodiscard]] bool is_gone() const { return static_cast<bool>(error_); }
    [[nodiscard]] std::error_code error() const { return error_; }

private:
    Terminal(oe::Fd fd, const termios& modes) : fd_(std::move(fd)), before_(modes) {
        termios ours = before_;
        ours.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL);
        ours.c_cc[VSUSP] = _POSIX_VDISABLE;
        set_modes(ours);
        write("\x1b[?25l");
    }

    static int poll_ms(std::chrono::steady_clock::duration left) {
        const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
        return ms > 0 ? static_cast<int>(ms) : 0;
    }

    // In the background the modes are those of somebody else, and touching them would stop this process (SIGTTOU).
    void set_modes(const termios& modes) const {
        if (::tcgetpgrp(fd_.get()) == ::getpgrp()) ::tcsetattr(fd_.get(), TCSANOW, &modes);
    }

    oe::Fd fd_;
    termios before_;
    std::string pending_;
    std::error_code error_;
};

}  // namespace agent
