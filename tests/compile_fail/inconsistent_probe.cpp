// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// problem_in finds at compile time what the type system cannot.
// expect: static assertion failed.*: the shop Probe is inconsistent
#include "fake_skeleton.hpp"

#include <otel_ebpf/skeleton.hpp>

constexpr oe::Uprobe<shop_bpf> uprobes[] = {{
    .symbol = "example.com/shop.Order",
    .run = &Progs::shop_start,
    .option = "slow",
}};
#ifdef OK
constexpr oe::Option<shop_bpf> options[] = {{.name = "slow", .doc = "also slow orders"}};
#else
constexpr oe::Option<shop_bpf> options[] = {{.name = "fast", .doc = "also fast orders"}};
#endif
constexpr oe::Probe<shop_bpf, ShopEvent> probe{.name = "shop",
                                               .event_kind = &Rodata::shop_e_order,
                                               .uprobes = uprobes,
                                               .options = options,
                                               .to_span = &to_span};
static_assert(oe::problem_in(probe).empty(), "the shop Probe is inconsistent");
