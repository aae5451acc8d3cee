// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// thread-pool-server [THREADS]: an HTTP server that knows nothing of tracing. A thread takes a connection from the
// queue and serves it from beginning to end.
#include <condition_variable>
#include <deque>
#include <mutex>
#include <stdexcept>

#include "http.hpp"

namespace pool {

using namespace std::chrono_literals;
using http::Exchange;

// Named functions that are not inlined: what profiles show, and what Probes hook.

[[gnu::noinline, gnu::noclone]] void burn_checkout(Exchange& exchange) {
    const http::Stretch stretch(exchange, "checkout");
    http::burn(4ms);
}

[[gnu::noinline, gnu::noclone]] void burn_search(Exchange& exchange) {
    const http::Stretch stretch(exchange, "search");
    http::burn(2ms);
}

// Whether the card was accepted.
[[gnu::noinline, gnu::noclone]] bool charge(Exchange& exchange, long cents) {
    const http::Stretch stretch(exchange, "charge");
    http::burn(2ms);
    if (cents > 1'000'000) throw std::runtime_error("nobody has that much");
    return cents < 10'000;
}

// Called whenever a request has been worked on: the response goes out.
[[gnu::noinline, gnu::noclone]] void finish(Exchange& exchange) {
    http::respond(exchange);
}

void handle(Exchange& exchange) {
    const std::string_view path(exchange.path, exchange.path_len);
    exchange.status = 200;
    if (path == "/checkout") {
        burn_checkout(exchange);
        if (!charge(exchange, 4'900)) exchange.status = 402;
    } else if (path == "/declined") {
        if (!charge(exchange, 49'000)) exchange.status = 402;
    } else if (path == "/broken") {
        charge(exchange, 4'900'000);
    } else if (path == "/search") {
        burn_search(exchange);
    } else {
        exchange.status = 404;
    }
}

[[gnu::noinline, gnu::noclone]] void serve(Exchange& exchange) {
    try {
        handle(exchange);
    } catch (const std::exception&) {
        exchange.status = 500;
    }
    finish(exchange);
}

class Queue {
public:
    void push(int connection) {
        const std::lock_guard lock(mutex_);
        connections_.push_back(connection);
        filled_.notify_one();
    }
    int pop() {
        std::unique_lock lock(mutex_);
        filled_.wait(lock, [this] { return !connections_.empty(); });
        const int connection = connections_.front();
        connections_.pop_front();
        return connection;
    }

private:
    std::mutex mutex_;
    std::condition_variable filled_;
    std::deque<int> connections_;
};

}  // namespace pool

int main(int argc, char** argv) {
    const int threads = argc > 1 ? std::atoi(argv[1]) : 4;
    static pool::Queue queue;
    for (int i = 0; i < threads; ++i)
        std::thread([] {
            for (;;) {
                http::Exchange exchange(queue.pop());
                if (http::receive(exchange)) pool::serve(exchange);
            }
        }).detach();
    const int listener = http::listen_on_loopback();
    for (;;) {
        const int connection = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (connection >= 0) queue.push(connection);
    }
}
