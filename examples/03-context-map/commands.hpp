// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What otel-ebpf-ctx does with the open map.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include <otel_ebpf/context_map.hpp>
#include <otel_ebpf/context_owned.hpp>

namespace ctx {

namespace oe = otel_ebpf;

// Prints the table once.
oe::Result<void> show(const oe::ContextMap& map, const std::optional<oe::OwnedContexts>& owned);

// Prints it again and again, so many times (0: until SIGINT or SIGTERM); on a terminal each in place of the last.
oe::Result<void> watch(const oe::ContextMap& map, const std::optional<oe::OwnedContexts>& owned,
                       std::chrono::milliseconds interval, std::uint64_t count);

// Removes all entries, or those of threads that have ended, and prints how many.
oe::Result<void> drain(const oe::ContextMap& map, bool all);

}  // namespace ctx
