/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The record of thread_context.bpf.c, for both sides. */
#ifndef OTEL_EBPF_TESTS_THREAD_CONTEXT_SAMPLE_H
#define OTEL_EBPF_TESTS_THREAD_CONTEXT_SAMPLE_H

#include <otel_ebpf/types.h>

struct thread_context_sample {
	__u32 tid;
	__s32 state;
	__u64 ip;
	struct oe_trace_ctx ctx;
	struct oe_thread_attrs attrs;
	__u32 pad;
};

#endif
