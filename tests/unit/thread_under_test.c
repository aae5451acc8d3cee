// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
/* Threads and tasks of the BPF headers, compiled for the host. */
#include "bpf_shim.h"

#include "thread_under_test.h"

#include <otel_ebpf/thread_span.bpf.h>

static bool hit_begin(struct oe_hit *hit, struct pt_regs *regs, __u64 sp, __u16 kind)
{
#if defined(__x86_64__)
	regs->sp = sp;
#elif defined(__aarch64__)
	regs->user_regs.sp = sp;
#endif
	return oe_native_hit_begin(hit, regs, kind);
}

static struct oe_live_span *begin(enum host_begin how, struct oe_hit *hit, const struct oe_trace_ctx *remote)
{
	switch (how) {
	case HOST_THREAD_SPAN:
		return oe_thread_span_begin(hit, sizeof(struct host_op_event), remote);
	case HOST_THREAD_SPAN_ONLY:
		return oe_thread_span_begin_only(hit, sizeof(struct host_op_event), remote);
	case HOST_TASK_SPAN:
		return oe_task_span_begin(hit, sizeof(struct host_op_event), remote);
	case HOST_TASK_SPAN_ONLY:
		return oe_task_span_begin_only(hit, sizeof(struct host_op_event), remote);
	}
	return 0;
}

int host_thread_begin(enum host_begin how, __u64 sp, __u16 kind, __u64 number, const struct oe_trace_ctx *remote)
{
	struct pt_regs regs = {0};
	struct oe_live_span *span;
	struct oe_hit hit;

	if (!hit_begin(&hit, &regs, sp, kind))
		return 0;
	span = begin(how, &hit, remote);
	if (!span)
		return 0;
	((struct host_op_event *)span->record)->number = number;
	return 1;
}

int host_thread_end(__u16 kind)
{
	struct pt_regs regs = {0};
	struct oe_live_span *span;
	struct oe_hit hit;

	if (!hit_begin(&hit, &regs, 0, kind))
		return 0;
	span = oe_thread_span_ending(&hit);
	if (!span)
		return 0;
	oe_thread_span_end(&hit, span);
	return 1;
}

int host_thread_begin_and_discard(__u16 kind)
{
	struct pt_regs regs = {0};
	struct oe_live_span *span;
	struct oe_hit hit;

	if (!hit_begin(&hit, &regs, 0x1000, kind))
		return 0;
	span = oe_thread_span_begin(&hit, sizeof(struct host_op_event), 0);
	oe_thread_span_discard(&hit, span);
	return span != 0;
}

#define HOST_TASK(name, function)                                              \
	void name(__u64 id)                                                    \
	{                                                                      \
		struct pt_regs regs = {0};                                     \
		struct oe_hit hit;                                             \
                                                                               \
		if (hit_begin(&hit, &regs, 0, OE_KIND_FIRST_PROBE))            \
			function(&hit, id);                                    \
	}

HOST_TASK(host_task_begin, oe_task_begin)
HOST_TASK(host_task_resume, oe_task_resume)
HOST_TASK(host_task_suspend, oe_task_suspend)
HOST_TASK(host_task_end, oe_task_end)

void host_thread_gone(void)
{
	__u64 key = bpf_get_current_pid_tgid();

	oe_thread_leave();
	host_map_delete(HOST_TASK_MAP(&oe_threads), &key);
}

int host_thread_current(struct oe_traces_ctx_v1 *out)
{
	return oe_thread_current(out);
}

int host_entry(struct oe_traces_ctx_v1 *out)
{
	__u64 key = bpf_get_current_pid_tgid();
	const struct oe_traces_ctx_v1 *entry = bpf_map_lookup_elem(&traces_ctx_v1, &key);

	if (entry)
		*out = *entry;
	return entry != 0;
}

void host_set_entry(const struct oe_traces_ctx_v1 *ctx)
{
	__u64 key = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&traces_ctx_v1, &key, ctx, BPF_ANY);
}

__u32 host_tasks(void)
{
	return host_map_size(HOST_MAP(&oe_tasks));
}

__u64 host_foreign(__u32 tgid)
{
	const struct oe_ctx_counts *counts = bpf_map_lookup_elem(&oe_ctx_counts, &tgid);

	return counts ? counts->foreign : 0;
}

int host_read_traceparent(__u64 addr, __u64 len, struct oe_trace_ctx *out)
{
	return oe_read_traceparent(out, addr, len);
}
