/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * pprof labels of a goroutine (runtime/pprof.Do, SetGoroutineLabels), which a child goroutine inherits.
 *
 * g.labels is, up to go1.23, a pointer to a map[string]string; since go1.24 a pointer to a slice of {key, value string},
 * sorted by key (runtime/pprof/label.go, runtime.go).
 *
 * BPF: include vmlinux.h, vmlinux_min.h or linux/types.h first.
 */
#ifndef OTEL_EBPF_GO_LABELS_BPF_H
#define OTEL_EBPF_GO_LABELS_BPF_H

#include <otel_ebpf/go_types.bpf.h>

#if OE_BPF_SIDE

const volatile __u16 oe_f_g_labels __weak = OE_NO_SLOT;       /* offset of g.labels */
const volatile __u16 oe_f_go_label_list __weak = OE_NO_SLOT;  /* 1: OE_GO_LABELS_SLICE, 0: OE_GO_LABELS_MAP */

struct __oe_go_label_strings {
	struct oe_go_string key;
	struct oe_go_string value;
};

/* Bucket of a map[string]string up to go1.23: 8 tophash bytes, 8 keys, 8 values, a pointer to the next. */
#define __OE_LABEL_BUCKET_BYTES (8 + 8 * 16 + 8 * 16 + 8)
#define __OE_LABEL_MIN_TOPHASH 5 /* below: free, or moved to the larger array */
#define __OE_LABEL_BUCKETS 16    /* walked at most */

/* runtime.hmap */
struct __oe_go_label_map {
	__u64 count;
	__u8 flags;
	__u8 log2_buckets;
	__u16 overflow_count;
	__u32 seed;
	__u64 buckets;
	__u64 old_buckets;
};

/* In a map, not on the stack: the verifier then takes every member for unknown. */
struct __oe_go_label_walk {
	__u64 base;
	__u64 mask;
	__u64 index;
	__u64 chained; /* overflow bucket to read next */
	__u64 old_base;
	__u64 old_mask;
	__u8 bucket[__OE_LABEL_BUCKET_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct __oe_go_label_walk);
} oe_go_label_map __weak SEC(".maps");

OE_INLINE __u64 __oe_go_label_bounded(struct oe_go_labels *out, __u64 len, __u64 max)
{
	if (len <= max)
		return len;
	out->cut = 1;
	return max;
}

OE_NOINLINE int __oe_go_label_add(struct oe_go_labels *out, const struct __oe_go_label_strings *from)
{
	struct oe_go_label *label;
	__u64 key_len, value_len;
	__u32 at;

	if (!out || !from)
		return 0;
	at = out->count;
	OE_OPAQUE(at);
	if (at >= OE_GO_LABELS)
		return 0;
	label = &out->label[at];
	key_len = __oe_go_label_bounded(out, from->key.len, OE_GO_LABEL_KEY - 1);
	value_len = __oe_go_label_bounded(out, from->value.len, OE_GO_LABEL_VALUE - 1);
	OE_OPAQUE(key_len);
	OE_OPAQUE(value_len);
	if (key_len > OE_GO_LABEL_KEY - 1 || value_len > OE_GO_LABEL_VALUE - 1)
		return 0;
	__builtin_memset(label, 0, sizeof(*label));
	if (key_len && oe_read(label->key, key_len, from->key.ptr))
		return 0;
	if (value_len && oe_read(label->value, value_len, from->value.ptr))
		return 0;
	out->count = at + 1;
	return 0;
}

/* go1.24+ */
OE_NOINLINE int __oe_go_labels_slice(struct oe_go_labels *out, __u64 labels_addr)
{
	struct __oe_go_label_strings strings;
	struct oe_go_slice list;
	__u32 i;

	if (!out || oe_read(&list, sizeof(list), labels_addr))
		return 0;
	out->published = list.len < 0xffff ? list.len : 0xffff;
	for (i = 0; i < OE_GO_LABELS && i < list.len; i++)
		if (!oe_read(&strings, sizeof(strings), list.ptr + i * sizeof(strings)))
			__oe_go_label_add(out, &strings);
	return 0;
}

