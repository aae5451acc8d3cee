/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* What every uprobe handler starts with: the guard against preemption, the filters, who is running. */
#ifndef OTEL_EBPF_UPROBE_BPF_H
#define OTEL_EBPF_UPROBE_BPF_H

#include <otel_ebpf/executable.bpf.h>
#include <otel_ebpf/go_abi.bpf.h>
#include <otel_ebpf/go_types.bpf.h>

#if OE_BPF_SIDE

/*
 * Uprobe programs are preemptible since 6.0 and run on a private stack per CPU since 6.13: two of them interleaving
 * on one CPU overwrite each other's frames. The kernel's guard exists since 6.10. The Manager sets the switch where the
 * kernel has it; elsewhere the verifier removes the calls.
 */
extern void bpf_preempt_disable(void) __weak __ksym;
extern void bpf_preempt_enable(void) __weak __ksym;
const volatile __u8 oe_preempt_guard __weak = 0;

/*
 * OE_UPROBE(name) { body } defines the program `name` with `struct pt_regs *ctx`. The entry itself needs hardly any
 * stack and takes the guard before the body's frame exists.
 */
#define OE_UPROBE(name)                                                                                        \
	OE_NOINLINE int name##_guarded(struct pt_regs *ctx);                                             \
	SEC("uprobe") int name(struct pt_regs *ctx)                                                            \
	{                                                                                                      \
		if (oe_preempt_guard) {                                                                        \
			bpf_preempt_disable();                                                                 \
			name##_guarded(ctx);                                                                   \
			bpf_preempt_enable();                                                                  \
			return 0;                                                                              \
		}                                                                                              \
		return name##_guarded(ctx);                                                                    \
	}                                                                                                      \
	OE_NOINLINE int name##_guarded(struct pt_regs *ctx)

/* Facts about goroutines; the Manager resolves them for every bundle that has the slots. */
const volatile __u16 oe_f_g_goid __weak = OE_NO_SLOT;
const volatile __u16 oe_f_g_panic __weak = OE_NO_SLOT;

/* One hit that passed the filters. */
struct oe_hit {
	struct pt_regs *ctx;
	const struct oe_exe *exe;
	__u64 g_addr; /* 0: not of a goroutine */
	__u64 goid;   /* of the goroutine, or oe_flow.id of a thread or a task */
	__u32 tgid;
	__u32 generation;
	__u16 kind;
	__u8 site_kind;   /* enum oe_site_kind */
	__u8 publication; /* enum oe_publication */
};

/*
 * Fills *hit, but for goid, and returns true when this hit counts for the Probe whose event kind is given. False: not a
 * real call (the stack is about to grow), or not a target.
 */
OE_INLINE bool oe_hit_begin_thread(struct oe_hit *hit, struct pt_regs *ctx, __u16 kind)
{
	__u64 cookie = bpf_get_attach_cookie(ctx);
	__u32 exe_row = cookie >> 32;
	__u32 descriptor = (__u32)cookie;
	const struct oe_process *process;
	const struct oe_exe *exe;
	__u32 tgid;

	if (OE_DESCRIPTOR_FILTER(descriptor) == OE_FILTER_STACK_CHECK && OE_GO_STACK_CHECK_TAKEN(ctx)) {
		oe_count(OE_STAT_STACK_CHECK);
		return false;
	}
	exe = bpf_map_lookup_elem(&oe_exes, &exe_row);
	if (!exe || exe->round != OE_DESCRIPTOR_ROUND(descriptor))
		return false;
	tgid = bpf_get_current_pid_tgid() >> 32;
	process = bpf_map_lookup_elem(&oe_processes, &tgid);
	if (!process && exe->any_process)
		process = oe_process_join(tgid, exe_row, exe);
	if (!process || process->exe_row != exe_row || !(process->probes >> ((kind - OE_KIND_FIRST_PROBE) & 63) & 1)) {
		oe_count(OE_STAT_OTHER_PROCESS);
		return false;
	}
	hit->ctx = ctx;
	hit->exe = exe;
	hit->goid = 0;
	hit->tgid = tgid;
	hit->generation = process->generation;
	hit->kind = kind;
	hit->site_kind = OE_DESCRIPTOR_KIND(descriptor);
	hit->publication = process->publication;
	hit->g_addr = OE_GO_G(ctx);
	return true;
}

/* The same for what runs on a goroutine; false, too, on the stacks of the runtime. */
OE_INLINE bool oe_hit_begin(struct oe_hit *hit, struct pt_regs *ctx, __u16 kind)
{
	__u16 goid_offset;

	if (!oe_hit_begin_thread(hit, ctx, kind))
		return false;
	goid_offset = oe_fact(hit->exe, oe_f_g_goid);
	if (goid_offset == OE_UNKNOWN) {
		oe_count(OE_STAT_FACT_MISSING);
		return false;
	}
	if (oe_read(&hit->goid, sizeof(hit->goid), hit->g_addr + goid_offset) || !hit->goid)
		return false;
	return true;
}

/*
 * Where on its goroutine's stack the hit is: the distance from the stack's top, which stays when the stack moves.
 * runtime.g begins with stack{lo, hi}, unchanged since go1.17.
 */
OE_INLINE __u64 oe_go_frame(const struct oe_hit *hit)
{
	return oe_read_u64(hit->g_addr + 8) - OE_GO_SP(hit->ctx);
}

/* Whether deferred functions run because of a panic or runtime.Goexit, not because the function returned. */
OE_INLINE bool oe_go_panicking(const struct oe_hit *hit)
{
	__u16 offset = oe_fact(hit->exe, oe_f_g_panic);

	return offset != OE_UNKNOWN && oe_read_u64(hit->g_addr + offset) != 0;
}

#endif
#endif
