/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The ring buffer that all records go through. Readers poll on a timer: no record ever wakes them. */
#ifndef OTEL_EBPF_EVENTS_BPF_H
#define OTEL_EBPF_EVENTS_BPF_H

#include <otel_ebpf/stats.bpf.h>

#if OE_BPF_SIDE

#ifndef OE_EVENTS_BYTES
#define OE_EVENTS_BYTES (4 * 1024 * 1024) /* a power of two; mapped twice by the reader */
#endif

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, OE_EVENTS_BYTES);
} oe_events __weak SEC(".maps");

/* Writes one record; its header names the kind and the size. 0 or -errno, counted. */
OE_INLINE long oe_event_write(void *record, __u32 size_bytes)
{
	/* A forced or default wake-up costs the target thread 1.6 to 7 us. */
	long err = bpf_ringbuf_output(&oe_events, record, size_bytes, BPF_RB_NO_WAKEUP);

	if (err)
		oe_count(OE_STAT_RINGBUF_FULL);
	return err;
}

#endif
#endif
