// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// JsonLines: OTLP/JSON, one export request per line, as the OpenTelemetry Collector's file exporter writes it.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include <otel_ebpf/detail/output.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/export/otlp_json.hpp>
#include <otel_ebpf/span.hpp>

namespace otel_ebpf {

// Writes from the thread that calls it and keeps up to 128 KiB back for at most 50 ms while spans keep coming; call
// flush() when none do. A full disk, a closed pipe or a slow reader costs spans, which are counted, and never waits.
class JsonLines final : public Sink {
public:
    // Appends to a file, or writes to standard output ("-").
    [[nodiscard]] static Result<std::unique_ptr<JsonLines>> open(const std::string& path_or_dash) {
        auto output = detail::Output::open(path_or_dash);
        if (!output) return Failure(std::move(output.error()));
        return std::make_unique<JsonLines>(std::move(*output));
    }

    explicit JsonLines(detail::Output output) : output_(std::move(output)) {}

    void write(const SpanBatch& batch) override {
        if (batch.spans.empty()) return;
        otlp::append_export_request(output_.buffer(), batch);
        output_.buffer() += '\n';
        output_.commit(batch.spans.size());
    }

    bool flush(std::chrono::milliseconds timeout) override { return output_.drain(timeout); }
    [[nodiscard]] SinkStats stats() const override { return output_.stats(); }

private:
    detail::Output output_;
};

}  // namespace otel_ebpf
