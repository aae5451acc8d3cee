// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Probe of example.com/ledger: a span for every settlement. The .bpf.c includes <ledger.programs.h>.
#pragma once

#include <cstdint>
#include <string_view>

#include <ledger.bpf.h>
#include <otel_ebpf/probe.hpp>

namespace ledger {

namespace oe = otel_ebpf;

using Event = ledger_settle_event;

inline bool to_span(const Event& event, const oe::ProcessInfo&, oe::Span& span) {
    span.name = "settle";
    span.set("ledger.account", std::string_view(event.account, event.account_len));
    span.set("ledger.amount", std::int64_t{event.cents});  // cents
    if (event.book_len != 0) span.set("ledger.book", std::string_view(event.book, event.book_len));
    if (event.failed != 0) span.status = oe::StatusCode::error;
    return true;
}

template <class S>
concept bpf_file_includes_ledger_programs = oe::Skeleton<S> && requires {
    &oe::Progs<S>::ledger_start;
    &oe::Progs<S>::ledger_end;
};

template <oe::Skeleton S>
inline constexpr oe::Uprobe<S> settle_uprobes[] = {
    {.symbol = "example.com/ledger.(*Book).Settle",
     .run = &oe::Progs<S>::ledger_start,
     .live_registers = oe::args(0, 1, 2, 3)},  // (*Book, account{ptr, len}, cents)
    {.symbol = "example.com/ledger.(*Book).Settle",
     .at = oe::Site::returns,
     .run = &oe::Progs<S>::ledger_end,
     .live_registers = oe::results(2)},  // (receipt{ptr, len}, error{type, data})
};

template <oe::Skeleton S>
inline constexpr oe::Fact<S> settle_facts[] = {
    {&oe::Rodata<S>::ledger_f_book_name, oe::offset_of("example.com/ledger", "example.com/ledger", "Book", "name"),
     false},
};

template <class S>
    requires bpf_file_includes_ledger_programs<S>
inline constexpr oe::Probe<S, Event> settle{
    .name = "ledger",
    .event_kind = &oe::Rodata<S>::ledger_kind,
    .uprobes = settle_uprobes<S>,
    .facts = settle_facts<S>,
    .scope = "example.com/ledger",
    .to_span = &to_span,
};

}  // namespace ledger
