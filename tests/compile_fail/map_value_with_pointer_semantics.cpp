// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Keys and values of a map go to the kernel as bytes.
// expect: keys and values are copied to and from the kernel as bytes
#include "fake_skeleton.hpp"

#include <string>

#include <otel_ebpf/map.hpp>

#ifdef OK
using Value = char[16];
#else
using Value = std::string;
#endif

constexpr oe::MapSpec<shop_bpf, std::uint32_t, Value> orders{.map = &Maps::shop_orders, .type = BPF_MAP_TYPE_HASH};
