// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A uprobe that runs a program which the .bpf.c does not define.
// expect: 'shop_strat' is not a member of|no member named 'shop_strat'
#include "fake_skeleton.hpp"

#ifdef OK
#define PROGRAM shop_start
#else
#define PROGRAM shop_strat
#endif

constexpr oe::Uprobe<shop_bpf> uprobes[] = {{.symbol = "example.com/shop.Order", .run = &Progs::PROGRAM}};
