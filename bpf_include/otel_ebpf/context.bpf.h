/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * The context that the current thread works in, found from any program that runs on it: a timer's, a tracepoint's, a
 * perf event's.
 */
#ifndef OTEL_EBPF_CONTEXT_BPF_H
#define OTEL_EBPF_CONTEXT_BPF_H

#include <otel_ebpf/flow.bpf.h>
#include <otel_ebpf/goroutine.bpf.h>
#include <otel_ebpf/thread_pointer.bpf.h>

#if OE_BPF_SIDE

const volatile __u16 oe_f_g_m __weak = OE_NO_SLOT;
const volatile __u16 oe_f_m_curg __weak = OE_NO_SLOT;

/* A goroutine that runs, also while its thread is in the kernel, in C, or on a stack of the runtime. */
struct oe_go_now {
	__u64 g_addr;
	__u64 goid;
	__u64 parent_goid; /* 0: the release doesn't tell */
};

/* 8 bytes of the current process; -EFAULT when they are not there or not in memory. */
OE_INLINE long __oe_peek(__u64 *word, __u64 addr)
{
	return bpf_probe_read_user(word, sizeof(*word), (const void *)addr);
}

/* The goroutine of the current thread: 1 and *now, 0 when it runs none (the scheduler, a thread of C); -EFAULT. */
OE_NOINLINE long oe_go_current(const struct oe_process *process, const struct oe_exe *exe, struct oe_go_now *now)
{
	__u16 m_offset, curg_offset, goid_offset, parent_offset;
	__u64 g, m;

	if (!process || !exe || !now)
		return 0;
	now->g_addr = now->goid = now->parent_goid = 0;
	m_offset = oe_fact(exe, oe_f_g_m);
	curg_offset = oe_fact(exe, oe_f_m_curg);
	goid_offset = oe_fact(exe, oe_f_g_goid);
	parent_offset = oe_fact(exe, oe_f_g_parent_goid);
	if (m_offset == OE_UNKNOWN || curg_offset == OE_UNKNOWN || goid_offset == OE_UNKNOWN)
		return 0;
	if (__oe_go_g(process->tls_g_offset, &g))
		return -EFAULT;
	if (!g)
		return 0;
	if (__oe_peek(&m, g + m_offset) || __oe_peek(&now->g_addr, m + curg_offset))
		return -EFAULT;
	if (!now->g_addr)
		return 0;
	if (__oe_peek(&now->goid, now->g_addr + goid_offset))
		return -EFAULT;
	if (parent_offset != OE_UNKNOWN && __oe_peek(&now->parent_goid, now->g_addr + parent_offset))
		return -EFAULT;
	return now->goid != 0;
}

/* The context of the current thread, which belongs to that process: 1 and *out; 0 when there is none; -EFAULT. */
OE_NOINLINE long oe_context_current(__u32 tgid, const struct oe_process *process, struct oe_traces_ctx_v1 *out)
{
	const struct oe_exe *exe;
	struct oe_go_key who = {};
	struct oe_go_now now;
	__u32 exe_row;
	long found;

	if (!process || !out)
		return 0;
	exe_row = process->exe_row;
	exe = bpf_map_lookup_elem(&oe_exes, &exe_row);
	found = oe_go_current(process, exe, &now);
	if (found < 0)
		return found;
	if (!found) /* a thread of C, of whichever program */
		return oe_thread_current_of(tgid, process->generation, out);
	who.goid = now.goid;
	who.tgid = tgid;
	who.generation = process->generation;
	return oe_go_context(&who, now.parent_goid, out);
}

#endif
#endif
