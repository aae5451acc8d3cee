/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * The span that a goroutine works for: its innermost live one; else the one it was started under, as long as that lives.
 *
 * Which span that is, is decided once, at the goroutine's start where its creation is hooked, else when it is first looked
 * at (Go 1.21+): then its parent's outermost live span, since which of the inner ones were open at the start can't be known.
 */
#ifndef OTEL_EBPF_GOROUTINE_BPF_H
#define OTEL_EBPF_GOROUTINE_BPF_H

#include <otel_ebpf/publish.bpf.h>
#include <otel_ebpf/span_store.bpf.h>

#if OE_BPF_SIDE

#ifndef OE_MAX_GOROUTINE_ORIGINS
#define OE_MAX_GOROUTINE_ORIGINS 16384
#endif

const volatile __u16 oe_f_g_parent_goid __weak = OE_NO_SLOT; /* go1.21+ */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OE_MAX_GOROUTINE_ORIGINS);
	__type(key, struct oe_go_key);
	__type(value, struct oe_go_origin);
} oe_go_origins __weak SEC(".maps");

OE_INLINE __u64 __oe_go_process(const struct oe_go_key *who)
{
	return (__u64)who->tgid << 32 | who->generation;
}

/* What of a live span goes into the map: 1 and *out, 0 when it is not sampled, -1 when it is not that one any more. */
OE_NOINLINE int __oe_span_context(const struct oe_live_span *span, struct oe_traces_ctx_v1 *out)
{
	const struct oe_span_event *event;
	__u32 state;
	__u64 goid;

	if (!span || !out)
		return -1;
	event = (const struct oe_span_event *)span->record;
	state = span->state;
	goid = span->goid;
	if (!span->ready)
		return -1;
	__builtin_memcpy(out->trace_id, event->trace_id, sizeof(out->trace_id));
	__builtin_memcpy(out->span_id, event->span_id, sizeof(out->span_id));
	/* Another CPU may end the span meanwhile, and the slot then has a new one. */
	if (*(volatile const __u32 *)&span->state != state || *(volatile const __u64 *)&span->goid != goid)
		return -1;
	return event->header.trace_flags & 1; /* W3C: sampled */
}

/* The goroutine's innermost live span whose ids are set, or NULL. */
OE_NOINLINE struct oe_live_span *__oe_go_top(const struct oe_go_key *who)
{
	struct oe_live_span *span;
	__u32 open_depth, i;

	if (!who)
		return 0;
	span = __oe_span_find(who->goid, __oe_go_process(who), 0);
	if (!span)
		return 0;
	open_depth = span->open_depth;
	if (open_depth <= 1)
		return span->ready ? span : 0;
	for (i = OE_MAX_DEPTH; i > 0; i--) {
		if (i > open_depth)
			continue;
		span = __oe_span_find(who->goid, __oe_go_process(who), i - 1);
		if (span && span->ready)
			return span;
	}
	return 0;
}

/* The span that an origin means, while it lives; else NULL. */
OE_INLINE struct oe_live_span *__oe_go_holder(const struct oe_go_key *who, const struct oe_go_origin *origin)
{
	struct oe_live_span *span;

	if (!origin->holder_goid)
		return 0;
	span = __oe_span_find(origin->holder_goid, __oe_go_process(who), origin->holder_depth);
	if (!span || !span->ready)
		return 0;
	return __oe_same_id8(((struct oe_span_event *)span->record)->span_id, origin->span_id) ? span : 0;
}

OE_INLINE void __oe_go_origin_of(struct oe_go_origin *origin, const struct oe_live_span *span)
{
	origin->holder_goid = span->goid;
	origin->holder_depth = span->depth;
	__builtin_memcpy(origin->span_id, ((const struct oe_span_event *)span->record)->span_id, 8);
}

/* The span that the goroutine was started under, while it lives; else NULL. parent_goid: 0 when it is not known. */
OE_NOINLINE struct oe_live_span *__oe_go_inherited(const struct oe_go_key *who, __u64 parent_goid)
{
	const struct oe_go_origin *known;
	struct oe_go_origin origin = {};
	struct oe_live_span *span;

	if (!who)
		return 0;
	known = bpf_map_lookup_elem(&oe_go_origins, who);
	if (known) {
		origin = *known;
		return __oe_go_holder(who, &origin);
	}
	if (!parent_goid)
		return 0;
	span = __oe_span_find(parent_goid, __oe_go_process(who), 0);
	if (span && !span->ready)
		span = 0;
	if (span)
		__oe_go_origin_of(&origin, span);
	bpf_map_update_elem(&oe_go_origins, who, &origin, BPF_NOEXIST);
	return span;
}

/* The context that a goroutine works in: 1 and *out; 0 when there is none to publish. */
OE_INLINE int oe_go_context(const struct oe_go_key *who, __u64 parent_goid, struct oe_traces_ctx_v1 *out)
{
	const struct oe_live_span *span = __oe_go_top(who);

	if (!span)
		span = __oe_go_inherited(who, parent_goid);
	return span && __oe_span_context(span, out) == 1;
}

/* The parent of the goroutine at g_addr; 0 when the release doesn't tell. */
OE_INLINE __u64 oe_go_parent(const struct oe_exe *exe, __u64 g_addr)
{
	__u16 offset = oe_fact(exe, oe_f_g_parent_goid);

	return offset == OE_UNKNOWN ? 0 : oe_read_u64(g_addr + offset);
}

/* Eager publication: this thread runs that goroutine from here on. */
OE_NOINLINE int oe_go_publish(const struct oe_go_key *who, __u64 parent_goid)
{
	struct oe_traces_ctx_v1 ctx;

	if (who && oe_go_context(who, parent_goid, &ctx))
		return oe_eager_publish(&ctx);
	return oe_eager_retract();
}

OE_INLINE struct oe_go_key oe_go_key_of(const struct oe_hit *hit)
{
	struct oe_go_key who = {};

	who.goid = hit->goid;
	who.tgid = hit->tgid;
	who.generation = hit->generation;
	return who;
}

/* Threads and tasks without goroutines publish for themselves. */
OE_INLINE bool __oe_go_is_eager(const struct oe_hit *hit)
{
	return hit->publication == OE_PUBLISH_EAGER && !(hit->goid & OE_FLOW_ID_BIT);
}

/* A span of the hit's goroutine began, and its ids are set. */
OE_INLINE void oe_go_span_began(const struct oe_hit *hit, struct oe_live_span *span)
{
	struct oe_traces_ctx_v1 ctx;

	OE_STORE_RELEASE(span->ready, 1);
	if (!__oe_go_is_eager(hit))
		return;
	if (__oe_span_context(span, &ctx) == 1)
		oe_eager_publish(&ctx);
	else
		oe_eager_retract();
}

/* A span of the hit's goroutine ended: the one around it counts again. */
OE_INLINE void oe_go_span_ended(const struct oe_hit *hit)
{
	struct oe_go_key who;

	if (!__oe_go_is_eager(hit))
		return;
	who = oe_go_key_of(hit);
	oe_go_publish(&who, oe_go_parent(hit->exe, hit->g_addr));
}

#endif
#endif
