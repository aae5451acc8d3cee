/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The thread pointer of the current thread, and what Go keeps there.
 *
 * BPF: include vmlinux.h, vmlinux_min.h or linux/types.h first.
 */
#ifndef OTEL_EBPF_THREAD_POINTER_BPF_H
#define OTEL_EBPF_THREAD_POINTER_BPF_H

#include <otel_ebpf/core.bpf.h>

#if OE_BPF_SIDE

OE_INLINE __u64 __oe_thread_pointer(void)
{
	const struct task_struct *task = bpf_get_current_task_btf();

#if defined(__TARGET_ARCH_x86) || (!defined(__bpf__) && defined(__x86_64__))
	return task->thread.fsbase;
#else
	return task->thread.uw.tp_value;
#endif
}

/*
 * The address of the g that this thread runs, 0 when it can't be known here; -EFAULT. An offset of 0 is none: the
 * thread's own descriptor is there.
 */
OE_INLINE long __oe_go_g(__s32 tls_g_offset, __u64 *g_addr)
{
	*g_addr = 0;
	if (tls_g_offset)
		return bpf_probe_read_user(g_addr, sizeof(*g_addr),
					   (const void *)(__oe_thread_pointer() + tls_g_offset));
#if defined(__TARGET_ARCH_arm64) || (!defined(__bpf__) && defined(__aarch64__))
	/* Only programs with cgo keep g in TLS (go1.27 src/runtime/tls_arm64.s); without, x28 is g in all code. */
	{
		const struct pt_regs *regs = (const struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());

		return bpf_probe_read_kernel(g_addr, sizeof(*g_addr), &((const struct user_pt_regs *)regs)->regs[28]);
	}
#endif
	return 0;
}

#endif
#endif
