/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * CPU samples: both stacks of the running thread and the trace context that it works for, in one record.
 *
 * Stacks are walked by frame pointers. A function that has not set up its frame yet, or has taken it down again, and one
 * that has none, hide their caller from that walk: the words at the stack pointer are kept, with which the reader can put
 * it back.
 *
 * BPF: include vmlinux.h, vmlinux_min.h or linux/types.h first.
 */
#ifndef OTEL_EBPF_PROFILE_BPF_H
#define OTEL_EBPF_PROFILE_BPF_H

#include <otel_ebpf/context_order.bpf.h>
#include <otel_ebpf/go_labels.bpf.h>
#include <otel_ebpf/sample.h>

#if OE_BPF_SIDE && defined(__bpf__)

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#ifndef OE_SAMPLES_BYTES
#define OE_SAMPLES_BYTES (4 * 1024 * 1024) /* a power of two; mapped twice by the reader */
#endif
#ifndef OE_MAX_SAMPLED
#define OE_MAX_SAMPLED 1024 /* processes that can be named */
#endif

/* Readers poll on a timer: no record ever wakes them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, OE_SAMPLES_BYTES);
} oe_samples __weak SEC(".maps");

/* Whom to sample, by tgid; the key 0 stands for every process. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OE_MAX_SAMPLED);
	__type(key, __u32);
	__type(value, __u32);
} oe_sampled __weak SEC(".maps");

/* Go processes whose labels are read, by tgid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OE_MAX_SAMPLED);
	__type(key, __u32);
	__type(value, struct oe_sample_go);
} oe_sampled_go __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OE_SAMPLE_STAT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} oe_sample_stats __weak SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct task_struct___oe_sample {
	struct task_struct___oe_sample *group_leader;
	__u64 start_boottime;
	__u64 self_exec_id;
};
#pragma clang attribute pop

OE_INLINE void __oe_sample_count(__u32 stat)
{
	__u64 *slot = bpf_map_lookup_elem(&oe_sample_stats, &stat);

	if (slot)
		__sync_fetch_and_add(slot, 1);
}

OE_INLINE bool __oe_is_sampled(__u32 tgid)
{
	__u32 every = 0;

	return tgid && (bpf_map_lookup_elem(&oe_sampled, &tgid) || bpf_map_lookup_elem(&oe_sampled, &every));
}

/* The user stack pointer: that of the code that was interrupted, or that entered the kernel. */
OE_INLINE void __oe_sample_top(struct oe_sample *sample)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	__u64 sp = PT_REGS_SP_CORE(regs);

	if (bpf_probe_read_user(sample->user_top, sizeof(sample->user_top), (const void *)sp))
		__builtin_memset(sample->user_top, 0, sizeof(sample->user_top));
}

/* Which span the thread works for. */
OE_NOINLINE int __oe_sample_context(struct oe_sample *sample)
{
	struct oe_traces_ctx_v1 ebpf;
	struct oe_trace_ctx sdk;
	bool have_ebpf;
	int sdk_state;

	if (!sample)
		return 0;
	sdk_state = oe_thread_context_read(sample->tgid, &sdk);
	have_ebpf = oe_traces_ctx_current(&ebpf);
	sample->source = oe_context_choose(sample->tgid, sdk_state, &sdk, have_ebpf, &ebpf, &sample->ctx,
					   &sample->other_ctx);
	oe_thread_context_attrs(sample->tgid, &sample->attrs);
	return 0;
}

/* The labels of the goroutine that runs on this thread, also while it is in C or on a stack of the runtime. */
OE_NOINLINE int __oe_sample_labels(struct oe_sample *sample)
{
	const struct oe_sample_go *go;
	__u64 g, m, current_g;
	__u32 tgid;

	if (!sample)
		return 0;
	tgid = sample->tgid;
	go = bpf_map_lookup_elem(&oe_sampled_go, &tgid);
	if (!go)
		return 0;
	if (__oe_go_g(go->tls_g_offset, &g)) {
		oe_count(OE_STAT_READ_FAULT);
		return 0;
	}
	if (!g)
		return 0;
	if (oe_read(&m, sizeof(m), g + go->g_m) || oe_read(&current_g, sizeof(current_g), m + go->m_curg))
		return 0;
	return oe_go_labels_read(current_g, go->g_labels, go->format, &sample->labels);
}

/* For a program of type perf_event; `ctx` is its context. Returns 0. */
OE_INLINE int oe_sample_take(void *ctx)
{
	__u64 key = bpf_get_current_pid_tgid();
	struct task_struct___oe_sample *task;
	struct oe_sample *sample;

	if (!__oe_is_sampled(key >> 32))
		return 0;
	sample = bpf_ringbuf_reserve(&oe_samples, sizeof(*sample), 0);
	if (!sample) {
		__oe_sample_count(OE_SAMPLES_LOST);
		return 0;
	}
	__builtin_memset(sample, 0, __builtin_offsetof(struct oe_sample, labels));
	sample->labels.count = 0;
	sample->labels.cut = 0;
	sample->labels.published = 0;
	sample->time_ns = bpf_ktime_get_ns();
	sample->tgid = key >> 32;
	sample->tid = key;
	sample->cpu = bpf_get_smp_processor_id();
	bpf_get_current_comm(sample->comm, sizeof(sample->comm));
	task = (void *)bpf_get_current_task();
	sample->process_start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	sample->exec_id = BPF_CORE_READ(task, self_exec_id);
	__oe_sample_context(sample);
	__oe_sample_labels(sample);
	sample->kernel_bytes = bpf_get_stack(ctx, sample->kernel_stack, sizeof(sample->kernel_stack), 0);
	sample->user_bytes = bpf_get_stack(ctx, sample->user_stack, sizeof(sample->user_stack), BPF_F_USER_STACK);
	if (sample->user_bytes > 0)
		__oe_sample_top(sample);
	__oe_sample_count(OE_SAMPLES_TAKEN);
	bpf_ringbuf_submit(sample, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif
#endif
