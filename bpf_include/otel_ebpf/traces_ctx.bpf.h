/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * The shared trace-context map (OTEP 4855): which span each thread works for right now.
 *
 * BPF: include vmlinux.h, vmlinux_min.h or linux/types.h first.
 */
#ifndef OTEL_EBPF_TRACES_CTX_BPF_H
#define OTEL_EBPF_TRACES_CTX_BPF_H

#include <otel_ebpf/core.bpf.h>

#if OE_BPF_SIDE

/* Shape and name are the protocol; the loader hands in the pinned map's descriptor before load. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OE_TRACES_CTX_ENTRIES);
	__type(key, __u64); /* tgid << 32 | tid, of the initial PID namespace */
	__type(value, struct oe_traces_ctx_v1);
} traces_ctx_v1 __weak SEC(".maps");

#endif
#endif
