/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Go strings into records: bounded, and marked where they were cut. */
#ifndef OTEL_EBPF_TEXT_BPF_H
#define OTEL_EBPF_TEXT_BPF_H

#include <otel_ebpf/span.bpf.h>

#if OE_BPF_SIDE

/*
 * Copies at most `max` bytes to `out`, a member of the record of that size, and returns how many; when there were more,
 * bit `bit` of the header's `truncated` tells.
 */
OE_INLINE __u32 oe_text_copy(struct oe_event_header *header, char *out, __u32 max, struct oe_go_string text, __u32 bit)
{
	__u64 len = text.len;

	if (!len || !text.ptr)
		return 0;
	if (len > max) {
		len = max;
		header->truncated |= 1 << bit;
	}
	OE_OPAQUE(len); /* "R2 unbounded memory access": the bound has to be seen next to the read */
	if (len > max || oe_read(out, len, text.ptr))
		return 0;
	return len;
}

/* The same behind what the record holds so far, for records of variable length. */
OE_NOINLINE __u32 oe_text_append(struct oe_live_span *span, const struct oe_go_string *text, __u32 max, __u32 bit)
{
	struct oe_event_header *header;
	__u64 at;
	__u32 len;

	if (!span || !text)
		return 0;
	header = &oe_span_event(span)->header;
	at = header->size_bytes;
	OE_OPAQUE(at);
	if (at > OE_RECORD_BYTES - max) {
		if (text->len)
			header->truncated |= 1 << bit;
		return 0;
	}
	len = oe_text_copy(header, (char *)span->record + at, max, *text, bit);
	header->size_bytes = at + len;
	return len;
}

/* A string member at `base` + the fact in `slot`; false, counted, when the fact is missing. */
OE_INLINE bool oe_read_fact_string(const struct oe_hit *hit, __u16 slot, __u64 base, struct oe_go_string *text)
{
	__u16 offset = oe_fact(hit->exe, slot);

	if (offset == OE_UNKNOWN) {
		oe_count(OE_STAT_FACT_MISSING);
		return false;
	}
	return oe_read(text, sizeof(*text), base + offset) == 0;
}

#endif
#endif
