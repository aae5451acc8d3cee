/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * The context that an SDK inside the process publishes for the current thread (OTEP 4947, otel_thread_ctx_v1).
 *
 * The record is valid for readers that interrupt its thread or run on it: perf events, timers, uprobes, tracepoints.
 * User space finds where the variable is (sdk_contexts.hpp) and fills oe_sdk_threads.
 *
 * BPF: include vmlinux.h, vmlinux_min.h or linux/types.h first.
 */
#ifndef OTEL_EBPF_THREAD_CONTEXT_BPF_H
#define OTEL_EBPF_THREAD_CONTEXT_BPF_H

#include <otel_ebpf/go_types.bpf.h>
#include <otel_ebpf/thread_pointer.bpf.h>

#if OE_BPF_SIDE

#ifndef OE_MAX_SDK_PROCESSES
#define OE_MAX_SDK_PROCESSES 8192
#endif

/* By tgid of the initial PID namespace: processes that publish a context of their own. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OE_MAX_SDK_PROCESSES);
	__type(key, __u32);
	__type(value, struct oe_tls_location);
} oe_sdk_threads __weak SEC(".maps");

/* OTEP 4947: bytes in front of the attributes. */
struct __oe_thread_record {
	__u8 trace_id[16];
	__u8 span_id[8];
	__u8 valid; /* exactly 1, else the record is to be ignored */
	__u8 trace_flags;
	__u16 attrs_bytes;
};
OE_STATIC_ASSERT(sizeof(struct __oe_thread_record) == 28, "OTEP 4947: 28 bytes in front of the attributes");

/* Address of the variable in this thread's block; 0 when the thread has none yet, or it can't be read. */
OE_NOINLINE __u64 __oe_tls_address(const struct oe_tls_location *where)
{
	__u64 tp = __oe_thread_pointer(), dtv, count, block;

	if (!where || !tp)
		return 0;
	if (where->kind == OE_TLS_STATIC)
		return tp + where->offset;
	if (where->kind != OE_TLS_DTV)
		return 0;
	if (oe_read(&dtv, sizeof(dtv), tp + where->dtv_offset) || !dtv)
		return 0;
	/* The vector of a thread that has not used a late module is too short for it. */
	if (oe_read(&count, sizeof(count), dtv + where->dtv_count_offset) || count < where->module_id)
		return 0;
	if (oe_read(&block, sizeof(block), dtv + where->module_id * where->dtv_stride))
		return 0;
	/* Not allocated: glibc (void *)-1 or NULL, musl NULL. */
	return block && block != ~0ULL ? block + where->offset : 0;
}

/* The record of the current thread, and its address; enum oe_sdk_state. */
OE_NOINLINE int __oe_thread_record(__u32 tgid, struct __oe_thread_record *record, __u64 *addr)
{
	const struct oe_tls_location *where = bpf_map_lookup_elem(&oe_sdk_threads, &tgid);
	__u64 variable;

	if (!where || !record || !addr)
		return OE_SDK_ABSENT;
	variable = __oe_tls_address(where);
	if (!variable || oe_read(addr, sizeof(*addr), variable) || !*addr)
		return OE_SDK_NONE;
	if (oe_read(record, sizeof(*record), *addr) || record->valid != 1)
		return OE_SDK_NONE;
	return OE_SDK_VALID;
}

OE_INLINE bool __oe_id8_is_set(const __u8 *id)
{
	__u64 word;

	__builtin_memcpy(&word, id, sizeof(word));
	return word != 0;
}

/*
 * The context of the current thread of process `tgid`: enum oe_sdk_state, and *out when that is OE_SDK_VALID, else zeros.
 * Flags are as published: an unsampled context is valid too.
 */
OE_NOINLINE int oe_thread_context_read(__u32 tgid, struct oe_trace_ctx *out)
{
	struct __oe_thread_record record = {};
	__u64 addr = 0;
	int state;

	if (!out)
		return OE_SDK_ABSENT;
	__builtin_memset(out, 0, sizeof(*out));
	state = __oe_thread_record(tgid, &record, &addr);
	if (state != OE_SDK_VALID)
		return state;
	if (!(__oe_id8_is_set(record.trace_id) || __oe_id8_is_set(record.trace_id + 8)) || !__oe_id8_is_set(record.span_id))
		return OE_SDK_NONE;
	__builtin_memcpy(out->trace_id, record.trace_id, sizeof(out->trace_id));
	__builtin_memcpy(out->span_id, record.span_id, sizeof(out->span_id));
	out->flags = record.trace_flags;
	return OE_SDK_VALID;
}

/*
 * The attributes of the current thread's record, undecoded; they are there without ids too. Returns bytes copied.
 * `out` is too large for the stack.
 */
OE_NOINLINE int oe_thread_context_attrs(__u32 tgid, struct oe_thread_attrs *out)
{
	struct __oe_thread_record record = {};
	__u64 addr = 0;
	__u32 size;

	if (!out)
		return 0;
	out->size_bytes = 0;
	out->published_bytes = 0;
	if (__oe_thread_record(tgid, &record, &addr) != OE_SDK_VALID)
		return 0;
	size = record.attrs_bytes;
	out->published_bytes = size;
	if (size > OE_THREAD_ATTRS_BYTES)
		size = OE_THREAD_ATTRS_BYTES;
	OE_OPAQUE(size); /* "R2 unbounded memory access": the bound has to be seen next to the read */
	if (!size || size > OE_THREAD_ATTRS_BYTES || oe_read(out->bytes, size, addr + sizeof(record)))
		return 0;
	out->size_bytes = size;
	return size;
}

#endif
#endif
