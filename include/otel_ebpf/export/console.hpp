// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Console: spans as lines for people, indented by parent, coloured by status on a terminal.
#pragma once

#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include <otel_ebpf/detail/output.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/export/span_line.hpp>
#include <otel_ebpf/export/trace_tree.hpp>
#include <otel_ebpf/semconv.hpp>
#include <otel_ebpf/span.hpp>

namespace otel_ebpf {

struct ConsoleOptions {
    bool all_attributes = false;
    std::optional<bool> colors{};  // default: on a terminal that wants_colors()
    TraceTreeLimits limits{};
};

// Spans arrive when they end, children before parents, so those of a trace are held until its root came or
// TraceTreeLimits says otherwise. A slow reader costs spans, which are counted.
class Console final : public Sink {
public:
    // Writes to standard output ("-"), or appends to a file.
    [[nodiscard]] static Result<std::unique_ptr<Console>> open(const std::string& path_or_dash = "-",
                                                               ConsoleOptions options = {}) {
        auto output = detail::Output::open(path_or_dash);
        if (!output) return Failure(std::move(output.error()));
        return std::make_unique<Console>(std::move(*output), options);
    }

    Console(detail::Output output, ConsoleOptions options)
        : output_(std::move(output)),
          all_attributes_(options.all_attributes),
          colors_(options.colors.value_or(output_.is_terminal() && wants_colors())),
          trees_(options.limits) {}

    void write(const SpanBatch& batch) override {
        const auto now = SpanLineTrees::Clock::now();
        const std::string_view service = service_of(batch.resource);
        for (const Span& span : batch.spans) trees_.add(span, make_span_line(span, service, all_attributes_), now);
        print_due(now);
    }

    // With a timeout of 0 prints only the traces that are due, so call it so now and then while no spans come; with a
    // longer one everything.
    bool flush(std::chrono::milliseconds timeout) override {
        if (timeout.count() > 0) trees_.take_all([this](auto tree) { print(tree); });
        else print_due(SpanLineTrees::Clock::now());
        return output_.drain(timeout) && trees_.held() == 0;
    }

    [[nodiscard]] SinkStats stats() const override { return output_.stats(); }

    // Whether somebody at a terminal wants colours: not with NO_COLOR (https://no-color.org) or TERM=dumb.
    [[nodiscard]] static bool wants_colors() {
        const char* const no_color = std::getenv("NO_COLOR");
        const char* const terminal = std::getenv("TERM");
        return (no_color == nullptr || *no_color == '\0') &&
               (terminal == nullptr || std::string_view(terminal) != "dumb");
    }

private:
    static std::string_view service_of(const Resource& resource) {
        for (const auto& [key, value] : resource.attributes) {
            const auto* const text = std::get_if<std::string>(&value);
            if (key == semconv::service_name && text != nullptr) return *text;
        }
        return {};
    }

    void print_due(SpanLineTrees::Clock::time_point now) {
        trees_.take_due(now, [this](auto tree) { print(tree); });
    }

    void print(std::span<const SpanLineTrees::Node> tree) {
        append_tree(output_.buffer(), tree, {.colors = colors_});
        output_.commit(tree.size());
    }

    detail::Output output_;
    bool all_attributes_ = false;
    bool colors_ = false;
    SpanLineTrees trees_;
};

}  // namespace otel_ebpf
