/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * The live spans of every goroutine: one store pairs start and end, nests spans and gives parents.
 *
 * Start:  span = oe_span_start(&hit, sizeof(struct my_event));   fill the record's own fields
 * End:    span = oe_span_end(&hit);                              fill the rest
 *         oe_span_emit(&hit, span);
 *
 * A span's record is built where it lives and copied once, into the ring buffer, when it ends.
 */
#ifndef OTEL_EBPF_SPAN_BPF_H
#define OTEL_EBPF_SPAN_BPF_H

#include <otel_ebpf/events.bpf.h>
#include <otel_ebpf/goroutine.bpf.h>
#include <otel_ebpf/traceparent.bpf.h>

#if OE_BPF_SIDE

/* Writes the record of a span and frees the span. */
OE_NOINLINE int __oe_span_finish(struct oe_live_span *span, __u64 now_ns)
{
	struct oe_span_event *event;
	__u32 size;

	if (!span)
		return 0;
	event = oe_span_event(span);
	event->duration_ns = now_ns - event->start_ns;
	size = event->header.size_bytes;
	if (size < sizeof(*event))
		size = sizeof(*event);
	OE_OPAQUE(size); /* "invalid access to map value": of two bounds clang makes one test, of a difference */
	if (size > OE_RECORD_BYTES)
		size = OE_RECORD_BYTES;
	oe_event_write(event, size);
	return __oe_span_release(span);
}

/* Which spans of a goroutine to end because their own ends never came. */
struct __oe_span_pop {
	__u64 goid;
	__u64 process; /* tgid << 32 | generation */
	__u64 frame;   /* spans that began above this frame stay */
	__u64 keep;    /* so many outermost spans stay */
};

/* Ends the innermost span. Run by bpf_loop, so that the verifier walks it once, not once per span that may be open. */
static long __oe_span_pop(__u32 step, void *context)
{
	const struct __oe_span_pop *pop = context;
	struct oe_live_span *bottom, *top;
	__u32 open_depth;

	(void)step;
	bottom = __oe_span_find(pop->goid, pop->process, 0);
	if (!bottom)
		return 1;
	open_depth = bottom->open_depth;
	if (open_depth <= pop->keep || open_depth > OE_MAX_DEPTH)
		return 1;
	top = __oe_span_find(pop->goid, pop->process, open_depth - 1);
	if (top && top->frame < pop->frame)
		return 1;
	/* First: when it ends, the bottom slot belongs to nobody. */
	bottom->open_depth = open_depth - 1;
	if (!top)
		return 0;
	oe_count(OE_STAT_ABANDONED);
	oe_span_event(top)->header.span_flags |= OE_SPAN_ABANDONED;
	__oe_span_finish(top, bpf_ktime_get_ns());
	return 0;
}

OE_NOINLINE int __oe_span_abandon(const struct oe_hit *hit, __u64 frame, __u64 keep)
{
	struct __oe_span_pop pop;

	if (!hit)
		return 0;
	pop.goid = hit->goid;
	pop.process = (__u64)hit->tgid << 32 | hit->generation;
	pop.frame = frame;
	pop.keep = keep;
	bpf_loop(OE_MAX_DEPTH, __oe_span_pop, &pop, 0);
	return 0;
}

/* How many spans of the goroutine are open. */
OE_NOINLINE __u32 oe_span_depth(const struct oe_hit *hit)
{
	const struct oe_live_span *bottom;

	if (!hit)
		return 0;
	bottom = oe_span_find(hit, 0);
	return bottom ? bottom->open_depth : 0;
}

/* Notes in the goroutine's bottom slot how many spans are open. */
OE_NOINLINE int __oe_span_set_depth(const struct oe_hit *hit, __u32 open_depth)
{
	struct oe_live_span *bottom;

	if (!hit)
		return 0;
	bottom = oe_span_find(hit, 0);
	if (bottom)
		bottom->open_depth = open_depth;
	return 0;
}

/* Whether the innermost open span began at or below the frame of this hit: its function has returned since. */
OE_NOINLINE bool __oe_span_top_is_gone(const struct oe_hit *hit, __u32 open_depth, __u64 frame)
{
	const struct oe_live_span *top;

	if (!hit)
		return false;
	top = oe_span_find(hit, open_depth - 1);
	return !top || top->frame >= frame;
}

