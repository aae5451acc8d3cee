// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A fact whose slot is not in the skeleton's .rodata.
// expect: 'shop_f_order' is not a member of|no member named 'shop_f_order'
#include "fake_skeleton.hpp"

#ifdef OK
#define SLOT shop_f_order_id
#else
#define SLOT shop_f_order
#endif

constexpr oe::Fact<shop_bpf> facts[] = {{&Rodata::SLOT, oe::offset_of("std", "net/http", "Request", "Method")}};
