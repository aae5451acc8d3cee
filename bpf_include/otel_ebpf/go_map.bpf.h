/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * Looks up keys of a Go map[string][]string (http.Header) by walking it: the hash is seeded per map, so that a walk is
 * the only way in from outside. One read covers a map of up to 8 keys.
 */
#ifndef OTEL_EBPF_GO_MAP_BPF_H
#define OTEL_EBPF_GO_MAP_BPF_H

#include <otel_ebpf/go_types.bpf.h>

#if OE_BPF_SIDE

/*
 * go1.24+, internal/runtime/maps: Map{used, seed, dirPtr, dirLen, ...}; with dirLen == 0 dirPtr is one group, else an
 * array of dirLen *table{..., groups.data @16, groups.lengthMask @24}. A group is 8 control bytes (full when < 0x80) and
 * 8 slots of {key string, elem slice}.
 */
struct __oe_swiss_map {
	__u64 used;
	__u64 seed;
	__u64 dir_ptr;
	__u64 dir_len;
};
struct __oe_swiss_table {
	__u64 counts[2];
	__u64 groups;
	__u64 length_mask;
};
#define __OE_SLOT_BYTES 40
#define __OE_GROUP_BYTES (8 + 8 * __OE_SLOT_BYTES)

enum oe_go_map_layout {
	OE_GO_MAP_BUCKETS,      /* up to go1.23, and GOEXPERIMENT=noswissmap */
	OE_GO_MAP_GROUPS,       /* go1.24+ */
	OE_GO_MAP_SPLIT_GROUPS, /* GOEXPERIMENT=mapsplitgroup, go1.27: in a group 8 keys come first, then 8 elems */
};

/*
 * Up to go1.23, runtime: hmap{count, flags u8, B u8, noverflow u16, hash0 u32, buckets, oldbuckets, ...}; a bucket is 8
 * tophash bytes (filled when >= 5), 8 keys, 8 elems, a pointer to the next. While a map grows, entries are in either array.
 */
struct __oe_hmap {
	__u64 count;
	__u8 flags;
	__u8 log2_buckets;
	__u16 overflow_count;
	__u32 seed;
	__u64 buckets;
	__u64 old_buckets;
};
#define __OE_BUCKET_BYTES (8 + 8 * 16 + 8 * 24 + 8)
/* In buckets and split groups. */
#define __OE_KEY_AT(i) (8 + (i) * 16)
#define __OE_ELEM_AT(i) (8 + 8 * 16 + (i) * 24)
#define __OE_MIN_TOPHASH 5
#define __OE_SAME_SIZE_GROW 8

/* Groups or buckets walked at most: 8 times as many slots. */
#define OE_GO_MAP_MAX_STEPS 1024

/* A key of at most 15 bytes, zero-padded. */
struct oe_go_map_wanted {
	union {
		char key[16];
		__u64 key_words[2];
	};
	__u64 key_len;
	struct oe_go_slice value; /* when found */
	__u64 found;
};

#define OE_GO_MAP_WANTED 2

/*
 * Lives in a map value, not on the stack: the verifier then takes every member for unknown and need not follow each
 * combination of them.
 */
struct oe_go_map_walk {
	struct oe_go_map_wanted wanted[OE_GO_MAP_WANTED];
	__u64 incomplete; /* the map is larger than what is walked */
	/* position */
	__u64 layout;   /* enum oe_go_map_layout */
	__u64 base;     /* groups of the current table, or the current bucket array */
	__u64 mask;     /* groups or buckets of it, less one */
	__u64 dir_ptr;
	__u64 dir_len;
	__u64 table;    /* next table */
	__u64 index;    /* next group or bucket */
	__u64 chained;  /* overflow bucket to read next */
	__u64 old_base;
	__u64 old_mask;
	__u8 chunk[__OE_BUCKET_BYTES]; /* the group or bucket at hand */
};

OE_INLINE bool __oe_go_map_done(const struct oe_go_map_walk *walk)
{
	return walk->wanted[0].found & walk->wanted[1].found;
}