/* The goroutine's innermost open span, or NULL. */
OE_INLINE struct oe_live_span *oe_span_current(const struct oe_hit *hit)
{
	__u32 open_depth = oe_span_depth(hit);

	return open_depth ? oe_span_find(hit, open_depth - 1) : 0;
}

/* The innermost open span of the hit's kind, without ending it; NULL when there is none. */
OE_NOINLINE struct oe_live_span *oe_span_innermost(const struct oe_hit *hit)
{
	struct oe_live_span *span;
	__u32 open_depth, i;

	if (!hit)
		return 0;
	span = oe_span_find(hit, 0);
	if (!span)
		return 0;
	open_depth = span->open_depth;
	if (open_depth == 1)
		return oe_span_event(span)->header.kind == hit->kind ? span : 0;
	for (i = OE_MAX_DEPTH; i > 0; i--) {
		if (i > open_depth)
			continue;
		span = oe_span_find(hit, i - 1);
		if (span && oe_span_event(span)->header.kind == hit->kind)
			return span;
	}
	return 0;
}

/* A claimed slot above the `depth` spans that are open. */
OE_NOINLINE struct oe_live_span *__oe_span_push(const struct oe_hit *hit, __u32 depth, __u64 frame)
{
	struct oe_live_span *span;

	if (!hit)
		return 0;
	if (depth >= OE_MAX_DEPTH) {
		oe_count(OE_STAT_DEPTH_EXCEEDED);
		return 0;
	}
	span = __oe_span_claim(hit, depth);
	if (!span)
		return 0;
	if (depth)
		__oe_span_set_depth(hit, depth + 1);
	else
		span->open_depth = 1;
	span->frame = frame;
	if (span->last_goid != hit->goid || span->last_kind != hit->kind || span->last_generation != hit->generation) {
		span->last_goid = hit->goid;
		span->last_kind = hit->kind;
		span->last_generation = hit->generation;
		span->sticky = 0;
	}
	return span;
}

/* Ends the spans whose functions have returned since, then pushes. */
OE_NOINLINE struct oe_live_span *__oe_span_open(const struct oe_hit *hit)
{
	__u64 frame;
	__u32 depth;

	if (!hit)
		return 0;
	frame = oe_go_frame(hit);
	depth = oe_span_depth(hit);
	if (depth && __oe_span_top_is_gone(hit, depth, frame)) {
		__oe_span_abandon(hit, frame, 0);
		depth = oe_span_depth(hit);
	}
	return __oe_span_push(hit, depth, frame);
}

/* The same for operations of which a goroutine has one at a time: an open one of the same kind has ended unseen. */
OE_NOINLINE struct oe_live_span *__oe_span_open_only(const struct oe_hit *hit)
{
	const struct oe_live_span *former;
	__u32 depth;

	if (!hit)
		return 0;
	depth = oe_span_depth(hit);
	if (depth) {
		former = oe_span_innermost(hit);
		if (former)
			__oe_span_abandon(hit, 0, former->depth);
		depth = oe_span_depth(hit);
	}
	return __oe_span_push(hit, depth, 0);
}

/* Header, times and span id of a record whose fixed part has event_bytes bytes, a constant; the part is zeroed. */
OE_INLINE void __oe_span_begin(const struct oe_hit *hit, struct oe_live_span *span, __u32 event_bytes)
{
	struct oe_span_event *event = oe_span_event(span);

	span->user[0] = span->user[1] = span->user[2] = 0;
	__builtin_memset(span->record, 0, event_bytes);
	event->header.kind = hit->kind;
	event->header.size_bytes = event_bytes;
	event->header.tgid = hit->tgid;
	event->header.generation = hit->generation;
	event->goid = hit->goid;
	event->start_ns = bpf_ktime_get_ns();
	oe_random_id8(event->span_id);
}

/*
 * Opens a span on the goroutine of the hit, all but its trace id and parent: oe_span_start sets them too. event_bytes:
 * size of the Probe's record, a constant. NULL, counted, when there is no room.
 */
OE_INLINE struct oe_live_span *oe_span_open(const struct oe_hit *hit, __u32 event_bytes)
{
	struct oe_live_span *span = __oe_span_open(hit);

	if (span)
		__oe_span_begin(hit, span, event_bytes);
	return span;
}

