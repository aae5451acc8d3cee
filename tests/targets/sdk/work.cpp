// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
#include "work.hpp"

#include <array>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include <otel_ebpf/publish/thread_context.hpp>

OTEL_EBPF_DEFINE_THREAD_CONTEXT

#ifdef LARGE_TLS
__attribute__((used)) static __thread char large[256 * 1024];
#endif

#define BURNER(name)                                                               \
    extern "C" char __start_##name[], __stop_##name[];                             \
    __attribute__((noinline, section(#name))) static std::uint64_t name(std::uint64_t n) { \
        std::uint64_t sum = n;                                                     \
        for (std::uint64_t i = 0; i < n; ++i) {                                    \
            sum = sum * 6364136223846793005U + i;                                  \
            __asm__ volatile("" : "+r"(sum));                                      \
        }                                                                          \
        return sum;                                                                \
    }

BURNER(burn_outer)
BURNER(burn_inner)
BURNER(burn_outside)

namespace {

namespace publish = otel_ebpf::publish;
constexpr std::uint64_t steps = 200'000;  // some hundred microseconds

void work(int index, std::chrono::steady_clock::time_point end) {
    std::array<std::uint8_t, 16> trace_id{};
    trace_id.fill(0x0a);
    trace_id[0] = static_cast<std::uint8_t>(index + 1);
    const std::array<std::uint8_t, 8> outer{1}, inner{2};
    // "No span" is shown in both ways: before the first record, and between two.
    burn_outside(steps);
    while (std::chrono::steady_clock::now() < end) {
        {
            publish::ThreadScope request(trace_id, outer, 1);
            request.add(0, "outer");
            burn_outer(steps);
            {
                publish::ThreadScope function(trace_id, inner, 1);
                function.add(1, "inner");
                function.add(1, "inner again");
                burn_inner(steps);
            }
            burn_outer(steps);
        }
        burn_outside(steps);
    }
}

}  // namespace

extern "C" int run_work(int threads, int ms) {
    std::printf("burn_outer %lx %lx\n", reinterpret_cast<unsigned long>(__start_burn_outer),
                reinterpret_cast<unsigned long>(__stop_burn_outer));
    std::printf("burn_inner %lx %lx\n", reinterpret_cast<unsigned long>(__start_burn_inner),
                reinterpret_cast<unsigned long>(__stop_burn_inner));
    std::printf("burn_outside %lx %lx\n", reinterpret_cast<unsigned long>(__start_burn_outside),
                reinterpret_cast<unsigned long>(__stop_burn_outside));
    std::fflush(stdout);
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
    std::vector<std::jthread> all;
    for (int i = 0; i < threads; ++i) all.emplace_back(work, i, end);
    return 0;
}
