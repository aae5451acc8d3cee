// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Profile: samples of the CPU with their stacks and the trace context of each; the sampler makes it, encoders read it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <otel_ebpf/span.hpp>
#include <otel_ebpf/trace_context.hpp>

namespace otel_ebpf::profile {

// A file that code was mapped from. Index 0 of Profile::mappings stands for "none".
struct Mapping {
    std::string path;               // empty: the kernel, or memory without a file
    std::uint64_t start = 0;        // of the mapping in the process
    std::uint64_t limit = 0;
    std::uint64_t file_offset = 0;
    std::string gnu_build_id;       // hex of the note; empty: none
    std::string go_build_id;        // empty: none
    std::string htlhash;            // hex; see the OTLP profiles convention process.executable.build_id.htlhash
};

// One frame. Index 0 of Profile::locations stands for "unknown".
struct Location {
    std::uint32_t mapping = 0;
    std::uint64_t address = 0;      // as sampled; of callers: the return address
    std::string function;           // demangled; empty: could not be symbolised
    std::string file;               // source file; empty: unknown
    std::int64_t line = 0;          // 0: unknown
    bool is_kernel = false;
};

// Where the trace context of a sample came from.
enum class ContextSource : std::uint8_t { none, sdk, ebpf };

// A process that was sampled, with the Resource that its spans carry too.
struct SampledProcess {
    std::uint32_t tgid = 0;
    std::string name;               // comm
    Resource resource;
};

// Samples that share process, thread, stack and context.
struct Sample {
    std::uint32_t process = 0;      // index into Profile::processes
    std::uint32_t tid = 0;
    std::uint32_t stack = 0;        // index into Profile::stacks
    TraceId trace_id;               // all zero, as span_id: outside of every span
    SpanId span_id;
    ContextSource source = ContextSource::none;
    std::vector<std::pair<std::string, std::string>> labels;  // of the application (Go pprof labels, SDK attributes)
    std::vector<std::uint64_t> times_unix_ns;                 // one per sample, in order

    [[nodiscard]] bool has_context() const { return !trace_id.is_zero() && !span_id.is_zero(); }
    [[nodiscard]] std::uint64_t count() const { return times_unix_ns.size(); }
};

// What was recorded in one run. Tables hold every distinct entry once.
struct Profile {
    std::uint64_t start_unix_ns = 0;
    std::uint64_t duration_ns = 0;
    std::uint64_t period_ns = 0;    // CPU time that one sample stands for
    std::vector<SampledProcess> processes;
    std::vector<Mapping> mappings{1};
    std::vector<Location> locations{1};
    std::vector<std::vector<std::uint32_t>> stacks{1};  // indices into locations, leaf first; 0: no stack
    std::vector<Sample> samples;

    [[nodiscard]] std::uint64_t sample_count() const {
        std::uint64_t count = 0;
        for (const Sample& sample : samples) count += sample.count();
        return count;
    }
};

}  // namespace otel_ebpf::profile
