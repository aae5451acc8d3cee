/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * Whom a span belongs to where there are no goroutines: the thread, or the task that the thread works on right now.
 * Each such flow has an id that takes the place of a goid in the store of live spans, and knows its innermost span.
 */
#ifndef OTEL_EBPF_FLOW_BPF_H
#define OTEL_EBPF_FLOW_BPF_H

#include <otel_ebpf/native.bpf.h>
#include <otel_ebpf/publish.bpf.h>
#include <otel_ebpf/span.bpf.h>

#if OE_BPF_SIDE

#ifndef OE_MAX_TASKS
#define OE_MAX_TASKS 16384 /* tasks with spans at a time; allocated when needed */
#endif

/* Freed by the kernel when the thread ends. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct oe_thread);
} oe_threads __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OE_MAX_TASKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct oe_task_key);
	__type(value, struct oe_task);
} oe_tasks __weak SEC(".maps");

/* Last oe_flow.id given out, without the bit that tells it from a goid. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} oe_flow_ids __weak SEC(".maps");

/* Which flow, as __oe_flow_enter is told. */
enum oe_flow_wanted {
	OE_FLOW_KNOWN,  /* the current one, if it has spans */
	OE_FLOW_ANY,    /* the current one */
	OE_FLOW_TASK,   /* that of the current task */
};

OE_INLINE __u64 __oe_flow_new_id(void)
{
	__u32 zero = 0;
	__u64 *last = bpf_map_lookup_elem(&oe_flow_ids, &zero);

	return last ? OE_FLOW_ID_BIT | (__sync_fetch_and_add(last, 1) + 1) : 0;
}

OE_INLINE struct oe_thread *__oe_thread_find(void)
{
	return bpf_task_storage_get(&oe_threads, bpf_get_current_task_btf(), 0, 0);
}

