// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A map that the .bpf.c does not define.
// expect: 'shop_oders' is not a member of|no member named 'shop_oders'
#include "fake_skeleton.hpp"

#include <otel_ebpf/map.hpp>

#ifdef OK
#define MAP shop_orders
#else
#define MAP shop_oders
#endif

constexpr oe::MapSpec<shop_bpf, std::uint32_t, std::uint64_t> orders{.map = &Maps::MAP, .type = BPF_MAP_TYPE_HASH};
