// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// LiveScreen: what the live view draws, as text: new lines, which scroll away, above a status area, which stays.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <otel_ebpf/export/span_line.hpp>
#include <otel_ebpf/export/text.hpp>
#include <otel_ebpf/report.hpp>

#include "columns.hpp"
#include "live_rates.hpp"
#include "terminal.hpp"

namespace agent {

// What the status area tells.
struct LiveStatus {
    std::chrono::seconds age{};
    std::uint64_t spans = 0;
    std::uint64_t one_trace_of = 1;  // are shown
    Rate total{};
    std::array<std::uint64_t, LiveRates::history_seconds> history{};
    std::vector<OperationRate> operations{};
    std::vector<oe::TargetRow> targets{};
    std::uint64_t dropped = 0;
    std::string losses{};  // "ringbuf_full 12"; shown when anything was dropped
};

// What tells services apart: names that nobody chose begin with "unknown_service:", as OpenTelemetry has it.
inline std::string_view short_service(std::string_view service) {
    constexpr std::string_view prefix = "unknown_service:";
    if (service.size() > prefix.size() && service.starts_with(prefix)) service.remove_prefix(prefix.size());
    return service;
}

class LiveScreen {
public:
    explicit LiveScreen(bool colors) : colors_(colors) {}

    // Operations that the status area has room for.
    [[nodiscard]] static std::size_t operation_rows(TerminalSize size) {
        const std::size_t most = size.rows / 3;
        return most > fixed_rows ? std::min<std::size_t>(most - fixed_rows, 12) : 0;
    }

    void add_tree(std::span<const oe::SpanLineTrees::Node> tree, TerminalSize size) {
        oe::append_tree(lines_, tree, style_for(size));
    }

    // A line that is no span. Any bytes. Lost while more lines wait than anybody reads.
    void add_note(std::string_view text) {
        if (lines_.size() > 256 * 1024) return;
        oe::append_terminal_text(lines_, text);
        lines_ += '\n';
    }

    // What takes the terminal from the last frame to this one: the status area is painted over with the lines that were
    // added since, and drawn again below them. Without a status the area is gone afterwards.
    [[nodiscard]] std::string frame(const LiveStatus* status, TerminalSize size) {
        // One column stays free: in some terminals a full line swallows the erasure that follows it.
        const std::size_t columns = std::max<std::size_t>(size.columns, 2) - 1;
        std::string out = "\x1b[?7l\r";  // lines never wrap: the next frame has to know how many there are
        if (const std::size_t up = rows_above_cursor(size); up > 0) out += fmt::format("\x1b[{}A", up);
        for (std::string_view rest = lines_; !rest.empty();) {
            const std::size_t length = rest.find('\n');
            append_cut(out, rest.substr(0, length), columns);
            out += "\x1b[K\r\n";
            rest.remove_prefix(length + 1);
        }
        lines_.clear();

        const std::vector<std::string> rows = status ? status_rows(*status, size, columns) : std::vector<std::string>();
        status_columns_.clear();
        for (const std::string& row : rows) {
            if (!status_columns_.empty()) out += "\r\n";
            append_cut(out, row, columns);
            out += "\x1b[K";
            status_columns_.push_back(std::min(columns_of(row), columns));
        }
        return out += "\x1b[J\x1b[?7h";
    }

private:
    static constexpr std::size_t fixed_rows = 4;  // rule, rates, totals, heads of the table
    static constexpr std::string_view dim = "\x1b[2m", bold = "\x1b[1m", red = "\x1b[31m", cyan = "\x1b[36m",
                                      reset = "\x1b[0m";

    // How far up the last status area begins: a terminal that has become narrower has broken its rows.
    [[nodiscard]] std::size_t rows_above_cursor(TerminalSize size) const {
        std::size_t rows = 0;
        for (const std::size_t columns : status_columns_) rows += std::max<std::size_t>(columns, 1) / size.columns + 1;
        return std::min(rows, size.rows) - std::min<std::size_t>(rows, 1);
    }

    [[nodiscard]] oe::TreeStyle style_for(TerminalSize size) const {
        oe::TreeStyle style{.colors = colors_, .cut = true};
        style.trace_ids = size.columns >= 110;
        style.kinds = size.columns >= 100;
        if (size.columns < 90) style.service_width = 8;
        const std::size_t rest = size.columns > 70 ? size.columns - 70 : 0;
        style.name_width = std::clamp<std::size_t>(20 + rest, 24, 40);
        return style;
    }

    [[nodiscard]] std::string painted(std::string_view color, std::string_view text) const {
        return colors_ ? fmt::format("{}{}{}", color, text, reset) : std::string(text);
    }

    [[nodiscard]] std::vector<std::string> status_rows(const LiveStatus& status, TerminalSize size,
                                                       std::size_t columns) const {
        std::vector<std::string> rows = {rule(status, columns), rate_row(status), total_row(status)};
        if (size.rows < 3 * fixed_rows) return {rows[1]};
        if (operation_rows(size) == 0 || status.operations.empty()) return rows;
        append_table(rows, status.operations, columns);
        return rows;
    }

