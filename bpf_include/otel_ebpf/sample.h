/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The record of one CPU sample, shared by BPF C and C++.  BPF: include vmlinux.h, vmlinux_min.h or linux/types.h first. */
#ifndef OTEL_EBPF_SAMPLE_H
#define OTEL_EBPF_SAMPLE_H

#include <otel_ebpf/types.h>

#define OE_SAMPLE_FRAMES 127 /* of each stack; as kernel.perf_event_max_stack */
#define OE_SAMPLE_TOP 2      /* words at the user stack pointer */

/* Where a Go process keeps the labels of its goroutines; value of oe_sampled_go, by tgid. */
struct oe_sample_go {
	__s32 tls_g_offset; /* of g from the thread pointer; 0: arm64 without cgo, where x28 is g */
	__u16 g_m;          /* offsets of members: g.m, m.curg, g.labels */
	__u16 m_curg;
	__u16 g_labels;
	__u8 format; /* enum oe_go_labels_format */
	__u8 pad;
};
OE_STATIC_ASSERT(sizeof(struct oe_sample_go) == 12, "no hidden padding");

/* Stacks are leaf first; of callers, the address to return to. */
struct oe_sample {
	__u64 time_ns;          /* CLOCK_MONOTONIC */
	__u64 process_start_ns; /* CLOCK_BOOTTIME: with exec_id, tells an address space from others of this tgid */
	__u64 exec_id;
	__u32 tgid;
	__u32 tid;
	__u32 cpu;
	char comm[16];
	__u8 source; /* of ctx: enum oe_ctx_source (context_order.bpf.h) */
	__u8 pad[3];
	struct oe_traces_ctx_v1 ctx;       /* the one that counts; all zero: none */
	struct oe_traces_ctx_v1 other_ctx; /* the one that lost, when there were two */
	__s32 kernel_bytes; /* of kernel_stack; 0: user code was interrupted; below 0: -errno */
	__s32 user_bytes;   /* of user_stack; below 0: -errno */
	__u64 user_top[OE_SAMPLE_TOP]; /* all zero: not read */
	struct oe_go_labels labels;    /* of the goroutine */
	struct oe_thread_attrs attrs;  /* of the thread context that the process publishes itself */
	__u64 kernel_stack[OE_SAMPLE_FRAMES];
	__u64 user_stack[OE_SAMPLE_FRAMES];
};
OE_STATIC_ASSERT(sizeof(struct oe_sample) == 128 + 644 + 260 + 16 * OE_SAMPLE_FRAMES, "no hidden padding");

/* Counters of the sampler: one slot each in the per-CPU array oe_sample_stats. */
enum oe_sample_stat {
	OE_SAMPLES_TAKEN, /* written to oe_samples */
	OE_SAMPLES_LOST,  /* oe_samples had no room */
	OE_SAMPLE_STAT_MAX,
};

#endif
