/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The record of one CPU sample, shared by BPF C and C++.  BPF: include vmlinux.h, vmlinux_min.h or linux/types.h first. */
#ifndef OTEL_EBPF_SAMPLE_H
#define OTEL_EBPF_SAMPLE_H

#include <otel_ebpf/types.h>

#define OE_SAMPLE_FRAMES 127 /* of each stack; as kernel.perf_event_max_stack */
#define OE_SAMPLE_TOP 2      /* words at the user stack pointer */

/* Where a trace context came from. */
enum oe_sample_source {
	OE_SAMPLE_NO_CONTEXT = 0,
	OE_SAMPLE_SDK = 1,  /* the thread context that the process publishes itself */
	OE_SAMPLE_EBPF = 2, /* this thread's entry of traces_ctx_v1 */
};

/* Stacks are leaf first; of callers, the address to return to. */
struct oe_sample {
	__u64 time_ns;          /* CLOCK_MONOTONIC */
	__u64 process_start_ns; /* CLOCK_BOOTTIME: with exec_id, tells an address space from others of this tgid */
	__u64 exec_id;
	__u32 tgid;
	__u32 tid;
	__u32 cpu;
	char comm[16];
	__u8 source;       /* enum oe_sample_source: of ctx */
	__u8 other_source; /* of other_ctx */
	__u8 pad[2];
	struct oe_traces_ctx_v1 ctx;       /* the one that counts; all zero: none */
	struct oe_traces_ctx_v1 other_ctx; /* the one that lost, for comparison */
	__s32 kernel_bytes; /* of kernel_stack; 0: user code was interrupted; below 0: -errno */
	__s32 user_bytes;   /* of user_stack; below 0: -errno */
	__u64 user_top[OE_SAMPLE_TOP]; /* all zero: not read */
	__u64 kernel_stack[OE_SAMPLE_FRAMES];
	__u64 user_stack[OE_SAMPLE_FRAMES];
};
OE_STATIC_ASSERT(sizeof(struct oe_sample) == 128 + 16 * OE_SAMPLE_FRAMES, "no hidden padding");

/* Counters of the sampler: one slot each in the per-CPU array oe_sample_stats. */
enum oe_sample_stat {
	OE_SAMPLES_TAKEN, /* written to oe_samples */
	OE_SAMPLES_LOST,  /* oe_samples had no room */
	OE_SAMPLE_STAT_MAX,
};

#endif
