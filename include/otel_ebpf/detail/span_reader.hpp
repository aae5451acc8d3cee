// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// SpanReader: records of the ring buffer -> Probe::to_span -> batches per process -> Sink.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include <otel_ebpf/clock.hpp>
#include <otel_ebpf/process.hpp>
#include <otel_ebpf/report.hpp>
#include <otel_ebpf/span.hpp>
#include <otel_ebpf/spec.hpp>
#include <otel_ebpf/types.h>

namespace otel_ebpf::detail {

// Spans of one process that wait for the sink.
struct ProcessSpans {
    ProcessFacts facts;
    std::string go_version;
    Resource resource;
    ProcessInfo info;
    TextArena arena;
    std::vector<Span> spans;
};

class SpanReader {
public:
    // Called for a process that joined in the kernel: nullptr when nothing can be learnt of it.
    using FindProcess = std::function<std::unique_ptr<ProcessSpans>(std::uint32_t tgid, std::uint32_t generation)>;

    SpanReader(std::shared_ptr<Sink> sink, FindProcess find) : sink_(std::move(sink)), find_(std::move(find)) {}

    void add_probe(std::uint16_t kind, const ProbeSpec& spec) {
        if (kind >= probes_.size()) probes_.resize(kind + 1U);
        probes_[kind] = {&spec, std::make_unique<Scope>(Scope{spec.scope, std::string(library_version)})};
    }
    void add_process(std::unique_ptr<ProcessSpans> process) {
        remove_process(process->info.tgid, process->info.generation);  // it may have joined before it was looked at
        const std::uint64_t key = key_of(process->info.tgid, process->info.generation);
        processes_[key] = std::move(process);
    }
    void remove_process(std::uint32_t tgid, std::uint32_t generation) {
        const auto position = processes_.find(key_of(tgid, generation));
        if (position == processes_.end()) return;
        flush(*position->second);
        if (last_ == position->second.get()) last_ = nullptr;
        processes_.erase(position);
    }

    // A record whose header names a Probe.
    void on_span(std::span<const std::byte> record, Stats& stats) {
        const auto& header = *reinterpret_cast<const oe_event_header*>(record.data());
        if (header.kind >= probes_.size() || probes_[header.kind].spec == nullptr) return void(++stats.unknown_kinds);
        const auto& [spec, scope] = probes_[header.kind];
        if (record.size() < spec->event_bytes || header.size_bytes > record.size() ||
            header.size_bytes < spec->event_bytes)
            return void(++stats.short_records);
        ProcessSpans* const process = process_of(header);
        if (process == nullptr) return void(++stats.refused_records);

        // The ring buffer may overwrite the record before the sink has seen the span's texts.
        auto* const copy = reinterpret_cast<std::byte*>(process->arena.allocate(header.size_bytes));
        std::memcpy(copy, record.data(), header.size_bytes);
        Span& span = process->spans.emplace_back(process->arena);
        fill(span, *reinterpret_cast<const oe_span_event*>(copy), *spec, scope.get());
        if (!spec->to_span({copy, header.size_bytes}, process->info, span)) {
            process->spans.pop_back();
            ++stats.refused_records;
            return;
        }
        if (header.truncated != 0) {
            span.set("otel_ebpf.truncated", std::int64_t{header.truncated});
            ++stats.truncated_spans;
        }
        if ((header.span_flags & OE_SPAN_ABANDONED) != 0) span.set("otel_ebpf.abandoned", true);
        ++stats.spans;
        stats.record_bytes += header.size_bytes;
        if (process->spans.size() == batch_spans) flush(*process);
    }

    void flush() {
        for (auto& [key, process] : processes_) flush(*process);
        clock_.refresh();
    }

private:
    static constexpr std::size_t batch_spans = 64;  // about 64 KB per process that is busy

    struct Reader {
        const ProbeSpec* spec = nullptr;
        std::unique_ptr<Scope> scope;
    };

    static std::uint64_t key_of(std::uint32_t tgid, std::uint32_t generation) {
        return std::uint64_t{tgid} << 32 | generation;
    }

    ProcessSpans* process_of(const oe_event_header& header) {
        const std::uint64_t key = key_of(header.tgid, header.generation);
        if (key == last_key_ && last_ != nullptr) return last_;
        auto position = processes_.find(key);
        if (position == processes_.end()) {
            auto found = find_(header.tgid, header.generation);
            if (!found) return nullptr;
            position = processes_.emplace(key, std::move(found)).first;
        }
        last_key_ = key;
        return last_ = position->second.get();
    }

    void fill(Span& span, const oe_span_event& event, const ProbeSpec& spec, const Scope* scope) const {
        span.context = {TraceId::from_bytes(event.trace_id), SpanId::from_bytes(event.span_id),
                        event.header.trace_flags};
        span.parent = SpanId::from_bytes(event.parent_id);
        span.parent_is_remote = (event.header.span_flags & OE_SPAN_REMOTE_PARENT) != 0;
        span.kind = spec.kind;
        span.start_unix_ns = clock_.to_unix_ns(event.start_ns);
        span.end_unix_ns = span.start_unix_ns + event.duration_ns;
        span.scope = scope;
    }

    void flush(ProcessSpans& process) {
        if (process.spans.empty()) return;
        if (sink_) sink_->write({process.resource, process.spans});
        process.spans.clear();
        process.arena.clear();
    }

    std::shared_ptr<Sink> sink_;
    FindProcess find_;
    ClockOffset clock_;
    std::vector<Reader> probes_;
    std::unordered_map<std::uint64_t, std::unique_ptr<ProcessSpans>> processes_;
    std::uint64_t last_key_ = 0;
    ProcessSpans* last_ = nullptr;
};

}  // namespace otel_ebpf::detail