    [[nodiscard]] std::string rule(const LiveStatus& status, std::size_t columns) const {
        const auto seconds = status.age.count();
        std::string title = fmt::format("── otel-ebpf-trace ── {:02}:{:02}:{:02} ── Ctrl-C ends ──", seconds / 3600,
                                        seconds / 60 % 60, seconds % 60);
        for (std::size_t used = columns_of(title); used < columns; ++used) title += "─";
        return painted(dim, title);
    }

    [[nodiscard]] std::string rate_row(const LiveStatus& status) const {
        const Rate& rate = status.total;
        return fmt::format(" {} spans/s  {}  p50 {} ms  p99 {} ms  {}",
                           painted(bold, fmt::format("{:>9}", grouped(rounded(rate.spans_per_second)))),
                           painted(rate.error_share > 0 ? red : dim, "errors " + percent(rate.error_share)),
                           milliseconds(rate.p50_ns), milliseconds(rate.p99_ns), painted(cyan, bars(status.history)));
    }

    [[nodiscard]] std::string total_row(const LiveStatus& status) const {
        std::string row = fmt::format(" {:>9} spans    ", grouped(status.spans));
        row += status.dropped == 0
                   ? painted(dim, "dropped 0")
                   : painted(red, fmt::format("dropped {} ({})", grouped(status.dropped), status.losses));
        if (status.one_trace_of > 1)
            row += "  " + painted(bold, fmt::format("showing 1 of {} traces", grouped(status.one_trace_of)));
        for (const oe::TargetRow& target : status.targets) {
            row += "  ";
            row += painted(target.state == oe::RowState::failed ? red : dim, target_text(target));
        }
        return row;
    }

    [[nodiscard]] static std::string target_text(const oe::TargetRow& target) {
        std::string text;
        const std::string_view file = std::string_view(target.executable).substr(target.executable.rfind('/') + 1);
        oe::append_terminal_text(text, target.service_name.empty() ? file : short_service(target.service_name));
        if (target.pid != 0) text += fmt::format("[{}]", target.pid);
        if (target.state == oe::RowState::failed) text += " failed";
        else if (target.exited) text += " exited";
        return text;
    }

    void append_table(std::vector<std::string>& rows, const std::vector<OperationRate>& operations,
                      std::size_t columns) const {
        constexpr std::size_t number_columns = 39;
        const std::size_t text_columns = std::clamp<std::size_t>(columns, number_columns + 20, 120) - number_columns;
        const std::size_t service_columns = std::clamp<std::size_t>(text_columns / 4, 8, 20);
        const std::size_t name_columns = text_columns - service_columns - 2;
        const auto begin_row = [&](std::string_view service, std::string_view name) {
            std::string row = " ";
            append_cell(row, service, service_columns);
            row += ' ';
            append_cell(row, name, name_columns);
            return row;
        };
        rows.push_back(painted(dim, begin_row("service", "span") + "   spans/s   errors    p50 ms    p99 ms"));
        for (const OperationRate& operation : operations) {
            std::string service;
            oe::append_terminal_text(service, operation.service);
            std::string name(oe::to_string(operation.kind));
            if (!name.empty()) name += ' ';
            oe::append_terminal_text(name, operation.name);
            const Rate& rate = operation.rate;
            rows.push_back(begin_row(service, name) + painted(bold, fmt::format(" {:>9.1f}", rate.spans_per_second)) +
                           painted(rate.error_share > 0 ? red : dim, fmt::format(" {:>8}", percent(rate.error_share))) +
                           fmt::format(" {:>9} {:>9}", milliseconds(rate.p50_ns), milliseconds(rate.p99_ns)));
        }
    }

    // A bar per second, of eight heights; the highest stands for the busiest second.
    [[nodiscard]] static std::string bars(std::span<const std::uint64_t> counts) {
        constexpr std::array<std::string_view, 9> heights = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
        const std::uint64_t most = std::max<std::uint64_t>(1, *std::max_element(counts.begin(), counts.end()));
        std::string text;
        for (const std::uint64_t count : counts) text += heights[(count * 8 + most - 1) / most];
        return text;
    }

    static std::uint64_t rounded(double value) { return static_cast<std::uint64_t>(value + 0.5); }
    static std::string percent(double share) { return fmt::format("{:.1f}%", share * 100); }
    static std::string milliseconds(std::uint64_t ns) { return fmt::format("{:.2f}", static_cast<double>(ns) / 1e6); }

    // "12,345"
    static std::string grouped(std::uint64_t value) {
        std::string text = std::to_string(value);
        for (std::size_t i = text.size(); i > 3; i -= 3) text.insert(i - 3, 1, ',');
        return text;
    }

    bool colors_ = false;
    std::string lines_;
    std::vector<std::size_t> status_columns_;  // of the rows that are on the terminal
};

}  // namespace agent
