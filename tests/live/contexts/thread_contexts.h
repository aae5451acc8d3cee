/* SPDX-License-Identifier: Apache-2.0 */
/* Copyright The otel_ebpf Authors */
/* What is known of the thread that a sampler interrupts. */
#ifndef THREAD_CONTEXTS_H
#define THREAD_CONTEXTS_H

#include <otel_ebpf/types.h>

struct context_sample {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u32 tgid;
	__u32 tid;
	__u32 has_entry;   /* traces_ctx_v1 has one for this thread */
	__u32 has_current; /* oe_thread_current() */
	struct oe_traces_ctx_v1 entry;
	struct oe_traces_ctx_v1 current;
};

#endif
