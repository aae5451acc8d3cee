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
#include <otel_ebpf/traceparent.bpf.h>
#include <otel_ebpf/uprobe.bpf.h>

#if OE_BPF_SIDE

#ifndef OE_MAX_LIVE_SPANS
#define OE_MAX_LIVE_SPANS 4096 /* direct-mapped slots, a power of two */
#endif
#ifndef OE_MAX_OVERFLOW_SPANS
#define OE_MAX_OVERFLOW_SPANS 65536 /* spans whose slot is taken; allocated when needed */
#endif
#define OE_MAX_DEPTH 8

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OE_MAX_LIVE_SPANS);
	__type(key, __u32);
	__type(value, struct oe_live_span);
} oe_spans __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OE_MAX_OVERFLOW_SPANS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct oe_span_key);
	__type(value, struct oe_live_span);
} oe_span_more __weak SEC(".maps");

/* First value of an overflow entry; larger than a BPF stack. */
const volatile __u8 oe_live_span_zero[sizeof(struct oe_live_span)] __weak = {};

OE_INLINE struct oe_span_event *oe_span_event(struct oe_live_span *span)
{
	return (struct oe_span_event *)span->record;
}

OE_INLINE __u32 __oe_span_index(__u64 goid, __u32 tgid, __u32 depth)
{
	/* Goids are dense: those of one process don't meet. */
	return ((__u32)goid + tgid * 2654435761u + depth * 40503u) & (OE_MAX_LIVE_SPANS - 1);
}

/* In oe_live_span.state, between the claim of a slot and its new key: the key that is there says nothing of the owner. */
#define OE_SPAN_BEING_CLAIMED 0x80000000U

OE_INLINE bool __oe_span_is(const struct oe_live_span *span, __u64 goid, __u32 tgid, __u32 generation, __u32 depth)
{
	return (span->state & (OE_SPAN_BEING_CLAIMED | 1)) == 1 && span->goid == goid && span->tgid == tgid &&
	       span->generation == generation && span->depth == depth;
}

/* The open span of a goroutine at a depth, or NULL. */
OE_NOINLINE struct oe_live_span *__oe_span_find(__u64 goid, __u64 process, __u32 depth)
{
	__u32 generation = (__u32)process;
	__u32 tgid = process >> 32;
	__u32 index = __oe_span_index(goid, tgid, depth);
	struct oe_live_span *span = bpf_map_lookup_elem(&oe_spans, &index);
	struct oe_span_key key = {};

	if (!span)
		return 0;
	if (__oe_span_is(span, goid, tgid, generation, depth))
		return span;
	if (!span->overflows)
		return 0;
	key.goid = goid;
	key.tgid = tgid;
	key.depth = depth;
	span = bpf_map_lookup_elem(&oe_span_more, &key);
	if (span && __oe_span_is(span, goid, tgid, generation, depth))
		return span;
	return 0;
}

OE_INLINE struct oe_live_span *oe_span_find(const struct oe_hit *hit, __u32 depth)
{
	return __oe_span_find(hit->goid, (__u64)hit->tgid << 32 | hit->generation, depth);
}

/* Whether the process that opened a span is gone, so that nothing will ever end it. */
OE_INLINE bool __oe_span_is_stale(const struct oe_live_span *span)
{
	__u32 tgid = span->tgid;
	const struct oe_process *process = bpf_map_lookup_elem(&oe_processes, &tgid);

	return !process || process->generation != span->generation;
}

