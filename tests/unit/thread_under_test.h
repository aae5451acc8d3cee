/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* What C++ tests call of thread_span.bpf.h. All of it is done by the thread HostKernel.tgid, .tid. */
#ifndef OTEL_EBPF_TESTS_THREAD_UNDER_TEST_H
#define OTEL_EBPF_TESTS_THREAD_UNDER_TEST_H

#include "bpf_under_test.h"

#ifdef __cplusplus
extern "C" {
#endif

enum host_begin {
	HOST_THREAD_SPAN,
	HOST_THREAD_SPAN_ONLY,
	HOST_TASK_SPAN,
	HOST_TASK_SPAN_ONLY,
};

/* sp: of the call; remote: may be NULL. 1 when the span is open. */
int host_thread_begin(enum host_begin how, __u64 sp, __u16 kind, __u64 number, const struct oe_trace_ctx *remote);
int host_thread_end(__u16 kind);
int host_thread_begin_and_discard(__u16 kind);
void host_task_begin(__u64 id);
void host_task_resume(__u64 id);
void host_task_suspend(__u64 id);
void host_task_end(__u64 id);
/* The end of the current thread, as its tracepoint and then the kernel see it. */
void host_thread_gone(void);

/* 1 and the ids. */
int host_thread_current(struct oe_traces_ctx_v1 *out);
int host_entry(struct oe_traces_ctx_v1 *out);
/* As another tool does. */
void host_set_entry(const struct oe_traces_ctx_v1 *ctx);
__u32 host_tasks(void);
__u64 host_foreign(__u32 tgid);
int host_read_traceparent(__u64 addr, __u64 len, struct oe_trace_ctx *out);

#ifdef __cplusplus
}
#endif
#endif
