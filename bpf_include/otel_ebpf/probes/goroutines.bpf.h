/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * Hooks in Go's scheduler, all optional: eager publication (which goroutine a thread runs) and creation of goroutines.
 *
 * A thread runs goroutines one after another: runtime.schedule looks for the next, runtime.execute runs it. Whatever ends
 * or parks a goroutine goes through schedule, so an entry is deleted there, and none is there while the scheduler runs.
 */
#ifndef OTEL_EBPF_PROBES_GOROUTINES_BPF_H
#define OTEL_EBPF_PROBES_GOROUTINES_BPF_H

#include <otel_ebpf/types.h>

#if OE_BPF_SIDE
#include <otel_ebpf/context.bpf.h>

const volatile __u16 oe_e_goroutines __weak = 0; /* number of the Probe; it writes no records */

const volatile __u16 oe_f_g_startpc __weak = OE_NO_SLOT;
const volatile __u16 oe_f_g_sched_pc __weak = OE_NO_SLOT;

/* func execute(gp *g, inheritTime bool), on the thread that will run gp */
OE_INLINE int oe_goroutines_execute(struct pt_regs *ctx)
{
	__u64 g_addr = OE_GO_ARG0(ctx);
	struct oe_go_key who = {};
	struct oe_hit hit;
	__u16 goid_offset;

	if (!oe_hit_begin_thread(&hit, ctx, oe_e_goroutines) || hit.publication != OE_PUBLISH_EAGER)
		return 0;
	goid_offset = oe_fact(hit.exe, oe_f_g_goid);
	if (goid_offset == OE_UNKNOWN || oe_read(&who.goid, sizeof(who.goid), g_addr + goid_offset))
		return oe_eager_retract();
	who.tgid = hit.tgid;
	who.generation = hit.generation;
	return oe_go_publish(&who, oe_go_parent(hit.exe, g_addr));
}

/* func schedule(); also where a coroutine hands its thread to another (go1.23 coroswitch_m) */
OE_INLINE int oe_goroutines_leave(struct pt_regs *ctx)
{
	struct oe_hit hit;

	if (!oe_hit_begin_thread(&hit, ctx, oe_e_goroutines) || hit.publication != OE_PUBLISH_EAGER)
		return 0;
	return oe_eager_retract();
}

/* The goroutine that this thread runs or, on a stack of the runtime, works for; 0 when there is none. */
OE_INLINE __u64 __oe_goroutines_current(const struct oe_hit *hit)
{
	__u16 m_offset = oe_fact(hit->exe, oe_f_g_m), curg_offset = oe_fact(hit->exe, oe_f_m_curg);
	__u16 goid_offset = oe_fact(hit->exe, oe_f_g_goid);
	__u64 g_addr;

	if (m_offset == OE_UNKNOWN || curg_offset == OE_UNKNOWN || goid_offset == OE_UNKNOWN)
		return 0;
	g_addr = oe_read_u64(oe_read_u64(hit->g_addr + m_offset) + curg_offset);
	return g_addr ? oe_read_u64(g_addr + goid_offset) : 0;
}

/*
 * func runqput(pp *p, gp *g, next bool): gp may run. A goroutine that was just created has yet to reach its first
 * instruction; the one that creates it is the thread's current one.
 */
OE_INLINE int oe_goroutines_runqput(struct pt_regs *ctx)
{
	__u64 g_addr = OE_GO_ARG1(ctx);
	__u16 goid_offset, startpc_offset, sched_pc_offset;
	struct oe_go_key creator = {}, created = {};
	struct oe_go_origin origin = {};
	const struct oe_live_span *span;
	struct oe_hit hit;

	if (!oe_hit_begin_thread(&hit, ctx, oe_e_goroutines))
		return 0;
	goid_offset = oe_fact(hit.exe, oe_f_g_goid);
	startpc_offset = oe_fact(hit.exe, oe_f_g_startpc);
	sched_pc_offset = oe_fact(hit.exe, oe_f_g_sched_pc);
	if (goid_offset == OE_UNKNOWN || startpc_offset == OE_UNKNOWN || sched_pc_offset == OE_UNKNOWN)
		return 0;
	if (oe_read_u64(g_addr + startpc_offset) != oe_read_u64(g_addr + sched_pc_offset))
		return 0;
	creator.goid = __oe_goroutines_current(&hit);
	created.goid = oe_read_u64(g_addr + goid_offset);
	if (!creator.goid || !created.goid)
		return 0;
	creator.tgid = created.tgid = hit.tgid;
	creator.generation = created.generation = hit.generation;
	span = __oe_go_top(&creator);
	if (!span)
		span = __oe_go_inherited(&creator, 0);
	if (span)
		__oe_go_origin_of(&origin, span);
	bpf_map_update_elem(&oe_go_origins, &created, &origin, BPF_ANY);
	return 0;
}

#endif
#endif
