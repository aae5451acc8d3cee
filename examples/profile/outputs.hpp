// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Writes a profile in the forms that were asked for.
#pragma once

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/profile/model.hpp>

#include "options.hpp"

namespace profiler {

// All outputs are tried; the first failure is returned.
[[nodiscard]] otel_ebpf::Result<void> write_outputs(const Options& options, const otel_ebpf::profile::Profile& profile);

}  // namespace profiler
