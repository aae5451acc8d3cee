// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Probes of coroutine-server: its requests, with the tasks that work on them, and named steps. The .bpf.c includes
// <coro.programs.h>.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <coro.bpf.h>
#include <otel_ebpf/probe.hpp>
#include <otel_ebpf/semconv.hpp>

namespace coro_pack {

namespace oe = otel_ebpf;

inline bool exchange_to_span(const coro_exchange_event& event, const oe::ProcessInfo&, oe::Span& span) {
    const std::string_view path(event.path, event.path_len);
    span.name = span.arena().copy("GET " + std::string(path));
    span.set(oe::semconv::url_path, path);
    span.set(oe::semconv::http_response_status_code, std::int64_t{event.status});
    return true;
}

inline bool step_to_span(const coro_step_event& event, const oe::ProcessInfo&, oe::Span& span) {
    span.name = std::string_view(event.name, event.name_len);
    return true;
}

template <class S>
concept bpf_file_includes_coro_programs = oe::Skeleton<S> && requires {
    &oe::Progs<S>::coro_run;
    &oe::Progs<S>::coro_step_done;
};

// All of them are entries of functions: the cheapest sites.
template <oe::Skeleton S>
inline constexpr oe::Uprobe<S> exchange_uprobes[] = {
    {.symbol = "_ZN4coro7spawnedEPNS_4TaskE", .run = &oe::Progs<S>::coro_spawned, .live_registers = oe::args(0)},
    {.symbol = "_ZN4coro3runEPNS_4TaskE", .run = &oe::Progs<S>::coro_run, .live_registers = oe::args(0)},
    {.symbol = "_ZN4coro4parkEPNS_4TaskENSt6chrono10time_pointINS2_3_V212steady_clockENS2_8durationIlSt5ratioILl1ELl"
               "1000000000EEEEEE",
     .run = &oe::Progs<S>::coro_park,
     .live_registers = oe::args(0)},
    {.symbol = "_ZN4coro7retiredEPNS_4TaskE", .run = &oe::Progs<S>::coro_retired, .live_registers = oe::args(0)},
    {.symbol = "_ZN4shop4openERN4http8ExchangeE", .run = &oe::Progs<S>::coro_open, .live_registers = oe::args(0)},
    {.symbol = "_ZN4shop6finishERN4http8ExchangeE",
     .at = oe::Site::next_call,
     .run = &oe::Progs<S>::coro_finish,
     .live_registers = oe::args(0)},
};

template <class S>
    requires bpf_file_includes_coro_programs<S>
inline constexpr oe::Probe<S, coro_exchange_event> exchange{
    .name = "coroutines",
    .abi = oe::Abi::native,
    .kind = oe::SpanKind::server,
    .event_kind = &oe::Rodata<S>::coro_exchange_kind,
    .uprobes = exchange_uprobes<S>,
    .to_span = &exchange_to_span,
};

template <oe::Skeleton S>
inline constexpr oe::Uprobe<S> step_uprobes[] = {
    {.symbol = "_ZN4shop4StepC1EPKcm", .run = &oe::Progs<S>::coro_step, .live_registers = oe::args(1, 2)},
    {.symbol = "_ZN4shop4StepD1Ev", .at = oe::Site::next_call, .run = &oe::Progs<S>::coro_step_done},
};

// Needs the Probe above, which tells the tasks apart.
template <class S>
    requires bpf_file_includes_coro_programs<S>
inline constexpr oe::Probe<S, coro_step_event> step{
    .name = "coroutine_steps",
    .abi = oe::Abi::native,
    .event_kind = &oe::Rodata<S>::coro_step_kind,
    .uprobes = step_uprobes<S>,
    .to_span = &step_to_span,
};

}  // namespace coro_pack
