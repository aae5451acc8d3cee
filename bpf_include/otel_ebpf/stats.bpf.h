/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Counters of everything that is lost, skipped or given up; the Manager reports them. */
#ifndef OTEL_EBPF_STATS_BPF_H
#define OTEL_EBPF_STATS_BPF_H

#include <otel_ebpf/core.bpf.h>
#include <otel_ebpf/types.h>

#if OE_BPF_SIDE

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OE_STAT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} oe_stats __weak SEC(".maps");

/*
 * Atomic, since programs of one CPU may interleave where the kernel has no preemption guard. A function of its own, so
 * that the verifier forgets the key at its end and need not tell apart which counters were touched.
 */
OE_NOINLINE int oe_count(__u32 stat)
{
	__u64 *slot = bpf_map_lookup_elem(&oe_stats, &stat);

	if (slot)
		__sync_fetch_and_add(slot, 1);
	return 0;
}

#endif
#endif
