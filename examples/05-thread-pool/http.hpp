// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// As much of HTTP/1.1 as the example servers need: one request per connection, no body.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include <exchange.h>

namespace http {

// Owns the socket and the text that the struct points into. What the server worked on goes into the response: one line
// `WHAT TID FROM TO` (CLOCK_MONOTONIC, ns) for each stretch of work.
struct Exchange : exchange {
    explicit Exchange(int connection) : exchange{} { socket = connection; }
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;
    ~Exchange() { ::close(socket); }

    std::string request;
    std::string timeline;
};

inline long long monotonic_ns() {
    return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

// The value of a header, or an empty text.
inline std::string_view header(std::string_view request, std::string_view name) {
    for (std::size_t at = request.find("\r\n"); at != std::string_view::npos; at = request.find("\r\n", at)) {
        at += 2;
        std::string_view line = request.substr(at, request.find("\r\n", at) - at);
        const bool same = line.size() > name.size() && line[name.size()] == ':' &&
                          std::equal(name.begin(), name.end(), line.begin(), [](unsigned char a, unsigned char b) {
                              return std::tolower(a) == std::tolower(b);
                          });
        if (!same) continue;
        line.remove_prefix(name.size() + 1);
        while (line.starts_with(' ')) line.remove_prefix(1);
        while (line.ends_with(' ')) line.remove_suffix(1);
        return line;
    }
    return {};
}

// Reads and parses the request; false when the peer sent none.
inline bool receive(Exchange& exchange) {
    char buffer[4096];
    while (exchange.request.find("\r\n\r\n") == std::string::npos) {
        const ssize_t size = ::read(exchange.socket, buffer, sizeof(buffer));
        if (size <= 0 || exchange.request.size() > 64 * 1024) return false;
        exchange.request.append(buffer, static_cast<std::size_t>(size));
    }
    const std::string_view request = exchange.request;
    const std::size_t path = request.find(' ') + 1, end = request.find(' ', path);
    if (path == 0 || end == std::string_view::npos) return false;
    const std::string_view traceparent = header(request, "traceparent");
    exchange.method = request.data();
    exchange.method_len = path - 1;
    exchange.path = request.data() + path;
    exchange.path_len = end - path;
    exchange.traceparent = traceparent.data();
    exchange.traceparent_len = traceparent.size();
    return true;
}

inline void respond(const Exchange& exchange) {
    const std::string text = "HTTP/1.1 " + std::to_string(exchange.status) +
                             " -\r\nConnection: close\r\nContent-Length: " + std::to_string(exchange.timeline.size()) +
                             "\r\n\r\n" + exchange.timeline;
    for (std::size_t sent = 0; sent < text.size();) {
        const ssize_t size = ::send(exchange.socket, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
        if (size <= 0) return;
        sent += static_cast<std::size_t>(size);
    }
}

// Notes in the timeline what is done while it lives.
class Stretch {
public:
    Stretch(Exchange& exchange, std::string_view what) : exchange_(exchange), what_(what), from_(monotonic_ns()) {}
    Stretch(const Stretch&) = delete;
    Stretch& operator=(const Stretch&) = delete;
    ~Stretch() {
        exchange_.timeline += what_ + " " + std::to_string(::gettid()) + " " + std::to_string(from_) + " " +
                              std::to_string(monotonic_ns()) + "\n";
    }

private:
    Exchange& exchange_;
    std::string what_;
    long long from_;
};

// A listening socket on a port of its own choice, which it announces.
inline int listen_on_loopback() {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener, 1024) != 0 ||
        ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        std::perror("listen");
        std::exit(1);
    }
    std::printf("listening 127.0.0.1:%d\n", ntohs(address.sin_port));
    std::fflush(stdout);
    return listener;
}

// Keeps the CPU busy.
inline void burn(std::chrono::microseconds duration) {
    const auto end = std::chrono::steady_clock::now() + duration;
    while (std::chrono::steady_clock::now() < end) {
    }
}

}  // namespace http
