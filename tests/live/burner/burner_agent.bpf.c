/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The programs of the agent that the correlation tests use: HTTP servers, and main.work of tests/targets/burner. */
#include <otel_ebpf/vmlinux_min.h>

#include <otel_ebpf/probes/goroutines.programs.h>
#include <otel_ebpf/probes/net_http.programs.h>

const volatile __u16 burner_kind __weak = 0;

/* func work(n int) */
OE_UPROBE(burner_start)
{
	struct oe_hit hit;

	if (oe_hit_begin(&hit, ctx, burner_kind))
		oe_span_start(&hit, sizeof(struct oe_span_event));
	return 0;
}

/* func workDone(x uint64) */
OE_UPROBE(burner_end)
{
	struct oe_live_span *span;
	struct oe_hit hit;

	if (!oe_hit_begin(&hit, ctx, burner_kind))
		return 0;
	span = oe_span_end(&hit);
	return span ? oe_span_emit(&hit, span) : 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
