// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A bundle without Probes would load programs that nothing attaches.
// expect: a bundle needs at least one Probe
#include "fake_skeleton.hpp"

#include <otel_ebpf/skeleton.hpp>

constexpr oe::Probe<shop_bpf, ShopEvent> probe{.name = "shop", .to_span = &to_span};

void open_bundle() {
#ifdef OK
    static_cast<void>(oe::bundle<shop_bpf>(probe));
#else
    static_cast<void>(oe::bundle<shop_bpf>());
#endif
}