/* oe_span_open for operations that never contain one of their own kind on the same goroutine: saves a read. */
OE_INLINE struct oe_live_span *oe_span_open_only(const struct oe_hit *hit, __u32 event_bytes)
{
	struct oe_live_span *span = __oe_span_open_only(hit);

	if (span)
		__oe_span_begin(hit, span, event_bytes);
	return span;
}

/* Trace id and parent: of a live span, or, without one, a new sampled root. */
OE_INLINE void __oe_span_child_of(const struct oe_hit *hit, struct oe_live_span *span, struct oe_live_span *parent)
{
	struct oe_span_event *event = oe_span_event(span);
	const struct oe_span_event *parent_event;

	if (parent) {
		parent_event = oe_span_event(parent);
		__builtin_memcpy(event->trace_id, parent_event->trace_id, sizeof(event->trace_id));
		__builtin_memcpy(event->parent_id, parent_event->span_id, sizeof(event->parent_id));
		event->header.trace_flags = parent_event->header.trace_flags;
	} else {
		oe_random_id16(event->trace_id);
		event->header.trace_flags = 1;
	}
	oe_go_span_began(hit, span);
}

/* Trace id and parent: of the live span around it on the same goroutine, else a new sampled root. */
OE_NOINLINE int oe_span_inherit(const struct oe_hit *hit, struct oe_live_span *span)
{
	if (!hit || !span)
		return 0;
	__oe_span_child_of(hit, span, span->depth ? oe_span_find(hit, span->depth - 1) : 0);
	return 0;
}

/* The same; the first span of a goroutine belongs to the one that the goroutine was started under, if that lives. */
OE_NOINLINE int __oe_span_inherit_across(const struct oe_hit *hit, struct oe_live_span *span)
{
	struct oe_go_key who;

	if (!hit || !span)
		return 0;
	if (span->depth)
		return oe_span_inherit(hit, span);
	who = oe_go_key_of(hit);
	__oe_span_child_of(hit, span, __oe_go_inherited(&who, oe_go_parent(hit->exe, hit->g_addr)));
	return 0;
}

/* Trace id, parent and flags: as they came with the request. */
OE_INLINE void oe_span_continue(const struct oe_hit *hit, struct oe_live_span *span, const struct oe_trace_ctx *remote)
{
	struct oe_span_event *event = oe_span_event(span);

	__builtin_memcpy(event->trace_id, remote->trace_id, sizeof(event->trace_id));
	__builtin_memcpy(event->parent_id, remote->span_id, sizeof(event->parent_id));
	event->header.trace_flags = remote->flags;
	event->header.span_flags |= OE_SPAN_REMOTE_PARENT;
	oe_go_span_began(hit, span);
}

/* oe_span_open with the enclosing live span as parent, also one that encloses the start of the goroutine. */
OE_INLINE struct oe_live_span *oe_span_start(const struct oe_hit *hit, __u32 event_bytes)
{
	struct oe_live_span *span = oe_span_open(hit, event_bytes);

	__oe_span_inherit_across(hit, span);
	return span;
}

/* The span that this hit ends, still open for the Probe to fill; NULL, counted, when its start was not seen. */
OE_INLINE struct oe_live_span *oe_span_end(const struct oe_hit *hit)
{
	struct oe_live_span *span = oe_span_innermost(hit);

	if (!span)
		oe_count(OE_STAT_ORPHAN_END);
	return span;
}

/* Writes the record of a span that ended, after those of the spans inside it that never did. */
OE_NOINLINE int oe_span_emit(const struct oe_hit *hit, struct oe_live_span *span)
{
	__u64 now_ns = bpf_ktime_get_ns();
	__u32 depth;

	if (!hit || !span)
		return 0;
	depth = span->depth;
	if (depth || span->open_depth != 1) {
		if (oe_span_depth(hit) > depth + 1)
			__oe_span_abandon(hit, 0, depth + 1);
		if (depth)
			__oe_span_set_depth(hit, depth);
	}
	__oe_span_finish(span, now_ns);
	oe_go_span_ended(hit);
	return 0;
}

/* Gives up a span that was just opened, without a record. */
OE_NOINLINE int oe_span_discard(const struct oe_hit *hit, struct oe_live_span *span)
{
	if (!hit || !span)
		return 0;
	if (span->depth)
		__oe_span_set_depth(hit, span->depth);
	oe_count(OE_STAT_DISCARDED);
	__oe_span_release(span);
	oe_go_span_ended(hit);
	return 0;
}

#endif
#endif
