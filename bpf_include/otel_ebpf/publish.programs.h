/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * Publication of the current span in traces_ctx_v1, just in time: a profiler's cpu-clock perf event is a high-resolution
 * timer (kernel/events/core.c: perf_swevent_hrtimer), whose interrupt passes two tracepoints: the entry is set in the one
 * before the profiler's program runs and deleted in the one behind it. Between two interrupts none of our entries exists.
 *
 * Also here: what takes entries of eager publication back when their thread ends.
 */
#ifndef OTEL_EBPF_PUBLISH_PROGRAMS_H
#define OTEL_EBPF_PUBLISH_PROGRAMS_H

#include <otel_ebpf/context.bpf.h>
#include <otel_ebpf/context_order.bpf.h>
#include <otel_ebpf/process.programs.h>

const volatile __u64 oe_perf_timer __weak = 0; /* address of perf_swevent_hrtimer */

/* By CPU: the key that this interrupt has set; 0: none. Interrupts of timers don't nest. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} oe_jit_key __weak SEC(".maps");

/* Whether a perf event of this kernel finds what was published for it: tried on a thread of the tool's own. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct oe_self_test);
} oe_self_test __weak SEC(".maps");

/* What to publish for a target's thread in this interrupt: 1 and *out. */
OE_NOINLINE int __oe_jit_context(__u64 key, struct oe_traces_ctx_v1 *out)
{
	__u32 tgid = key >> 32;
	const struct oe_process *process = bpf_map_lookup_elem(&oe_processes, &tgid);
	struct oe_traces_ctx_v1 own = {};
	struct oe_ctx_counts *counts;
	struct oe_trace_ctx sdk;
	int sdk_state;
	long found;

	if (!out || !process || process->publication != OE_PUBLISH_JIT)
		return 0;
	sdk_state = oe_thread_context_read(tgid, &sdk);
	found = oe_context_current(tgid, process, &own);
	if (found < 0) {
		counts = oe_ctx_counts_of(tgid);
		if (counts)
			__sync_fetch_and_add(&counts->unreadable, 1);
	}
	return oe_context_to_publish(tgid, sdk_state, &sdk, found > 0, &own, out) != OE_CTX_NOBODY;
}

OE_NOINLINE int __oe_jit_set(__u64 key, const struct oe_traces_ctx_v1 *ctx)
{
	struct oe_ctx_counts *counts;
	__u64 *own;
	__u32 zero = 0;
	long err;

	own = bpf_map_lookup_elem(&oe_jit_key, &zero);
	if (!own || !ctx)
		return 0;
	err = bpf_map_update_elem(&traces_ctx_v1, &key, ctx, BPF_NOEXIST);
	if (!err)
		*own = key;
	counts = oe_ctx_counts_of(key >> 32);
	if (counts)
		__sync_fetch_and_add(!err ? &counts->published : err == -EEXIST ? &counts->foreign : &counts->failed, 1);
	return 0;
}

/* args: struct hrtimer *, ktime_t *now */
SEC("tp_btf/hrtimer_expire_entry") int oe_jit_entry(__u64 *args)
{
	const struct hrtimer *timer = (const struct hrtimer *)args[0];
	const struct oe_self_test *test;
	struct oe_traces_ctx_v1 ctx;
	__u32 zero = 0;
	__u64 key;

	if ((__u64)timer->function != oe_perf_timer)
		return 0;
	key = bpf_get_current_pid_tgid();
	if (!key) /* idle */
		return 0;
	test = bpf_map_lookup_elem(&oe_self_test, &zero);
	if (test && test->key == key)
		ctx = test->ctx;
	else if (!__oe_jit_context(key, &ctx))
		return 0;
	return __oe_jit_set(key, &ctx);
}

/* args: struct hrtimer * */
SEC("tp_btf/hrtimer_expire_exit") int oe_jit_exit(__u64 *args)
{
	__u32 zero = 0;
	__u64 *own = bpf_map_lookup_elem(&oe_jit_key, &zero);
	__u64 key;

	(void)args;
	if (!own || !*own)
		return 0;
	key = *own;
	*own = 0;
	bpf_map_delete_elem(&traces_ctx_v1, &key);
	return 0;
}

/* The profiler of the self-test. */
SEC("perf_event") int oe_self_sample(void *ctx)
{
	const struct oe_traces_ctx_v1 *entry;
	struct oe_self_test *test;
	__u64 key = bpf_get_current_pid_tgid();
	__u32 zero = 0;

	(void)ctx;
	test = bpf_map_lookup_elem(&oe_self_test, &zero);
	if (!test || test->key != key)
		return 0;
	entry = bpf_map_lookup_elem(&traces_ctx_v1, &key);
	__sync_fetch_and_add(entry && __oe_same_id8(entry->span_id, test->ctx.span_id) ? &test->found : &test->missed, 1);
	return 0;
}

/* args: task_struct *; of every thread */
SEC("raw_tp/sched_process_exit") int oe_ctx_exit(void *ctx)
{
	(void)ctx;
	return oe_eager_retract();
}

/* args: task_struct *, pid_t old_pid, struct linux_binprm *; a thread other than the first takes the first one's id */
SEC("raw_tp/sched_process_exec") int oe_ctx_exec(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 tgid = bpf_get_current_pid_tgid() >> 32;
	__u32 former_tid = ctx->args[1];

	__oe_eager_retract(tgid << 32 | former_tid);
	return oe_eager_retract();
}

#endif