OE_NOINLINE int __oe_go_map_slot(struct oe_go_map_walk *walk, __u64 key_at, __u64 value_at)
{
	__u64 key_ptr, key_len, words[2] = {};
	__u32 w;

	if (!walk || key_at > __OE_BUCKET_BYTES - 16 || value_at > __OE_BUCKET_BYTES - 16)
		return 0;
	key_ptr = *(__u64 *)(walk->chunk + key_at);
	key_len = *(__u64 *)(walk->chunk + key_at + 8);
	if (key_len != walk->wanted[0].key_len && key_len != walk->wanted[1].key_len)
		return 0;
	if (oe_read(words, key_len & 15, key_ptr))
		return 0;
	for (w = 0; w < OE_GO_MAP_WANTED; w++) {
		struct oe_go_map_wanted *wanted = &walk->wanted[w];

		if (words[0] != wanted->key_words[0] || words[1] != wanted->key_words[1])
			continue;
		wanted->value.ptr = *(__u64 *)(walk->chunk + value_at);
		wanted->value.len = *(__u64 *)(walk->chunk + value_at + 8);
		wanted->found = 1;
	}
	return 0;
}

/* Reads `size` bytes of the group or bucket at `addr` to where they are in it. */
OE_INLINE long __oe_go_map_piece(struct oe_go_map_walk *walk, __u64 addr, __u32 at, __u32 size)
{
	return oe_read(walk->chunk + at, size, addr + at);
}

/*
 * A group or bucket whose slots were never filled may lie in part on a page that nobody has touched, and that is not
 * there: then only what was written is read. A slot that can't be read counts as free.
 */
OE_NOINLINE int __oe_go_map_group_in_pieces(struct oe_go_map_walk *walk, __u64 addr)
{
	__u32 i;

	if (!walk)
		return 0;
	/* The helper leaves zeros, which would be full slots. */
	if (__oe_go_map_piece(walk, addr, 0, 8))
		__builtin_memset(walk->chunk, 0xff, 8);
	for (i = 0; i < 8; i++)
		if (walk->chunk[i] < 0x80 &&
		    __oe_go_map_piece(walk, addr, 8 + i * __OE_SLOT_BYTES, __OE_SLOT_BYTES))
			walk->chunk[i] = 0xff;
	return 0;
}

OE_NOINLINE int __oe_go_map_bucket_in_pieces(struct oe_go_map_walk *walk, __u64 addr)
{
	__u32 i;

	if (!walk)
		return 0;
	/* Zeros, as the helper leaves them, are free slots. */
	__oe_go_map_piece(walk, addr, 0, 8);
	for (i = 0; i < 8; i++)
		if (walk->chunk[i] >= __OE_MIN_TOPHASH &&
		    (__oe_go_map_piece(walk, addr, __OE_KEY_AT(i), 16) ||
		     __oe_go_map_piece(walk, addr, __OE_ELEM_AT(i), 24)))
			walk->chunk[i] = 0;
	/* Not there means never written: nil, and the helper zeroes what it can't read. */
	bpf_probe_read_user(walk->chunk + __OE_BUCKET_BYTES - 8, 8, (const void *)(addr + __OE_BUCKET_BYTES - 8));
	return 0;
}

OE_NOINLINE int __oe_go_map_group(struct oe_go_map_walk *walk, __u64 addr)
{
	__u32 i;

	if (!walk)
		return 0;
	if (bpf_probe_read_user(walk->chunk, __OE_GROUP_BYTES, (const void *)addr))
		__oe_go_map_group_in_pieces(walk, addr);
	for (i = 0; i < 8; i++)
		if (walk->chunk[i] < 0x80)
			__oe_go_map_slot(walk, 8 + i * __OE_SLOT_BYTES, 8 + i * __OE_SLOT_BYTES + 16);
	return 0;
}

OE_NOINLINE int __oe_go_map_split_group_in_pieces(struct oe_go_map_walk *walk, __u64 addr)
{
	__u32 i;

	if (!walk)
		return 0;
	if (__oe_go_map_piece(walk, addr, 0, 8))
		__builtin_memset(walk->chunk, 0xff, 8);
	for (i = 0; i < 8; i++)
		if (walk->chunk[i] < 0x80 &&
		    (__oe_go_map_piece(walk, addr, __OE_KEY_AT(i), 16) ||
		     __oe_go_map_piece(walk, addr, __OE_ELEM_AT(i), 24)))
			walk->chunk[i] = 0xff;
	return 0;
}

OE_NOINLINE int __oe_go_map_split_group(struct oe_go_map_walk *walk, __u64 addr)
{
	__u32 i;

	if (!walk)
		return 0;
	if (bpf_probe_read_user(walk->chunk, __OE_GROUP_BYTES, (const void *)addr))
		__oe_go_map_split_group_in_pieces(walk, addr);
	for (i = 0; i < 8; i++)
		if (walk->chunk[i] < 0x80)
			__oe_go_map_slot(walk, __OE_KEY_AT(i), __OE_ELEM_AT(i));
	return 0;
}

