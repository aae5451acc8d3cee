/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * Eager publication with one hook where a goroutine changes its state, in place of the two where a thread changes its
 * goroutine. As right as the hooks of the library, and measured against them.
 */
#include <otel_ebpf/vmlinux_min.h>

#include <otel_ebpf/probes/goroutines.bpf.h>
#include <otel_ebpf/probes/net_http.programs.h>
#include <otel_ebpf/publish.programs.h>

#define GRUNNING 2 /* src/runtime/runtime2.go: _Grunning */

/* func casgstatus(gp *g, oldval, newval uint32). Its name tells the Manager that the scheduler is hooked. */
OE_UPROBE(oe_go_execute)
{
	__u64 g_addr = OE_GO_ARG0(ctx);
	__u16 m_offset, curg_offset;
	struct oe_hit hit;

	if ((__u32)OE_GO_ARG2(ctx) == GRUNNING)
		return oe_goroutines_execute(ctx);
	if (!oe_hit_begin_thread(&hit, ctx, oe_e_goroutines) || hit.publication != OE_PUBLISH_EAGER)
		return 0;
	/* A goroutine that another one wakes is not this thread's. */
	m_offset = oe_fact(hit.exe, oe_f_g_m);
	curg_offset = oe_fact(hit.exe, oe_f_m_curg);
	if (m_offset == OE_UNKNOWN || curg_offset == OE_UNKNOWN ||
	    oe_read_u64(oe_read_u64(hit.g_addr + m_offset) + curg_offset) != g_addr)
		return 0;
	return oe_eager_retract();
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