OE_INLINE struct oe_thread *__oe_thread_get(void)
{
	return bpf_task_storage_get(&oe_threads, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

OE_INLINE struct oe_task *__oe_task_find(__u64 id, __u32 tgid, __u32 generation)
{
	struct oe_task_key key = {.task = id, .tgid = tgid};
	struct oe_task *task = bpf_map_lookup_elem(&oe_tasks, &key);

	return task && task->flow.generation == generation ? task : 0;
}

/* The task that the thread works on, or 0. */
OE_INLINE __u64 __oe_thread_task(const struct oe_thread *thread, __u32 generation)
{
	return thread->generation == generation ? thread->task : 0;
}

/* A new entry in place of none, or of one that a process before had. */
OE_NOINLINE struct oe_task *__oe_task_add(const struct oe_hit *hit, __u64 id, __u32 tid,
					  const struct oe_trace_ctx *parent)
{
	struct oe_task_key key = {.task = id};
	struct oe_task task = {};

	if (!hit)
		return 0;
	key.tgid = hit->tgid;
	task.flow.id = __oe_flow_new_id();
	task.flow.generation = hit->generation;
	task.tid = tid;
	if (parent) {
		task.parent = *parent;
		task.has_parent = 1;
	}
	if (bpf_map_update_elem(&oe_tasks, &key, &task, BPF_ANY)) {
		oe_count(OE_STAT_THREADS_FULL);
		return 0;
	}
	return bpf_map_lookup_elem(&oe_tasks, &key);
}

/* Sets hit->goid to the flow that the thread is in; 0 where there is none, counted unless known ones were wanted. */
OE_NOINLINE __u64 __oe_flow_enter(struct oe_hit *hit, enum oe_flow_wanted wanted)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct oe_thread *thread;
	struct oe_task *task;
	__u64 task_id;

	if (!hit)
		return 0;
	hit->goid = 0;
	thread = wanted == OE_FLOW_KNOWN ? __oe_thread_find() : __oe_thread_get();
	if (!thread) {
		if (wanted != OE_FLOW_KNOWN)
			oe_count(OE_STAT_THREADS_FULL);
		return 0;
	}
	task_id = __oe_thread_task(thread, hit->generation);
	if (task_id) {
		task = __oe_task_find(task_id, hit->tgid, hit->generation);
		if (!task && wanted != OE_FLOW_KNOWN) {
			task = __oe_task_add(hit, task_id, tid, 0);
			if (!task)
				return 0;
		}
		if (!task)
			return 0;
		if (task->tid != tid) { /* resumed elsewhere before it was seen to leave this thread */
			if (wanted != OE_FLOW_KNOWN)
				oe_count(OE_STAT_TASK_UNKNOWN);
			return 0;
		}
		return hit->goid = task->flow.id;
	}
	if (wanted == OE_FLOW_TASK) {
		oe_count(OE_STAT_TASK_UNKNOWN);
		return 0;
	}
	if (thread->own.generation != hit->generation) {
		if (wanted == OE_FLOW_KNOWN)
			return 0;
		thread->own.live = 0;
		thread->own.id = __oe_flow_new_id();
		thread->own.generation = hit->generation;
	}
	return hit->goid = thread->own.id;
}

/* Notes the innermost span of a flow. An interrupt may read at any point in between: then there is none. */
OE_INLINE void __oe_flow_note(struct oe_flow *flow, const struct oe_traces_ctx_v1 *ctx)
{
	*(volatile __u32 *)&flow->live = 0;
	if (!ctx)
		return;
	__asm__ volatile("" ::: "memory");
	flow->ctx = *ctx;
	__asm__ volatile("" ::: "memory");
	*(volatile __u32 *)&flow->live = 1;
}

/* The context of the innermost span of hit->goid, if it is sampled. */
OE_NOINLINE int __oe_flow_innermost(const struct oe_hit *hit, struct oe_traces_ctx_v1 *ctx)
{
	const struct oe_live_span *span;
	const struct oe_span_event *event;

	if (!hit || !ctx)
		return 0;
	span = oe_span_current(hit);
	if (!span)
		return 0;
	event = (const struct oe_span_event *)span->record;
	if (!(event->header.trace_flags & OE_TRACE_FLAG_SAMPLED))
		return 0;
	__builtin_memcpy(ctx->trace_id, event->trace_id, sizeof(ctx->trace_id));
	__builtin_memcpy(ctx->span_id, event->span_id, sizeof(ctx->span_id));
	return 1;
}

OE_INLINE void __oe_flow_publish(const struct oe_hit *hit, const struct oe_traces_ctx_v1 *ctx)
{
	if (hit->publication != OE_PUBLISH_EAGER)
		return;
	if (ctx)
		oe_eager_publish(ctx);
	else
		oe_eager_retract();
}

/* After a span of hit->goid began or ended: what the flow now works for is noted and published. */
OE_NOINLINE int __oe_flow_update(const struct oe_hit *hit)
{
	struct oe_task_key key = {};
	struct oe_traces_ctx_v1 ctx;
	struct oe_thread *thread;
	struct oe_task *task;
	int live;

	if (!hit)
		return 0;
	live = __oe_flow_innermost(hit, &ctx);
	thread = __oe_thread_find();
	if (!thread)
		return 0;
	key.task = __oe_thread_task(thread, hit->generation);
	if (key.task) {
		key.tgid = hit->tgid;
		task = __oe_task_find(key.task, hit->tgid, hit->generation);
		if (!task)
			return 0;
		__oe_flow_note(&task->flow, live ? &ctx : 0);
		/* So that runtimes whose tasks are not seen to end leave nothing behind. */
		if (!live && !task->has_parent && !oe_span_depth(hit))
			bpf_map_delete_elem(&oe_tasks, &key);
	} else {
		__oe_flow_note(&thread->own, live ? &ctx : 0);
	}
	__oe_flow_publish(hit, live ? &ctx : 0);
	return 0;
}

/* The context that a flow has noted. */
OE_INLINE int __oe_flow_read(const struct oe_flow *flow, struct oe_traces_ctx_v1 *out)
{
	if (!*(const volatile __u32 *)&flow->live)
		return 0;
	*out = flow->ctx;
	return 1;
}

/*
 * oe_thread_current() for a caller that has the process row at hand. Below 50 ns without a task, one more lookup with
 * one. For any context in which task storage may be read: interrupts too.
 */
OE_INLINE int oe_thread_current_of(__u32 tgid, __u32 generation, struct oe_traces_ctx_v1 *out)
{
	const struct oe_thread *thread = __oe_thread_find();
	const struct oe_task *task;
	__u64 task_id;

	if (!thread)
		return 0;
	task_id = __oe_thread_task(thread, generation);
	if (!task_id)
		return thread->own.generation == generation && __oe_flow_read(&thread->own, out);
	task = __oe_task_find(task_id, tgid, generation);
	return task && task->tid == (__u32)bpf_get_current_pid_tgid() && __oe_flow_read(&task->flow, out);
}

/* 1 and the ids when the current thread works for a live, sampled span (the innermost), or its task does; else 0. */
OE_NOINLINE int oe_thread_current(struct oe_traces_ctx_v1 *out)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	const struct oe_process *process = bpf_map_lookup_elem(&oe_processes, &tgid);

	return process && out && oe_thread_current_of(tgid, process->generation, out);
}

#endif
#endif
