// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// coroutine-server [THREADS]: an HTTP server that knows nothing of tracing. Every request is a C++20 coroutine that
// hops between threads.
#include <atomic>
#include <memory>

#include <http.hpp>

#include "runtime.hpp"

namespace shop {

using namespace std::chrono_literals;
using http::Exchange;

// A part of the work that has a name, from its construction to its destruction, however many threads are in between.
class Step {
public:
    [[gnu::noinline, gnu::noclone]] Step(const char* name, std::size_t length);
    [[gnu::noinline, gnu::noclone]] ~Step();
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

    static std::atomic<int> in_progress;

private:
    std::string_view name_;
};

std::atomic<int> Step::in_progress = 0;

Step::Step(const char* name, std::size_t length) : name_(name, length) {
    ++in_progress;
}
Step::~Step() {
    --in_progress;
}

[[gnu::noinline, gnu::noclone]] void burn_checkout(Exchange& exchange) {
    const http::Stretch stretch(exchange, "checkout");
    http::burn(1500us);
}

[[gnu::noinline, gnu::noclone]] void burn_payment(Exchange& exchange) {
    const http::Stretch stretch(exchange, "payment");
    http::burn(1ms);
}

[[gnu::noinline, gnu::noclone]] void burn_search(Exchange& exchange) {
    const http::Stretch stretch(exchange, "search");
    http::burn(1ms);
}

[[gnu::noinline, gnu::noclone]] void burn_audit() {
    http::burn(500us);
}

// The request has been read: work on it begins.
[[gnu::noinline, gnu::noclone]] void open(Exchange& exchange) {
    exchange.status = 200;
}

// Called whenever a request has been worked on: the response goes out.
[[gnu::noinline, gnu::noclone]] void finish(Exchange& exchange) {
    http::respond(exchange);
}

// Goes on when the response is long out.
coro::Detached audit() {
    const Step step("audit", 5);
    co_await coro::sleep(2ms);
    burn_audit();
}

coro::Detached serve(std::unique_ptr<Exchange> exchange) {
    open(*exchange);
    const std::string_view path(exchange->path, exchange->path_len);
    if (path == "/checkout") {
        burn_checkout(*exchange);
        co_await coro::yield();
        {
            const Step step("payment", 7);
            burn_payment(*exchange);
            co_await coro::sleep(3ms);  // until the bank has answered
            burn_payment(*exchange);
            audit();
        }
        co_await coro::yield();
        burn_checkout(*exchange);
    } else if (path == "/search") {
        burn_search(*exchange);
        co_await coro::yield();
        burn_search(*exchange);
    } else {
        exchange->status = 404;
    }
    finish(*exchange);
}

}  // namespace shop

int main(int argc, char** argv) {
    coro::runtime().start(argc > 1 ? std::atoi(argv[1]) : 4);
    const int listener = http::listen_on_loopback();
    for (;;) {
        const int connection = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (connection < 0) continue;
        auto exchange = std::make_unique<http::Exchange>(connection);
        if (http::receive(*exchange)) shop::serve(std::move(exchange));
    }
}
