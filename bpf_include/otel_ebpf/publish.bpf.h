/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Writing and taking back this thread's entry of traces_ctx_v1, without ever touching another tool's. */
#ifndef OTEL_EBPF_PUBLISH_BPF_H
#define OTEL_EBPF_PUBLISH_BPF_H

#include <otel_ebpf/executable.bpf.h>
#include <otel_ebpf/thread_context.bpf.h>
#include <otel_ebpf/traces_ctx.bpf.h>

#if OE_BPF_SIDE

/* By the key of traces_ctx_v1: entries that stay until they are taken back. Pinned, so that they are known after a crash. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OE_TRACES_CTX_ENTRIES);
	__type(key, __u64);
	__type(value, struct oe_ctx_owned);
} oe_ctx_owned __weak SEC(".maps");

/* By tgid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OE_MAX_PROCESSES);
	__type(key, __u32);
	__type(value, struct oe_ctx_counts);
} oe_ctx_counts __weak SEC(".maps");

const volatile __u64 oe_ctx_owner __weak = 0; /* this tool, as in struct oe_ctx_owned */

/* The counters of a process; NULL when there is no room for one more. */
OE_NOINLINE struct oe_ctx_counts *oe_ctx_counts_of(__u32 tgid)
{
	struct oe_ctx_counts *counts = bpf_map_lookup_elem(&oe_ctx_counts, &tgid);
	struct oe_ctx_counts zero = {};

	if (counts)
		return counts;
	bpf_map_update_elem(&oe_ctx_counts, &tgid, &zero, BPF_NOEXIST);
	return bpf_map_lookup_elem(&oe_ctx_counts, &tgid);
}

OE_INLINE bool __oe_same_id8(const __u8 *a, const __u8 *b)
{
	__u64 x, y;

	__builtin_memcpy(&x, a, sizeof(x));
	__builtin_memcpy(&y, b, sizeof(y));
	return x == y;
}

OE_NOINLINE int __oe_eager_retract(__u64 key)
{
	const struct oe_ctx_owned *owned = bpf_map_lookup_elem(&oe_ctx_owned, &key);
	const struct oe_traces_ctx_v1 *entry;

	if (!owned || owned->owner != oe_ctx_owner)
		return 0;
	entry = bpf_map_lookup_elem(&traces_ctx_v1, &key);
	if (entry && __oe_same_id8(entry->span_id, owned->span_id))
		bpf_map_delete_elem(&traces_ctx_v1, &key);
	bpf_map_delete_elem(&oe_ctx_owned, &key);
	return 0;
}

/* Eager publication: this thread's entry goes, if it is ours. */
OE_INLINE int oe_eager_retract(void)
{
	return __oe_eager_retract(bpf_get_current_pid_tgid());
}

/*
 * Eager publication: this thread's entry says `ctx` from here on. Another tool's entry stays, counted; a process that
 * publishes a context of its own gets none of ours. 0 or -1.
 */
OE_NOINLINE int oe_eager_publish(const struct oe_traces_ctx_v1 *ctx)
{
	__u64 key = bpf_get_current_pid_tgid();
	const struct oe_traces_ctx_v1 *entry;
	const struct oe_ctx_owned *former;
	struct oe_ctx_owned owned = {};
	struct oe_ctx_counts *counts;
	__u32 tgid = key >> 32;

	if (!ctx)
		return -1;
	if (bpf_map_lookup_elem(&oe_sdk_threads, &tgid)) {
		__oe_eager_retract(key);
		return -1;
	}
	counts = oe_ctx_counts_of(tgid);
	if (!counts)
		return -1;
	former = bpf_map_lookup_elem(&oe_ctx_owned, &key);
	entry = bpf_map_lookup_elem(&traces_ctx_v1, &key);
	if (entry && !(former && __oe_same_id8(entry->span_id, former->span_id))) {
		__sync_fetch_and_add(&counts->foreign, 1);
		return -1;
	}
	__builtin_memcpy(owned.span_id, ctx->span_id, sizeof(owned.span_id));
	owned.owner = oe_ctx_owner;
	/* First the note, then the entry: after a crash no entry is without one. */
	if (bpf_map_update_elem(&oe_ctx_owned, &key, &owned, BPF_ANY) ||
	    bpf_map_update_elem(&traces_ctx_v1, &key, ctx, BPF_ANY)) {
		__sync_fetch_and_add(&counts->failed, 1);
		return -1;
	}
	__sync_fetch_and_add(&counts->published, 1);
	return 0;
}

#endif
#endif
