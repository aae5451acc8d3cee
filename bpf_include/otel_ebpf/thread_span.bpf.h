/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * Spans on threads, and on tasks that are multiplexed over threads, for programs in C, C++ and whatever has threads.
 *
 * Start:  if (!oe_native_hit_begin(&hit, ctx, my_kind)) return 0;
 *         span = oe_thread_span_begin(&hit, sizeof(struct my_event), remote);   fill the record's own fields
 * End:    span = oe_thread_span_ending(&hit);                                   fill the rest
 *         oe_thread_span_end(&hit, span);
 *
 * The context of the innermost span is that of the thread, for profilers and other tools, as long as the span is
 * sampled and the thread works for it. Records, nesting and counters are those of span.bpf.h.
 */
#ifndef OTEL_EBPF_THREAD_SPAN_BPF_H
#define OTEL_EBPF_THREAD_SPAN_BPF_H

#include <otel_ebpf/flow.bpf.h>

#if OE_BPF_SIDE

/* ---- spans -------------------------------------------------------------------------------------------------- */

/* What a span lasts as long as. */
enum oe_span_extent {
	OE_SPAN_OF_CALL, /* a function call: spans of calls that have returned since, by exception for one, are ended */
	OE_SPAN_OF_KIND, /* until its end is seen, or the next one of its kind begins: not bound to a stack frame */
};

/* An open slot in the flow of the hit; NULL, counted. */
OE_NOINLINE struct oe_live_span *__oe_flow_open(struct oe_hit *hit, enum oe_flow_wanted wanted,
						enum oe_span_extent extent)
{
	const struct oe_thread *thread;
	__u64 frame = 0;
	__u32 depth;

	if (!hit || !__oe_flow_enter(hit, wanted))
		return 0;
	if (extent == OE_SPAN_OF_KIND)
		return __oe_span_open_only(hit);
	thread = __oe_thread_find();
	/* A task has no stack of its own that could be compared. */
	if (thread && !__oe_thread_task(thread, hit->generation))
		frame = oe_native_frame(hit);
	depth = oe_span_depth(hit);
	if (frame && depth && __oe_span_top_is_gone(hit, depth, frame)) {
		__oe_span_abandon(hit, frame, 0);
		depth = oe_span_depth(hit);
	}
	return __oe_span_push(hit, depth, frame);
}

/* Trace id and parent: as they came with the request, else of the enclosing span or of the task's, else a new root. */
OE_NOINLINE int __oe_flow_set_parent(const struct oe_hit *hit, struct oe_live_span *span,
				     const struct oe_trace_ctx *remote)
{
	const struct oe_thread *thread;
	const struct oe_task *task;
	struct oe_trace_ctx parent;
	__u64 task_id;

	if (!hit || !span)
		return 0;
	if (remote) {
		oe_span_continue(hit, span, remote);
		return 0;
	}
	thread = span->depth ? 0 : __oe_thread_find();
	task_id = thread ? __oe_thread_task(thread, hit->generation) : 0;
	task = task_id ? __oe_task_find(task_id, hit->tgid, hit->generation) : 0;
	if (!task || !task->has_parent)
		return oe_span_inherit(hit, span);
	parent = task->parent;
	oe_span_continue(hit, span, &parent);
	oe_span_event(span)->header.span_flags &= ~OE_SPAN_REMOTE_PARENT;
	return 0;
}

OE_INLINE struct oe_live_span *__oe_flow_span_begin(struct oe_hit *hit, __u32 event_bytes,
						    const struct oe_trace_ctx *remote, enum oe_flow_wanted wanted,
						    enum oe_span_extent extent)
{
	struct oe_live_span *span = __oe_flow_open(hit, wanted, extent);

	if (!span)
		return 0;
	__oe_span_begin(hit, span, event_bytes);
	__oe_flow_set_parent(hit, span, remote);
	__oe_flow_update(hit);
	return span;
}

