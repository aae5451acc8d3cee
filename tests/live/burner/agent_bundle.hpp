// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Probes of the agent that the correlation tests use: HTTP servers, and main.work of tests/targets/burner.
#pragma once

#include <otel_ebpf/otel_ebpf.hpp>
#include <otel_ebpf/probes/goroutines.hpp>
#include <otel_ebpf/probes/net_http.hpp>

#include "burner_agent.skel.h"

namespace agent {

namespace oe = otel_ebpf;

inline bool name_span(const oe_span_event&, const oe::ProcessInfo&, oe::Span& span) {
    span.name = "work";
    return true;
}

template <oe::Skeleton S>
inline constexpr oe::Uprobe<S> burner_uprobes[] = {
    {.symbol = "main.work", .run = &oe::Progs<S>::burner_start},
    {.symbol = "main.workDone", .at = oe::Site::next_call, .run = &oe::Progs<S>::burner_end},
};

template <oe::Skeleton S>
inline constexpr oe::Probe<S, oe_span_event> burner{
    .name = "burner", .event_kind = &oe::Rodata<S>::burner_kind, .uprobes = burner_uprobes<S>, .to_span = &name_span};

inline auto bundle() {
    return oe::bundle<burner_agent_bpf>(oe::probes::net_http::server<burner_agent_bpf>, burner<burner_agent_bpf>,
                                        oe::probes::goroutines::scheduler<burner_agent_bpf>);
}

}  // namespace agent
