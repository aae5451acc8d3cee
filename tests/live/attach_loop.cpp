// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// attach_loop PID N: attaches the net/http Probe to a process and detaches it, N times; exit code 0 when all went well.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include <fmt/core.h>

#include <otel_ebpf/otel_ebpf.hpp>
#include <otel_ebpf/probes/net_http.hpp>

#include "attach_loop.skel.h"

namespace oe = otel_ebpf;

namespace {

constexpr std::size_t rounds_per_load = 20;  // a whole Manager comes and goes so often, its links every round

struct Counts {
    std::uint64_t loads = 0;
    std::uint64_t attached = 0;  // rounds
    std::uint64_t links = 0;
    std::uint64_t spans = 0;
    std::uint64_t dropped = 0;
};

std::optional<long> number(std::string_view text) {
    long value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value <= 0) return std::nullopt;
    return value;
}

// Several rounds of one Manager; false, with a message, when one failed.
bool attach_and_detach(pid_t pid, std::size_t rounds, Counts& counts) {
    auto manager = oe::Manager::open({.bundles = {oe::bundle(oe::probes::net_http::server<attach_loop_bpf>)}});
    if (!manager) {
        fmt::print(stderr, "attach_loop: {}\n", manager.error().what);
        return false;
    }
    ++counts.loads;
    for (std::size_t round = 0; round < rounds; ++round) {
        const std::size_t rows_before = (*manager)->report().attached();
        if (const auto added = (*manager)->add(oe::ProcessTarget{pid}); !added) {
            fmt::print(stderr, "attach_loop: round {}: {}\n", counts.attached, added.error().what);
            return false;
        }
        ++counts.attached;
        counts.links += (*manager)->report().attached() - rows_before;
        (*manager)->poll(std::chrono::milliseconds(5 + counts.attached % 16));
        if (round + 1 < rounds) (*manager)->remove(pid);  // the last round ends with stop()
    }
    (*manager)->stop();
    const oe::Stats stats = (*manager)->stats();
    counts.spans += stats.spans;
    counts.dropped += stats.dropped();
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    const auto pid = argc == 3 ? number(argv[1]) : std::nullopt;
    const auto rounds = argc == 3 ? number(argv[2]) : std::nullopt;
    if (!pid || !rounds) {
        fmt::print(stderr, "usage: attach_loop PID N\n");
        return 2;
    }
    Counts counts;
    for (auto left = static_cast<std::size_t>(*rounds); left > 0;) {
        const std::size_t now = std::min(left, rounds_per_load);
        if (!attach_and_detach(static_cast<pid_t>(*pid), now, counts)) return 1;
        left -= now;
    }
    fmt::print("attached {} times ({} sites) from {} loads, {} spans, {} dropped\n", counts.attached, counts.links,
               counts.loads, counts.spans, counts.dropped);
    return 0;
}
