// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Uses the CPU in known functions until it is killed: outer() calls burn::Worker::middle(), which calls burn::leaf<>(),
// for which compilers make no frame.
#include <cstdint>
#include <cstdio>

volatile std::uint64_t sink;

namespace burn {

template <class T>
[[gnu::noinline]] T leaf(T n) {
    for (int i = 0; i < 2000; ++i) n = n * 6364136223846793005u + 1442695040888963407u;
    return n;
}

struct Worker {
    [[gnu::noinline]] std::uint64_t middle(std::uint64_t n) { return leaf(n) + 1; }
};

}  // namespace burn

[[gnu::noinline]] void outer() {
    burn::Worker worker;
    for (int i = 0; i < 100; ++i) sink = sink + worker.middle(sink);
}

int main() {
    std::puts("burning");
    std::fflush(stdout);
    for (;;) outer();
}