/* The slot that is free or whose process is gone, taken; else an entry of the overflow hash. */
OE_NOINLINE struct oe_live_span *__oe_span_claim(const struct oe_hit *hit, __u32 depth)
{
	struct oe_live_span *span, *home;
	struct oe_span_key key = {};
	__u32 index, state;

	if (!hit)
		return 0;
	index = __oe_span_index(hit->goid, hit->tgid, depth);
	home = bpf_map_lookup_elem(&oe_spans, &index);
	if (!home)
		return 0;
	span = home;
	state = span->state;
	if (!(state & 1)) {
		if (__sync_val_compare_and_swap(&span->state, state, (state + 1) | OE_SPAN_BEING_CLAIMED) == state)
			goto claimed;
	} else if (!(state & OE_SPAN_BEING_CLAIMED) && __oe_span_is_stale(span)) {
		if (__sync_val_compare_and_swap(&span->state, state, (state + 2) | OE_SPAN_BEING_CLAIMED) == state) {
			oe_count(OE_STAT_RECLAIMED);
			goto claimed;
		}
	}
	key.goid = hit->goid;
	key.tgid = hit->tgid;
	key.depth = depth;
	if (bpf_map_update_elem(&oe_span_more, &key, (const void *)oe_live_span_zero, BPF_NOEXIST)) {
		/* An entry that is there already belongs to a dead process with the same tgid; else there is no room. */
		if (bpf_map_update_elem(&oe_span_more, &key, (const void *)oe_live_span_zero, BPF_EXIST)) {
			oe_count(OE_STAT_STORE_FULL);
			return 0;
		}
		oe_count(OE_STAT_RECLAIMED);
	} else {
		__sync_fetch_and_add(&home->overflows, 1);
	}
	span = bpf_map_lookup_elem(&oe_span_more, &key);
	if (!span)
		return 0;
	oe_count(OE_STAT_STORE_OVERFLOW);
	span->in_overflow = 1;
	span->state = 1;
claimed:
	span->tgid = hit->tgid;
	span->generation = hit->generation;
	span->depth = depth;
	span->open_depth = 0;
	span->goid = hit->goid;
	/* Last: with it, the slot is found. */
	OE_STORE_RELEASE(span->state, span->state & ~OE_SPAN_BEING_CLAIMED);
	return span;
}

OE_NOINLINE int __oe_span_release(struct oe_live_span *span)
{
	struct oe_span_key key = {};
	struct oe_live_span *home;
	__u32 index;

	if (!span)
		return 0;
	if (!span->in_overflow) {
		/* The key goes first: a slot is never seen open under the key of a span that ended. */
		OE_STORE_RELEASE(span->goid, 0);
		OE_STORE_RELEASE(span->state, span->state + 1);
		return 0;
	}
	key.goid = span->goid;
	key.tgid = span->tgid;
	key.depth = span->depth;
	index = __oe_span_index(key.goid, key.tgid, key.depth);
	home = bpf_map_lookup_elem(&oe_spans, &index);
	if (!bpf_map_delete_elem(&oe_span_more, &key) && home)
		__sync_fetch_and_add(&home->overflows, -1);
	return 0;
}

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

/* Trace id and parent: of the enclosing live span, else a new sampled root. */
OE_NOINLINE int oe_span_inherit(const struct oe_hit *hit, struct oe_live_span *span)
{
	const struct oe_span_event *parent_event;
	struct oe_live_span *parent = 0;
	struct oe_span_event *event;

	if (!hit || !span)
		return 0;
	event = oe_span_event(span);
	if (span->depth)
		parent = oe_span_find(hit, span->depth - 1);
	if (!parent) {
		oe_random_id16(event->trace_id);
		event->header.trace_flags = 1;
		return 0;
	}
	parent_event = oe_span_event(parent);
	__builtin_memcpy(event->trace_id, parent_event->trace_id, sizeof(event->trace_id));
	__builtin_memcpy(event->parent_id, parent_event->span_id, sizeof(event->parent_id));
	event->header.trace_flags = parent_event->header.trace_flags;
	return 0;
}

/* Trace id, parent and flags: as they came with the request. */
OE_INLINE void oe_span_continue(struct oe_live_span *span, const struct oe_trace_ctx *remote)
{
	struct oe_span_event *event = oe_span_event(span);

	__builtin_memcpy(event->trace_id, remote->trace_id, sizeof(event->trace_id));
	__builtin_memcpy(event->parent_id, remote->span_id, sizeof(event->parent_id));
	event->header.trace_flags = remote->flags;
	event->header.span_flags |= OE_SPAN_REMOTE_PARENT;
}

/* oe_span_open with the enclosing live span as parent. */
OE_INLINE struct oe_live_span *oe_span_start(const struct oe_hit *hit, __u32 event_bytes)
{
	struct oe_live_span *span = oe_span_open(hit, event_bytes);

	oe_span_inherit(hit, span);
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
	return __oe_span_finish(span, now_ns);
}

/* Gives up a span that was just opened, without a record. */
OE_NOINLINE int oe_span_discard(const struct oe_hit *hit, struct oe_live_span *span)
{
	if (!hit || !span)
		return 0;
	if (span->depth)
		__oe_span_set_depth(hit, span->depth);
	oe_count(OE_STAT_DISCARDED);
	return __oe_span_release(span);
}

#endif
#endif
