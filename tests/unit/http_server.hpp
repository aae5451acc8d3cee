// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A small HTTP server on loopback for tests of what posts to one.
#pragma once

#include "test.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <otel_ebpf/fd.hpp>

// Answers one request after another with the next of `responses` (the last one for ever), on one connection at a time.
class HttpServer {
public:
    explicit HttpServer(std::vector<std::string> responses, std::chrono::milliseconds delay = {})
        : responses_(std::move(responses)),
          delay_(delay),
          listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
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

    [[nodiscard]] std::string base_url() const { return "http://127.0.0.1:" + std::to_string(port_); }
    [[nodiscard]] std::string url() const { return base_url() + "/v1/traces"; }
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
            const otel_ebpf::Fd client(::accept(listener_.get(), nullptr, nullptr));
            ++connections_;
            std::string text;
            while (read_request(client.get(), text, stop)) {
                const auto until = std::chrono::steady_clock::now() + delay_;
                while (std::chrono::steady_clock::now() < until && !stop.stop_requested())
                    std::this_thread::sleep_for(std::chrono::milliseconds(5));
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
    otel_ebpf::Fd listener_;
    std::uint16_t port_ = 0;
    std::size_t answered_ = 0;
    std::atomic<int> connections_ = 0;
    mutable std::mutex mutex_;
    std::vector<std::string> requests_;
    std::jthread thread_;
};

inline std::string response(const std::string& status, const std::string& body = "{}",
                            const std::string& headers = "") {
    return "HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\n" + headers +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}
