// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// to_span takes the record that the Probe names.
// expect: cannot (convert|initialize)|invalid conversion
#include "fake_skeleton.hpp"

struct OtherEvent {
    oe_span_event span;
};
bool other_to_span(const OtherEvent&, const oe::ProcessInfo&, oe::Span&);

constexpr oe::Probe<shop_bpf, ShopEvent> probe{
    .name = "shop",
#ifdef OK
    .to_span = &to_span,
#else
    .to_span = &other_to_span,
#endif
};
