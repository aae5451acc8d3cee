// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// LiveView: spans on a terminal as they come, and what goes on in numbers below them.
#pragma once

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/export/console.hpp>
#include <otel_ebpf/export/span_line.hpp>
#include <otel_ebpf/process.hpp>
#include <otel_ebpf/report.hpp>
#include <otel_ebpf/report_format.hpp>
#include <otel_ebpf/span.hpp>

#include "live_rates.hpp"
#include "live_screen.hpp"
#include "terminal.hpp"

namespace agent {

// Chooses traces by their random id, so that those that are shown are whole, and as many as somebody can read.
class TraceSampler {
public:
    static constexpr double spans_per_second = 50;

    void adapt(double offered_per_second) {
        const auto wanted =
            std::bit_ceil(static_cast<std::uint64_t>(std::max(1.0, offered_per_second / spans_per_second)));
        // A rate that sways about a limit does not sway the view.
        const bool is_far_below = offered_per_second < 0.7 * spans_per_second * static_cast<double>(one_of_ / 2);
        if (wanted > one_of_ || is_far_below) one_of_ = wanted;
    }
    [[nodiscard]] bool takes(const oe::TraceId& id) const {
        std::uint64_t low = 0;
        for (std::size_t i = 8; i < 16; ++i) low = low << 8 | id.bytes[i];
        return (low & (one_of_ - 1)) == 0;
    }
    [[nodiscard]] std::uint64_t one_of() const { return one_of_; }

private:
    std::uint64_t one_of_ = 1;  // a power of two
};

// Every span counts in the numbers, and as written; of busy services a sample is shown. Draws at most ten times a
// second, in write() and in flush(): call flush(0ms) now and then while no spans come.
class LiveView final : public oe::Sink {
public:
    using Clock = std::chrono::steady_clock;

    // `fd`: a terminal.
    [[nodiscard]] static oe::Result<std::unique_ptr<LiveView>> open(int fd) {
        auto terminal = Terminal::open(fd);
        if (!terminal) return oe::Failure(std::move(terminal.error()));
        return std::make_unique<LiveView>(std::move(*terminal), oe::Console::wants_colors());
    }

    LiveView(Terminal terminal, bool colors) : terminal_(std::move(terminal)), screen_(colors), rates_(Clock::now()) {}

    // Where the drops and the targets come from; each is called at most once a second, in write() or flush().
    void watch(std::function<oe::Stats()> stats, std::function<std::vector<oe::TargetRow>()> targets) {
        read_stats_ = std::move(stats);
        read_targets_ = std::move(targets);
    }

    // Shows a line that is no span, such as a log message.
    void note(std::string_view text) { screen_.add_note(text); }

    void write(const oe::SpanBatch& batch) override {
        const auto now = Clock::now();
        const std::string_view service = short_service(oe::service_name_of(batch.resource));
        for (const oe::Span& span : batch.spans) {
            rates_.add(span, service, now);
            if (!sampler_.takes(span.context.trace_id) || taken_for_frame_ == most_per_frame) continue;
            ++taken_for_frame_;
            trees_.add(span, oe::make_span_line(span, service), now);
        }
        (terminal_.is_gone() ? stats_.spans_dropped : stats_.spans_written) += batch.spans.size();
        draw_when_due(now);
    }

    // With a timeout of 0 draws what is due; with a longer one all spans that are held, and leaves the cursor below
    // them, without a status area, until the next frame.
    bool flush(std::chrono::milliseconds timeout) override {
        if (timeout.count() <= 0) return draw_when_due(Clock::now()), trees_.held() == 0;
        if (!terminal_.send(timeout)) return false;
        const TerminalSize size = terminal_.size();
        trees_.take_all([&](auto tree) { screen_.add_tree(tree, size); });
        terminal_.write(screen_.frame(nullptr, size));
        return terminal_.send(timeout);
    }

    [[nodiscard]] oe::SinkStats stats() const override {
        oe::SinkStats stats = stats_;
        if (terminal_.is_gone()) stats.last_error = "write to the terminal: " + terminal_.error().message();
        return stats;
    }

private:
    static constexpr std::chrono::milliseconds frame_interval{100};
    static constexpr std::chrono::milliseconds facts_interval{1000};
    static constexpr std::size_t most_per_frame = 200;  // spans, until the sampler has seen a sudden load

    void draw_when_due(Clock::time_point now) {
        if (now - drawn_ < frame_interval) return;
        drawn_ = now;
        // A terminal that does not take the last frame gets no further one.
        if (!terminal_.send(std::chrono::milliseconds(0))) return;
        taken_for_frame_ = 0;
        const TerminalSize size = terminal_.size();
        trees_.take_due(now, [&](auto tree) { screen_.add_tree(tree, size); });
        status_.age = rates_.age(now);
        status_.spans = rates_.spans();
        status_.total = rates_.total(now);
        status_.history = rates_.history(now);
        status_.operations = rates_.busiest(LiveScreen::operation_rows(size), now);
        sampler_.adapt(status_.total.spans_per_second);
        status_.one_trace_of = sampler_.one_of();
        read_facts(now);
        terminal_.write(screen_.frame(&status_, size));
    }

    void read_facts(Clock::time_point now) {
        if (now - facts_read_ < facts_interval) return;
        facts_read_ = now;
        if (read_targets_) status_.targets = read_targets_();
        if (!read_stats_) return;
        const oe::Stats stats = read_stats_();
        status_.dropped = stats.dropped();
        status_.losses = oe::losses_in(stats);
    }

    Terminal terminal_;
    LiveScreen screen_;
    LiveRates rates_;
    TraceSampler sampler_;
    oe::SpanLineTrees trees_{{.spans = 2000, .spans_per_trace = 200}};
    std::size_t taken_for_frame_ = 0;
    LiveStatus status_;
    std::function<oe::Stats()> read_stats_;
    std::function<std::vector<oe::TargetRow>()> read_targets_;
    Clock::time_point drawn_{};
    Clock::time_point facts_read_{};
    oe::SinkStats stats_;
};

}  // namespace agent
