// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Probe of Go's scheduler: eager publication of spans, and the creation of goroutines. Makes no spans, and attaches
// nothing unless asked for. The .bpf.c includes probes/goroutines.programs.h.
#pragma once

#include <otel_ebpf/probe.hpp>
#include <otel_ebpf/span.hpp>
#include <otel_ebpf/types.h>

namespace otel_ebpf::probes::goroutines {

// The BPF side writes no records.
inline bool to_span(const oe_span_event&, const ProcessInfo&, Span&) { return false; }

template <class S>
concept bpf_file_includes_goroutines_programs = Skeleton<S> && requires {
    &Progs<S>::oe_go_execute;
    &Progs<S>::oe_go_leave;
    &Progs<S>::oe_go_runqput;
};

template <Skeleton S>
inline constexpr Uprobe<S> scheduler_uprobes[] = {
    {.symbol = "runtime.execute",
     .run = &Progs<S>::oe_go_execute,
     .live_registers = args(0),  // (*g, inheritTime)
     .group = "eager",
     .option = "eager"},
    {.symbol = "runtime.schedule", .run = &Progs<S>::oe_go_leave, .group = "eager", .option = "eager"},
    // A coroutine (iter.Pull) hands its thread over without schedule and execute.
    {.symbol = "runtime.coroswitch_m",
     .run = &Progs<S>::oe_go_leave,
     .go = from_version(1, 23),
     .group = "eager",
     .required = false,
     .option = "eager"},
    // A goroutine that ends locked to its thread ends that without schedule; the main thread stays, parked for good.
    {.symbol = "runtime.mexit", .run = &Progs<S>::oe_go_leave, .group = "eager", .option = "eager"},
    {.symbol = "runtime.runqput",
     .run = &Progs<S>::oe_go_runqput,
     .live_registers = args(1),  // (*p, *g, next)
     .group = "creation",
     .option = "creation_hook"},
};

template <Skeleton S>
inline constexpr Fact<S> scheduler_facts[] = {
    {&Rodata<S>::oe_f_g_startpc, offset_of("std", "runtime", "g", "startpc"), false},
    {&Rodata<S>::oe_f_g_sched_pc, offset_of("std", "runtime", "g", "sched.pc"), false},
};

template <Skeleton S>
inline constexpr Option<S> scheduler_options[] = {
    {.name = "eager", .doc = "set by the Manager for executables whose spans are published eagerly"},
    {.name = "creation_hook",
     .doc = "hook the creation of goroutines: their spans and samples belong to the span that was innermost then, also "
            "through goroutines without spans and before Go 1.21; two more hits per goroutine"},
};

template <class S>
    requires bpf_file_includes_goroutines_programs<S>
inline constexpr Probe<S, oe_span_event> scheduler{
    .name = "goroutines",
    .event_kind = &Rodata<S>::oe_e_goroutines,
    .uprobes = scheduler_uprobes<S>,
    .facts = scheduler_facts<S>,
    .options = scheduler_options<S>,
    .to_span = &to_span,
};

}  // namespace otel_ebpf::probes::goroutines
