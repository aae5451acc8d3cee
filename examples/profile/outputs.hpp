// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Writes a profile in the forms that were asked for.
#pragma once

#include <span>

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

// All outputs are tried; the first failure is returned.
[[nodiscard]] otel_ebpf::Result<void> write_outputs(const Options& options, const Recorded& recorded);

}  // namespace profiler
