/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* A Probe of one program that does nothing but start spans; its .bpf.c may change the shape of the maps first. */
#ifndef OTEL_EBPF_TESTS_TINY_H
#define OTEL_EBPF_TESTS_TINY_H

#include <otel_ebpf/process.programs.h>
#include <otel_ebpf/span.bpf.h>

const volatile __u16 tiny_kind = 0;

OE_UPROBE(tiny_hit)
{
	struct oe_hit hit;

	if (!oe_hit_begin(&hit, ctx, tiny_kind))
		return 0;
	oe_span_start(&hit, sizeof(struct oe_span_event));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#endif
