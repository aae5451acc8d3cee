/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * The shared trace-context map (OTEP 4855): which span each thread works for right now.
 *
 * BPF: include vmlinux.h, vmlinux_min.h or linux/types.h first.
 */
#ifndef OTEL_EBPF_TRACES_CTX_BPF_H
#define OTEL_EBPF_TRACES_CTX_BPF_H

#include <otel_ebpf/core.bpf.h>

#if OE_BPF_SIDE

/* Shape and name are the protocol; the loader hands in the pinned map's descriptor before load. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OE_TRACES_CTX_ENTRIES);
	__type(key, __u64); /* tgid << 32 | tid, of the initial PID namespace */
	__type(value, struct oe_traces_ctx_v1);
} traces_ctx_v1 __weak SEC(".maps");

OE_INLINE bool __oe_any_set(const __u8 *bytes, int size)
{
	__u64 word, all = 0;

	for (int i = 0; i < size; i += sizeof(word)) {
		__builtin_memcpy(&word, bytes + i, sizeof(word));
		all |= word;
	}
	return all != 0;
}

/* What a thread works for. False, and `out` all zero, where there is no entry or one without both ids. */
OE_INLINE bool oe_traces_ctx_get(__u64 key, struct oe_traces_ctx_v1 *out)
{
	const struct oe_traces_ctx_v1 *entry = bpf_map_lookup_elem(&traces_ctx_v1, &key);

	__builtin_memset(out, 0, sizeof(*out));
	if (!entry || !__oe_any_set(entry->trace_id, sizeof(entry->trace_id)) ||
	    !__oe_any_set(entry->span_id, sizeof(entry->span_id)))
		return false;
	__builtin_memcpy(out, entry, sizeof(*out));
	return true;
}

/* What the thread works for that this program interrupts or runs in. */
OE_INLINE bool oe_traces_ctx_current(struct oe_traces_ctx_v1 *out)
{
	return oe_traces_ctx_get(bpf_get_current_pid_tgid(), out);
}

#endif
#endif
