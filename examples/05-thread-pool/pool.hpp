// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Probes of thread-pool-server: its requests, and its calls of pool::charge. The .bpf.c includes <pool.programs.h>.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <otel_ebpf/probe.hpp>
#include <otel_ebpf/semconv.hpp>
#include <pool.bpf.h>

namespace pool {

namespace oe = otel_ebpf;

inline bool exchange_to_span(const pool_exchange_event& event, const oe::ProcessInfo&, oe::Span& span) {
    const std::string_view method(event.method, event.method_len), path(event.path, event.path_len);
    span.name = span.arena().copy(std::string(method) + " " + std::string(path));
    span.set(oe::semconv::http_request_method, method);
    span.set(oe::semconv::url_path, path);
    span.set(oe::semconv::http_response_status_code, std::int64_t{event.status});
    if (event.status >= 500) span.status = oe::StatusCode::error;
    return true;
}

inline bool charge_to_span(const pool_charge_event& event, const oe::ProcessInfo&, oe::Span& span) {
    span.name = "charge";
    span.set("shop.amount", std::int64_t{event.cents});  // cents
    span.set("shop.accepted", event.accepted != 0);
    return true;
}

template <class S>
concept bpf_file_includes_pool_programs = oe::Skeleton<S> && requires {
    &oe::Progs<S>::pool_start;
    &oe::Progs<S>::pool_charged;
};

template <oe::Skeleton S>
inline constexpr oe::Uprobe<S> exchange_uprobes[] = {
    {.symbol = "_ZN4pool5serveERN4http8ExchangeE",  // pool::serve(http::Exchange&)
     .run = &oe::Progs<S>::pool_start,
     .live_registers = oe::args(0)},
    {.symbol = "_ZN4pool6finishERN4http8ExchangeE",  // pool::finish(http::Exchange&)
     .at = oe::Site::next_call,
     .run = &oe::Progs<S>::pool_end,
     .live_registers = oe::args(0)},
};

template <class S>
    requires bpf_file_includes_pool_programs<S>
inline constexpr oe::Probe<S, pool_exchange_event> exchange{
    .name = "thread_pool",
    .abi = oe::Abi::native,
    .kind = oe::SpanKind::server,
    .event_kind = &oe::Rodata<S>::pool_exchange_kind,
    .uprobes = exchange_uprobes<S>,
    .to_span = &exchange_to_span,
};

template <oe::Skeleton S>
inline constexpr oe::Uprobe<S> charge_uprobes[] = {
    {.symbol = "_ZN4pool6chargeERN4http8ExchangeEl",  // bool pool::charge(http::Exchange&, long)
     .run = &oe::Progs<S>::pool_charge,
     .live_registers = oe::args(1)},
    {.symbol = "_ZN4pool6chargeERN4http8ExchangeEl",
     .at = oe::Site::returns,
     .run = &oe::Progs<S>::pool_charged,
     .live_registers = oe::results(0)},
};

template <class S>
    requires bpf_file_includes_pool_programs<S>
inline constexpr oe::Probe<S, pool_charge_event> charge{
    .name = "thread_pool_charge",
    .abi = oe::Abi::native,
    .event_kind = &oe::Rodata<S>::pool_charge_kind,
    .uprobes = charge_uprobes<S>,
    .to_span = &charge_to_span,
};

}  // namespace pool
