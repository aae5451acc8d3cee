// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A fact's slot holds an index of 16 bits.
// expect: cannot (convert|initialize).*(unsigned int|uint32_t)
#include "fake_skeleton.hpp"

#ifdef OK
#define SLOT shop_f_order_id
#else
#define SLOT shop_limit
#endif

constexpr oe::Fact<shop_bpf> facts[] = {{&Rodata::SLOT, oe::offset_of("std", "net/http", "Request", "Method")}};
