// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A skeleton as bpftool generates it, and a Probe's record, for sources that are only ever compiled.
#pragma once

#include <otel_ebpf/probe.hpp>

struct bpf_object;

struct shop_bpf {
    bpf_object* obj;
    struct {
        bpf_map* shop_orders;
    } maps;
    struct {
        bpf_program* shop_start;
        bpf_program* shop_end;
    } progs;
    struct shop_bpf__rodata {
        std::uint16_t shop_e_order;
        std::uint16_t shop_f_order_id;
        std::uint32_t shop_limit;
        bool shop_o_slow;
    }* rodata;

    static shop_bpf* open(const void*);
    static int load(shop_bpf*);
    static void destroy(shop_bpf*);
};

struct ShopEvent {
    oe_span_event span;
};

inline bool to_span(const ShopEvent&, const otel_ebpf::ProcessInfo&, otel_ebpf::Span&) { return true; }

namespace oe = otel_ebpf;
using Progs = oe::Progs<shop_bpf>;
using Maps = oe::Maps<shop_bpf>;
using Rodata = oe::Rodata<shop_bpf>;
