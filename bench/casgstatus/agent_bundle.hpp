// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Probes of the agent that publishes at runtime.casgstatus: HTTP servers, and that hook in place of the scheduler's.
#pragma once

#include <otel_ebpf/otel_ebpf.hpp>
#include <otel_ebpf/probes/goroutines.hpp>
#include <otel_ebpf/probes/net_http.hpp>

#include "casgstatus_agent.skel.h"

namespace agent {

namespace oe = otel_ebpf;

template <oe::Skeleton S>
inline constexpr oe::Uprobe<S> casgstatus_uprobes[] = {
    {.symbol = "runtime.casgstatus",
     .run = &oe::Progs<S>::oe_go_execute,
     .live_registers = oe::args(0, 2),  // (*g, oldval, newval)
     .option = "eager"},
};

template <oe::Skeleton S>
inline constexpr oe::Option<S> casgstatus_options[] = {
    {.name = "eager", .doc = "set by the Manager for executables whose spans are published eagerly"},
};

template <oe::Skeleton S>
inline constexpr oe::Probe<S, oe_span_event> casgstatus{.name = "goroutines",
                                                        .event_kind = &oe::Rodata<S>::oe_e_goroutines,
                                                        .uprobes = casgstatus_uprobes<S>,
                                                        .options = casgstatus_options<S>,
                                                        .to_span = &oe::probes::goroutines::to_span};

inline auto bundle() {
    return oe::bundle<casgstatus_agent_bpf>(oe::probes::net_http::server<casgstatus_agent_bpf>,
                                            casgstatus<casgstatus_agent_bpf>);
}

}  // namespace agent