OE_NOINLINE int __oe_go_labels_bucket(struct oe_go_labels *out, struct __oe_go_label_walk *walk)
{
	struct __oe_go_label_strings strings;
	__u32 i;

	if (!out || !walk)
		return 0;
	for (i = 0; i < 8; i++) {
		if (walk->bucket[i] < __OE_LABEL_MIN_TOPHASH)
			continue;
		strings.key.ptr = *(__u64 *)(walk->bucket + 8 + i * 16);
		strings.key.len = *(__u64 *)(walk->bucket + 8 + i * 16 + 8);
		strings.value.ptr = *(__u64 *)(walk->bucket + 8 + 8 * 16 + i * 16);
		strings.value.len = *(__u64 *)(walk->bucket + 8 + 8 * 16 + i * 16 + 8);
		__oe_go_label_add(out, &strings);
	}
	return 0;
}

struct __oe_go_label_context {
	struct oe_go_labels *out;
	struct __oe_go_label_walk *walk;
};

/* One bucket per call; 1 ends the walk. */
static long __oe_go_labels_step(__u32 step, void *context)
{
	struct __oe_go_label_walk *walk = ((struct __oe_go_label_context *)context)->walk;
	struct oe_go_labels *out = ((struct __oe_go_label_context *)context)->out;
	__u64 addr;

	(void)step;
	if (!walk || !out)
		return 1;
	if (!walk->chained && walk->index > walk->mask) {
		if (!walk->old_base)
			return 1;
		walk->base = walk->old_base;
		walk->mask = walk->old_mask;
		walk->old_base = 0;
		walk->index = 0;
	}
	addr = walk->chained;
	if (!addr)
		addr = walk->base + walk->index++ * __OE_LABEL_BUCKET_BYTES;
	if (oe_read(walk->bucket, sizeof(walk->bucket), addr))
		return 1;
	__oe_go_labels_bucket(out, walk);
	walk->chained = *(__u64 *)(walk->bucket + __OE_LABEL_BUCKET_BYTES - 8);
	return 0;
}

/* Up to go1.23. */
OE_NOINLINE int __oe_go_labels_map(struct oe_go_labels *out, __u64 labels_addr)
{
	struct __oe_go_label_context context = {};
	struct __oe_go_label_map map;
	__u64 map_addr;
	__u32 zero = 0;

	context.out = out;
	context.walk = bpf_map_lookup_elem(&oe_go_label_map, &zero);
	if (!out || !context.walk)
		return 0;
	if (oe_read(&map_addr, sizeof(map_addr), labels_addr) || !map_addr || oe_read(&map, sizeof(map), map_addr))
		return 0;
	out->published = map.count < 0xffff ? map.count : 0xffff;
	if (!map.count)
		return 0;
	__builtin_memset(context.walk, 0, __builtin_offsetof(struct __oe_go_label_walk, bucket));
	context.walk->base = map.buckets;
	context.walk->mask = (1ULL << (map.log2_buckets & 31)) - 1;
	if (map.old_buckets) {
		context.walk->old_base = map.old_buckets;
		context.walk->old_mask = map.flags & 8 /* sameSizeGrow */ ? context.walk->mask : context.walk->mask >> 1;
	}
	bpf_loop(__OE_LABEL_BUCKETS, __oe_go_labels_step, &context, 0);
	return 0;
}

/*
 * The labels of the goroutine whose g is at `g_addr`, in the current process; returns how many were read. labels_offset:
 * of g.labels, OE_UNKNOWN: none. format: enum oe_go_labels_format. `out` is too large for the stack.
 */
OE_NOINLINE int oe_go_labels_read(__u64 g_addr, __u16 labels_offset, __u32 format, struct oe_go_labels *out)
{
	__u64 labels_addr;

	if (!out)
		return 0;
	out->count = 0;
	out->cut = 0;
	out->published = 0;
	if (!g_addr || labels_offset == OE_UNKNOWN)
		return 0;
	if (oe_read(&labels_addr, sizeof(labels_addr), g_addr + labels_offset) || !labels_addr)
		return 0;
	if (format == OE_GO_LABELS_SLICE)
		__oe_go_labels_slice(out, labels_addr);
	else
		__oe_go_labels_map(out, labels_addr);
	return out->count;
}

#endif
#endif
