// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The entries of the context map, with what /proc and the notes of our tools tell about them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <otel_ebpf/context_map.hpp>
#include <otel_ebpf/context_owned.hpp>
#include <otel_ebpf/context_reaper.hpp>

namespace ctx {

namespace oe = otel_ebpf;

struct Row {
    oe::ContextKey key;
    oe::SpanContext context;
    std::string process, thread;  // names; empty when they can't be read
    bool ended = false;           // the thread: nobody but its writer will remove the entry
    std::optional<oe::ContextOwner> writer;  // a tool of ours, else another vendor's
};

// Sorted by process and thread. `owned` is absent where no tool of ours has kept notes.
oe::Result<std::vector<Row>> read_rows(const oe::ContextMap& map, const std::optional<oe::OwnedContexts>& owned);

// Lines of a table and a sum; names are made safe for a terminal.
std::string format_rows(const std::vector<Row>& rows);

}  // namespace ctx
