// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The forms in which a profile can be written.
#pragma once

#include <span>
#include <string>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/profile/model.hpp>
#include <otel_ebpf/profile/report.hpp>

#include "options.hpp"

namespace profiler {

// What was recorded, and what else the report says of it.
struct Recorded {
    const otel_ebpf::profile::Profile& profile;
    std::span<const otel_ebpf::profile::SpanRecord> spans;
    otel_ebpf::profile::ReportOptions report;
};

struct OutputKind {
    const char* name;
    const char* default_file;  // "-": standard output
    std::string (*encode)(const Recorded& recorded, const OutputChoice& output, const Options& options);
};

[[nodiscard]] std::span<const OutputKind> output_kinds();

// nullptr when there is none of that name.
[[nodiscard]] const OutputKind* find_output_kind(const std::string& name);

// Tries all outputs; returns the first failure.
[[nodiscard]] otel_ebpf::Result<void> write_outputs(const Options& options, const Recorded& recorded);

}  // namespace profiler
