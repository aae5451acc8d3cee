// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A Probe is written over a skeleton that bpftool generated.
// expect: constraints not satisfied|constraint failure
// expect: Skeleton
#include "fake_skeleton.hpp"

struct Settings {
    int obj;
};

#ifdef OK
using S = shop_bpf;
#else
using S = Settings;
#endif

constexpr oe::Uprobe<S> uprobes[] = {{.symbol = "example.com/shop.Order"}};
