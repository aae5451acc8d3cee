// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ClockOffset: from the kernel's monotonic clock, which BPF reads, to Unix time, which OTLP wants.
#pragma once

#include <time.h>

#include <cstdint>
#include <limits>

namespace otel_ebpf {

inline std::uint64_t now_ns(clockid_t clock) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000ULL + static_cast<std::uint64_t>(now.tv_nsec);
}

// The two clocks drift and the wall clock is stepped, so the offset is measured again every second.
class ClockOffset {
public:
    ClockOffset() { measure(); }

    void refresh() {
        if (now_ns(CLOCK_MONOTONIC) - measured_at_ns_ >= 1'000'000'000ULL) measure();
    }
    [[nodiscard]] std::uint64_t to_unix_ns(std::uint64_t monotonic_ns) const {
        return monotonic_ns + offset_ns_;  // modulo 2^64: the offset may be negative
    }

private:
    void measure() {
        std::uint64_t tightest = std::numeric_limits<std::uint64_t>::max();
        for (int i = 0; i < 5; ++i) {
            const std::uint64_t before = now_ns(CLOCK_MONOTONIC);
            const std::uint64_t unix_time = now_ns(CLOCK_REALTIME);
            const std::uint64_t after = now_ns(CLOCK_MONOTONIC);
            if (after - before >= tightest) continue;
            tightest = after - before;
            offset_ns_ = unix_time - (before + (after - before) / 2);
            measured_at_ns_ = after;
        }
    }

    std::uint64_t offset_ns_ = 0;
    std::uint64_t measured_at_ns_ = 0;
};

}  // namespace otel_ebpf