/*
 * Opens a span of the function call at whose entry the hit is, on the current thread, or on the task that it works on,
 * and publishes its context. `remote`: the context that came with the request; NULL: the parent is the enclosing span.
 * event_bytes: size of the Probe's record, a constant; the record is zero but for what the library fills. NULL, counted,
 * when there is no room.
 */
OE_INLINE struct oe_live_span *oe_thread_span_begin(struct oe_hit *hit, __u32 event_bytes,
						    const struct oe_trace_ctx *remote)
{
	return __oe_flow_span_begin(hit, event_bytes, remote, OE_FLOW_ANY, OE_SPAN_OF_CALL);
}

/*
 * The same for an operation between two points of the program, of which a thread has one at a time: an open one of its
 * kind has ended unseen.
 */
OE_INLINE struct oe_live_span *oe_thread_span_begin_only(struct oe_hit *hit, __u32 event_bytes,
							 const struct oe_trace_ctx *remote)
{
	return __oe_flow_span_begin(hit, event_bytes, remote, OE_FLOW_ANY, OE_SPAN_OF_KIND);
}

/*
 * oe_thread_span_begin for programs whose threads work on tasks. While the thread's task is not known there is no span:
 * NULL, counted (task_unknown).
 */
OE_INLINE struct oe_live_span *oe_task_span_begin(struct oe_hit *hit, __u32 event_bytes,
						  const struct oe_trace_ctx *remote)
{
	return __oe_flow_span_begin(hit, event_bytes, remote, OE_FLOW_TASK, OE_SPAN_OF_CALL);
}

/* The same for an operation of which a task has one at a time. */
OE_INLINE struct oe_live_span *oe_task_span_begin_only(struct oe_hit *hit, __u32 event_bytes,
						       const struct oe_trace_ctx *remote)
{
	return __oe_flow_span_begin(hit, event_bytes, remote, OE_FLOW_TASK, OE_SPAN_OF_KIND);
}

/* The open span that this hit ends, for the Probe to fill: of the thread, or of its task. NULL, counted (orphan_end). */
OE_NOINLINE struct oe_live_span *oe_thread_span_ending(struct oe_hit *hit)
{
	if (!hit)
		return 0;
	__oe_flow_enter(hit, OE_FLOW_KNOWN);
	return oe_span_end(hit);
}

/* Writes the record of that span, after those of spans inside it that never ended; the enclosing one is current. */
OE_NOINLINE int oe_thread_span_end(struct oe_hit *hit, struct oe_live_span *span)
{
	if (!hit || !span)
		return 0;
	oe_span_emit(hit, span);
	return __oe_flow_update(hit);
}

/* Gives up a span that was just opened, without a record. */
OE_NOINLINE int oe_thread_span_discard(struct oe_hit *hit, struct oe_live_span *span)
{
	if (!hit || !span)
		return 0;
	oe_span_discard(hit, span);
	return __oe_flow_update(hit);
}

/* The current thread ends: its open spans do too (abandoned), its entry goes; the kernel frees its task storage. */
OE_NOINLINE int oe_thread_leave(void)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct oe_hit hit = {.tgid = pid_tgid >> 32};
	const struct oe_thread *thread = __oe_thread_find();
	const struct oe_process *process;
	struct oe_task *task;
	__u64 task_id;

	if (!thread)
		return 0;
	oe_eager_retract();
	process = bpf_map_lookup_elem(&oe_processes, &hit.tgid);
	if (!process) /* the process is over: its slots are reclaimed when they are wanted */
		return 0;
	hit.generation = process->generation;
	task_id = __oe_thread_task(thread, hit.generation);
	task = task_id ? __oe_task_find(task_id, hit.tgid, hit.generation) : 0;
	if (task)
		__sync_val_compare_and_swap(&task->tid, (__u32)pid_tgid, 0);
	if (thread->own.generation != hit.generation)
		return 0;
	hit.goid = thread->own.id;
	return __oe_span_abandon(&hit, 0, 0);
}

