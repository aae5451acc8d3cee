// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// LiveRates: spans per second, errors and latency per operation over the last seconds, in bounded memory.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <otel_ebpf/span.hpp>

namespace agent {

namespace oe = otel_ebpf;

// Counts durations in 16 buckets per power of two, so that a quantile is off by 3.2 % at most.
class LatencyHistogram {
public:
    void add(std::uint64_t ns) { ++buckets_[index_of(std::min(ns, longest_ns))]; }
    void add(const LatencyHistogram& other) {
        for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
    }

    // In nanoseconds; 0 when nothing was added.
    [[nodiscard]] std::uint64_t quantile(double share) const {
        std::uint64_t total = 0;
        for (const std::uint32_t count : buckets_) total += count;
        if (total == 0) return 0;
        const auto rank = static_cast<std::uint64_t>(share * static_cast<double>(total - 1));
        std::uint64_t below = 0;
        std::size_t i = 0;
        while ((below += buckets_[i]) <= rank) ++i;
        return middle_of(i);
    }

private:
    static constexpr std::uint32_t longest_bits = 40;
    static constexpr std::uint64_t longest_ns = (1ULL << longest_bits) - 1;  // 18 minutes
    static constexpr std::uint32_t sub_buckets = 16;
    static constexpr std::uint32_t sub_bits = 4;

    static constexpr std::size_t index_of(std::uint64_t ns) {
        const auto shift = static_cast<std::uint32_t>(std::bit_width(ns | sub_buckets)) - sub_bits - 1;
        return shift * sub_buckets + (ns >> shift);
    }
    static constexpr std::uint64_t middle_of(std::size_t index) {
        if (index < sub_buckets) return index;
        const std::size_t shift = index / sub_buckets - 1;
        return ((index - shift * sub_buckets) << shift) + ((1ULL << shift) >> 1);
    }

    std::array<std::uint32_t, (longest_bits - sub_bits + 1) * sub_buckets> buckets_{};
};

struct Rate {
    double spans_per_second = 0;
    double error_share = 0;  // 0 to 1
    std::uint64_t spans = 0;
    std::uint64_t p50_ns = 0;
    std::uint64_t p99_ns = 0;
};

// What happened in each of the last seconds.
class RateWindow {
public:
    static constexpr std::int64_t seconds = 5;

    void add(std::int64_t second, bool is_error, std::uint64_t duration_ns) {
        Slot& slot = slots_[static_cast<std::size_t>(second % seconds)];
        if (slot.second != second) slot = Slot{.second = second};
        ++slot.spans;
        if (is_error) ++slot.errors;
        slot.latency.add(duration_ns);
        last_second_ = second;
    }

    [[nodiscard]] bool is_idle(std::int64_t second) const { return last_second_ <= second - seconds; }

    // `span_seconds`: how much time the window covers.
    [[nodiscard]] Rate rate(std::int64_t second, double span_seconds) const {
        Rate rate;
        std::uint64_t errors = 0;
        LatencyHistogram latency;
        for (const Slot& slot : slots_) {
            if (slot.second <= second - seconds) continue;
            rate.spans += slot.spans;
            errors += slot.errors;
            latency.add(slot.latency);
        }
        if (rate.spans == 0) return rate;
        rate.spans_per_second = static_cast<double>(rate.spans) / span_seconds;
        rate.error_share = static_cast<double>(errors) / static_cast<double>(rate.spans);
        rate.p50_ns = latency.quantile(0.5);
        rate.p99_ns = latency.quantile(0.99);
        return rate;
    }

private:
    struct Slot {
        std::int64_t second = -seconds;
        std::uint64_t spans = 0;
        std::uint64_t errors = 0;
        LatencyHistogram latency{};
    };
    std::array<Slot, seconds> slots_{};
    std::int64_t last_second_ = -seconds;
};

// An operation: spans of one kind and name in one service. The texts are as they came, so not safe on a terminal.
struct OperationRate {
    std::string service;
    std::string name;
    oe::SpanKind kind = oe::SpanKind::unspecified;
    Rate rate;
};

class LiveRates {
public:
    using Clock = std::chrono::steady_clock;
    static constexpr std::size_t max_operations = 64;  // at a time; spans of further ones count as "(others)"
    static constexpr std::size_t history_seconds = 24;

    explicit LiveRates(Clock::time_point now) : start_(now) {}

