// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// SpanLog: a Sink that keeps finished spans of all processes in memory of its own, up to a limit.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <otel_ebpf/span.hpp>

namespace otel_ebpf::profile {

// A finished span that owns what it holds.
struct SpanRecord {
    TraceId trace_id;
    SpanId span_id;
    SpanId parent;                 // all zero: a root
    bool parent_is_remote = false;
    std::string name;              // any bytes
    SpanKind kind = SpanKind::internal;
    StatusCode status = StatusCode::unset;
    std::string status_message;
    std::uint64_t start_unix_ns = 0;
    std::uint64_t end_unix_ns = 0;
    std::string service;           // the resource's service.name
    std::uint32_t tgid = 0;        // the resource's process.pid; 0: it has none
    std::vector<std::pair<std::string, Resource::Owned>> attributes;
};

struct SpanLogLimits {
    std::size_t spans = 100'000;
    std::size_t text_bytes = 64 * 1024 * 1024;  // of names, messages and attributes
};

// Keeps the first spans that come; what comes after the log is full is counted in stats().spans_dropped. Read it on the
// thread that polls the Manager, or after the Manager was stopped.
class SpanLog final : public Sink {
public:
    explicit SpanLog(SpanLogLimits limits = {}) : limits_(limits) {}

    void write(const SpanBatch& batch) override {
        const Process process = process_of(batch.resource);
        for (const Span& span : batch.spans) {
            const std::size_t text_bytes = process.service.size() + text_bytes_of(span);
            if (records_.size() >= limits_.spans || text_bytes > limits_.text_bytes - text_bytes_) {
                ++stats_.spans_dropped;
                continue;
            }
            text_bytes_ += text_bytes;
            ++stats_.spans_written;
            records_.push_back(record_of(span, process));
        }
    }

    [[nodiscard]] SinkStats stats() const override { return stats_; }
    // In the order of their ends, roughly.
    [[nodiscard]] const std::vector<SpanRecord>& spans() const { return records_; }

private:
    struct Process {
        std::string service;
        std::uint32_t tgid = 0;
    };

    static Process process_of(const Resource& resource) {
        Process process;
        for (const auto& [key, value] : resource.attributes) {
            if (key == "service.name") {
                if (const auto* const text = std::get_if<std::string>(&value)) process.service = *text;
            } else if (key == "process.pid") {
                if (const auto* const pid = std::get_if<std::int64_t>(&value))
                    process.tgid = static_cast<std::uint32_t>(*pid);
            }
        }
        return process;
    }

    static std::size_t text_bytes_of(const Span& span) {
        std::size_t bytes = span.name.size() + span.status_message.size();
        for (const Attribute& attribute : span.attributes()) {
            bytes += attribute.key.size();
            if (const auto* const text = std::get_if<std::string_view>(&attribute.value)) bytes += text->size();
        }
        return bytes;
    }

    static Resource::Owned owned(const Value& value) {
        if (const auto* const text = std::get_if<std::string_view>(&value)) return std::string(*text);
        if (const auto* const number = std::get_if<std::int64_t>(&value)) return *number;
        if (const auto* const number = std::get_if<double>(&value)) return *number;
        return std::get<bool>(value);
    }

    static SpanRecord record_of(const Span& span, const Process& process) {
        SpanRecord record{span.context.trace_id,
                          span.context.span_id,
                          span.parent,
                          span.parent_is_remote,
                          std::string(span.name),
                          span.kind,
                          span.status,
                          std::string(span.status_message),
                          span.start_unix_ns,
                          span.end_unix_ns,
                          process.service,
                          process.tgid,
                          {}};
        record.attributes.reserve(span.attributes().size());
        for (const Attribute& attribute : span.attributes())
            record.attributes.emplace_back(attribute.key, owned(attribute.value));
        return record;
    }

    SpanLogLimits limits_;
    std::vector<SpanRecord> records_;
    std::size_t text_bytes_ = 0;
    SinkStats stats_;
};

}  // namespace otel_ebpf::profile