/* ---- tasks -------------------------------------------------------------------------------------------------- */

/* The current thread works on another task from here on; 0: on none. */
OE_NOINLINE int __oe_task_switch(struct oe_hit *hit, __u64 id)
{
	struct oe_thread *thread = id ? __oe_thread_get() : __oe_thread_find();
	struct oe_traces_ctx_v1 ctx;
	struct oe_task *task;
	int live;

	if (!hit || !thread) /* without memory for the thread its task stays unknown: its spans are counted */
		return 0;
	thread->task = 0;
	thread->generation = hit->generation;
	if (id) {
		task = __oe_task_find(id, hit->tgid, hit->generation);
		if (task)
			task->tid = (__u32)bpf_get_current_pid_tgid();
		thread->task = id;
	}
	live = oe_thread_current_of(hit->tgid, hit->generation, &ctx);
	__oe_flow_publish(hit, live ? &ctx : 0);
	return 0;
}

/* Ends the spans of a task that nobody will end any more, and forgets it. */
OE_NOINLINE int __oe_task_forget(struct oe_hit *hit, __u64 id)
{
	struct oe_task_key key = {.task = id};
	const struct oe_task *task;

	if (!hit)
		return 0;
	key.tgid = hit->tgid;
	task = __oe_task_find(id, hit->tgid, hit->generation);
	if (!task)
		return 0;
	hit->goid = task->flow.id;
	__oe_span_abandon(hit, 0, 0);
	return bpf_map_delete_elem(&oe_tasks, &key);
}

/*
 * A task was made: `id` is what the runtime tells it by, not 0 (its address, say), and may be used again after its end.
 * Its outermost spans are children of the span in which it was made. It runs from its first oe_task_resume.
 */
OE_NOINLINE int oe_task_begin(struct oe_hit *hit, __u64 id)
{
	const struct oe_live_span *creator = 0;
	const struct oe_span_event *event;
	struct oe_trace_ctx parent = {};

	if (!hit || !id)
		return 0;
	__oe_task_forget(hit, id); /* one whose end was not seen */
	if (__oe_flow_enter(hit, OE_FLOW_KNOWN))
		creator = oe_span_current(hit);
	if (!creator)
		return 0;
	event = (const struct oe_span_event *)creator->record;
	__builtin_memcpy(parent.trace_id, event->trace_id, sizeof(parent.trace_id));
	__builtin_memcpy(parent.span_id, event->span_id, sizeof(parent.span_id));
	parent.flags = event->header.trace_flags;
	__oe_task_add(hit, id, 0, &parent);
	return 0;
}

/* From here on the current thread works on the task. */
OE_INLINE int oe_task_resume(struct oe_hit *hit, __u64 id)
{
	return id ? __oe_task_switch(hit, id) : 0;
}

/*
 * The task leaves the current thread. Hook it where no other thread can have resumed the task yet: before it is put into
 * a queue. Does nothing when the thread works on another task by now.
 */
OE_NOINLINE int oe_task_suspend(struct oe_hit *hit, __u64 id)
{
	const struct oe_thread *thread = __oe_thread_find();
	struct oe_task *task;

	if (!hit || !thread || !id || __oe_thread_task(thread, hit->generation) != id)
		return 0;
	task = __oe_task_find(id, hit->tgid, hit->generation);
	if (task)
		__sync_val_compare_and_swap(&task->tid, (__u32)bpf_get_current_pid_tgid(), 0);
	return __oe_task_switch(hit, 0);
}

/* The task is over; spans that it has open are ended (abandoned). */
OE_NOINLINE int oe_task_end(struct oe_hit *hit, __u64 id)
{
	const struct oe_thread *thread = __oe_thread_find();

	if (!hit || !id)
		return 0;
	__oe_task_forget(hit, id);
	if (thread && __oe_thread_task(thread, hit->generation) == id)
		__oe_task_switch(hit, 0);
	return 0;
}

#endif
#endif