    void add(const oe::Span& span, std::string_view service, Clock::time_point now) {
        const std::int64_t second = second_of(now);
        const bool is_error = span.status == oe::StatusCode::error;
        const std::uint64_t duration_ns = span.end_unix_ns - std::min(span.end_unix_ns, span.start_unix_ns);
        ++spans_;
        if (is_error) ++errors_;
        total_.add(second, is_error, duration_ns);
        count_in_history(second);
        operation(service, span, second).window.add(second, is_error, duration_ns);
    }

    [[nodiscard]] std::uint64_t spans() const { return spans_; }
    [[nodiscard]] std::uint64_t errors() const { return errors_; }
    [[nodiscard]] std::chrono::seconds age(Clock::time_point now) const { return std::chrono::seconds(second_of(now)); }
    [[nodiscard]] Rate total(Clock::time_point now) const { return total_.rate(second_of(now), covered_seconds(now)); }

    // The busiest `count` operations, by service and name so that rows stay where they are.
    [[nodiscard]] std::vector<OperationRate> busiest(std::size_t count, Clock::time_point now) const {
        std::vector<OperationRate> rows;
        for (const auto& [key, operation] : operations_) {
            if (operation.window.is_idle(second_of(now))) continue;
            rows.push_back({operation.service, operation.name, operation.kind,
                            operation.window.rate(second_of(now), covered_seconds(now))});
        }
        std::sort(rows.begin(), rows.end(), [](const OperationRate& a, const OperationRate& b) {
            return a.rate.spans != b.rate.spans ? a.rate.spans > b.rate.spans : is_before(a, b);
        });
        rows.resize(std::min(rows.size(), count));
        std::sort(rows.begin(), rows.end(), is_before);
        return rows;
    }

    // Spans in each of the last whole seconds, oldest first.
    [[nodiscard]] std::array<std::uint64_t, history_seconds> history(Clock::time_point now) const {
        std::array<std::uint64_t, history_seconds> counts{};
        const std::int64_t current = second_of(now);
        for (const Second& past : history_) {
            const std::int64_t age = current - past.second;
            if (past.second >= 0 && age >= 1 && age <= static_cast<std::int64_t>(history_seconds))
                counts[history_seconds - static_cast<std::size_t>(age)] = past.spans;
        }
        return counts;
    }

private:
    struct Operation {
        std::string service;
        std::string name;
        oe::SpanKind kind = oe::SpanKind::unspecified;
        RateWindow window{};
    };

    struct Second {
        std::int64_t second = -1;
        std::uint64_t spans = 0;
    };

    static bool is_before(const OperationRate& a, const OperationRate& b) {
        return std::tie(a.service, a.name, a.kind) < std::tie(b.service, b.name, b.kind);
    }

    std::int64_t second_of(Clock::time_point now) const {
        return std::chrono::duration_cast<std::chrono::seconds>(now - start_).count();
    }

    // The current second is in the window with what has passed of it. Not below 1, so that a first span is no burst.
    double covered_seconds(Clock::time_point now) const {
        const double age = std::chrono::duration<double>(now - start_).count();
        const double begin = std::max<double>(0, static_cast<double>(second_of(now) - RateWindow::seconds + 1));
        return std::max(1.0, age - begin);
    }

    void count_in_history(std::int64_t second) {
        Second& slot = history_[static_cast<std::size_t>(second) % history_.size()];
        if (slot.second != second) slot = Second{second, 0};
        ++slot.spans;
    }

    Operation& operation(std::string_view service, const oe::Span& span, std::int64_t second) {
        const auto known = operations_.find(key_of(service, span.name, span.kind));
        if (known != operations_.end()) return known->second;
        if (operations_.size() >= max_operations)
            std::erase_if(operations_, [second](const auto& entry) { return entry.second.window.is_idle(second); });
        if (operations_.size() < max_operations)
            return operations_[key_] = {std::string(service), std::string(span.name), span.kind};
        const auto others = operations_.try_emplace(key_of({}, others_name, oe::SpanKind::unspecified)).first;
        others->second.name = others_name;
        return others->second;
    }

    const std::string& key_of(std::string_view service, std::string_view name, oe::SpanKind kind) {
        key_.assign(service);
        key_ += '\0';
        key_ += static_cast<char>(kind);
        key_ += name;
        return key_;
    }

    static constexpr std::string_view others_name = "(others)";

    Clock::time_point start_;
    std::uint64_t spans_ = 0;
    std::uint64_t errors_ = 0;
    RateWindow total_;
    std::unordered_map<std::string, Operation> operations_;  // by key_of()
    std::string key_;
    std::array<Second, history_seconds + 1> history_{};
};

}  // namespace agent
