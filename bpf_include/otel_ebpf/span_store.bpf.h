/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Where the live spans of goroutines are kept: a slot by goroutine and depth, taken, found and freed. */
#ifndef OTEL_EBPF_SPAN_STORE_BPF_H
#define OTEL_EBPF_SPAN_STORE_BPF_H

#include <otel_ebpf/uprobe.bpf.h>

#if OE_BPF_SIDE

#ifndef OE_MAX_LIVE_SPANS
#define OE_MAX_LIVE_SPANS 4096 /* direct-mapped slots, a power of two */
#endif
#ifndef OE_MAX_OVERFLOW_SPANS
#define OE_MAX_OVERFLOW_SPANS 65536 /* spans whose slot is taken; allocated when needed */
#endif
#define OE_MAX_DEPTH 8

/* In what takes the place of a goid for threads and tasks without goroutines (flow.bpf.h). */
#define OE_FLOW_ID_BIT (1ULL << 63)

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
	span->ready = 0;
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

#endif
#endif
