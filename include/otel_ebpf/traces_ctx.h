/* SPDX-License-Identifier: Apache-2.0 */
/* Copyright The otel_ebpf Authors */
/*
 * The shared trace-context map (OTEP 4855) for programs in C: ROOT/otel/traces_ctx_v1 of a bpffs.
 *
 * C99 and C++; needs libbpf >= 1.1. Its BPF counterpart is traces_ctx.bpf.h.
 */
#ifndef OTEL_EBPF_TRACES_CTX_H
#define OTEL_EBPF_TRACES_CTX_H

#include <otel_ebpf/pinned_map.h>
#include <otel_ebpf/types.h>

OE_USER_INLINE struct oe_pinned_map_spec oe_traces_ctx_spec(void)
{
	struct oe_pinned_map_spec spec;

	memset(&spec, 0, sizeof(spec));
	spec.folder = "otel";
	spec.pin = OE_TRACES_CTX_NAME;
	spec.name = OE_TRACES_CTX_NAME;
	spec.if_private = "no other tool sees the trace contexts in it, nor does it see theirs";
	spec.type = BPF_MAP_TYPE_LRU_HASH;
	spec.key_size = sizeof(__u64);
	spec.value_size = sizeof(struct oe_traces_ctx_v1);
	spec.max_entries = OE_TRACES_CTX_ENTRIES;
	return spec;
}

/* The key of a thread, both ids as the initial PID namespace counts them. */
OE_USER_INLINE __u64 oe_traces_ctx_key(__u32 tgid, __u32 tid)
{
	return (__u64)tgid << 32 | tid;
}

/*
 * Opens the shared map, or creates it; see oe_pinned_map_open(). `root` NULL: OTEL_EBPF_BPF_FS_PATH, else /sys/fs/bpf.
 * Hand the descriptor to libbpf with bpf_map__reuse_fd() before load: LIBBPF_PIN_BY_NAME loses the race with another
 * tool that starts now, or leaves you with a map of your own. `text` takes OE_PIN_TEXT_SIZE bytes.
 */
OE_USER_INLINE int oe_traces_ctx_open(const char *root, enum oe_sharing *sharing, char *text, size_t size)
{
	const struct oe_pinned_map_spec spec = oe_traces_ctx_spec();

	return oe_pinned_map_open(&spec, root, sharing, text, size);
}

#endif
