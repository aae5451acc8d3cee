/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Go strings and words in target memory. */
#ifndef OTEL_EBPF_GO_TYPES_BPF_H
#define OTEL_EBPF_GO_TYPES_BPF_H

#include <otel_ebpf/stats.bpf.h>

struct oe_go_string {
	__u64 ptr;
	__u64 len;
};

struct oe_go_slice {
	__u64 ptr;
	__u64 len;
	__u64 cap;
};

#if OE_BPF_SIDE

/* bpf_probe_read_user that counts what it could not read; out is zeroed then. */
OE_INLINE long oe_read(void *out, __u32 size, __u64 addr)
{
	long err = bpf_probe_read_user(out, size, (const void *)addr);

	if (err)
		oe_count(OE_STAT_READ_FAULT);
	return err;
}

OE_INLINE __u64 oe_read_u64(__u64 addr)
{
	__u64 word;

	oe_read(&word, sizeof(word), addr);
	return word;
}

#endif
#endif
