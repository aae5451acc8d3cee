// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The Probe of tiny.h, whatever skeleton it is in.
#pragma once

#include <otel_ebpf/probe.hpp>

namespace tiny {

namespace oe = otel_ebpf;

inline bool to_span(const oe_span_event&, const oe::ProcessInfo&, oe::Span& span) {
    span.name = "tiny";
    return true;
}

template <oe::Skeleton S>
inline constexpr oe::Uprobe<S> uprobes[] = {
    {.symbol = "net/http.serverHandler.ServeHTTP", .run = &oe::Progs<S>::tiny_hit},
};

template <oe::Skeleton S>
inline constexpr oe::Probe<S, oe_span_event> probe{
    .name = "tiny", .event_kind = &oe::Rodata<S>::tiny_kind, .uprobes = uprobes<S>, .to_span = &to_span};

}  // namespace tiny