OE_NOINLINE int __oe_go_map_bucket(struct oe_go_map_walk *walk, __u64 addr)
{
	__u32 i;

	if (!walk)
		return 0;
	if (bpf_probe_read_user(walk->chunk, __OE_BUCKET_BYTES, (const void *)addr))
		__oe_go_map_bucket_in_pieces(walk, addr);
	for (i = 0; i < 8; i++)
		if (walk->chunk[i] >= __OE_MIN_TOPHASH)
			__oe_go_map_slot(walk, __OE_KEY_AT(i), __OE_ELEM_AT(i));
	walk->chained = *(__u64 *)(walk->chunk + __OE_BUCKET_BYTES - 8);
	return 0;
}

/* The next table of the directory; false after the last. */
OE_NOINLINE bool __oe_go_map_next_table(struct oe_go_map_walk *walk)
{
	struct __oe_swiss_table table;

	if (!walk || walk->table >= walk->dir_len)
		return false;
	if (oe_read(&table, sizeof(table), oe_read_u64(walk->dir_ptr + walk->table * 8)))
		return false;
	walk->table++;
	walk->base = table.groups;
	walk->mask = table.length_mask;
	walk->index = 0;
	return true;
}

/* The array that the map grows out of; false when there is none. */
OE_INLINE bool __oe_go_map_next_array(struct oe_go_map_walk *walk)
{
	if (!walk->old_base)
		return false;
	walk->base = walk->old_base;
	walk->mask = walk->old_mask;
	walk->old_base = 0;
	walk->index = 0;
	return true;
}

/* One group or bucket per call; 1 ends the walk. */
static long __oe_go_map_step(__u32 step, void *context)
{
	struct oe_go_map_walk *walk = *(struct oe_go_map_walk **)context;
	__u64 chained, addr;

	(void)step;
	if (!walk)
		return 1;
	if (__oe_go_map_done(walk))
		goto complete;
	chained = walk->chained;
	if (!chained && walk->index > walk->mask)
		if (walk->layout != OE_GO_MAP_BUCKETS ? !__oe_go_map_next_table(walk) : !__oe_go_map_next_array(walk))
			goto complete;
	if (walk->layout != OE_GO_MAP_BUCKETS) {
		addr = walk->base + walk->index * __OE_GROUP_BYTES;
		if (walk->layout == OE_GO_MAP_SPLIT_GROUPS)
			__oe_go_map_split_group(walk, addr);
		else
			__oe_go_map_group(walk, addr);
		walk->index++;
		return 0;
	}
	addr = chained ? chained : walk->base + walk->index * __OE_BUCKET_BYTES;
	if (!chained)
		walk->index++;
	__oe_go_map_bucket(walk, addr);
	return 0;
complete:
	walk->incomplete = 0;
	return 1;
}

/* Asks for nothing yet. */
OE_INLINE void oe_go_map_begin(struct oe_go_map_walk *walk)
{
	__builtin_memset(walk, 0, __builtin_offsetof(struct oe_go_map_walk, chunk));
}

/*
 * Looks for the wanted keys of the map at `map_addr` (a nil map has none), after oe_go_map_begin; layout: enum
 * oe_go_map_layout. A wanted entry that is not used must be marked found.
 */
OE_NOINLINE int oe_go_map_find(struct oe_go_map_walk *walk, __u64 map_addr, __u32 layout)
{
	if (!walk || !map_addr)
		return 0;
	walk->layout = layout;
	if (layout != OE_GO_MAP_BUCKETS) {
		struct __oe_swiss_map map;

		if (oe_read(&map, sizeof(map), map_addr) || !map.used)
			return 0;
		if (map.dir_len) {
			walk->dir_ptr = map.dir_ptr;
			walk->dir_len = map.dir_len;
			walk->index = 1; /* past the end of no table: the first step takes the first one */
		} else {
			walk->base = map.dir_ptr;
		}
	} else {
		struct __oe_hmap map;

		if (oe_read(&map, sizeof(map), map_addr) || !map.count)
			return 0;
		walk->base = map.buckets;
		walk->mask = (1ULL << (map.log2_buckets & 31)) - 1;
		if (map.old_buckets) {
			walk->old_base = map.old_buckets;
			walk->old_mask = map.flags & __OE_SAME_SIZE_GROW ? walk->mask : walk->mask >> 1;
		}
	}
	walk->incomplete = 1; /* until a step says otherwise */
	bpf_loop(OE_GO_MAP_MAX_STEPS, __oe_go_map_step, &walk, 0);
	return 0;
}

#endif
#endif
