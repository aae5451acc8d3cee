/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Compares the goroutine ids that BPF reads with those that the program tells of itself (tests/targets/server). */
#include <otel_ebpf/vmlinux_min.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <otel_ebpf/context.bpf.h>
#include <otel_ebpf/uprobe.bpf.h>
#include "goid_reader.h"

#define TELL_MAGIC 0x6f74656c
enum { TELL_NOW, TELL_THREAD, TELL_THREAD_IN_C, TELL_END };
#define NR_GETPPID 110 /* x86_64 */

struct oe_process target;
struct oe_exe facts;
__u32 target_tgid;
struct goid_counts counts[GOID_CONTEXTS];

struct claim {
	__u64 goid;
	__u64 context;
};

/* Threads that said that they run one goroutine only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct claim);
} claims SEC(".maps");

static __always_inline bool is_target(void)
{
	return bpf_get_current_pid_tgid() >> 32 == target_tgid;
}

static __always_inline void count(__u32 context, __u64 told, __u64 read)
{
	struct goid_counts *into;

	if (context >= GOID_CONTEXTS)
		return;
	into = &counts[context];
	if (told == read) {
		__sync_fetch_and_add(&into->right, 1);
	} else if (!read) {
		__sync_fetch_and_add(&into->none, 1);
	} else {
		__sync_fetch_and_add(&into->wrong, 1);
		into->told = told;
		into->read = read;
	}
}

static __always_inline __u64 current_goid(void)
{
	struct oe_go_now now;

	return oe_go_current(&target, &facts, &now) == 1 ? now.goid : 0;
}

/* main.tellGoroutine(id) */
OE_UPROBE(on_tell)
{
	if (!is_target())
		return 0;
	count(GOID_REGISTER, OE_GO_ARG0(ctx), oe_read_u64(OE_GO_G(ctx) + oe_fact(&facts, oe_f_g_goid)));
	count(GOID_UPROBE, OE_GO_ARG0(ctx), current_goid());
	return 0;
}

SEC("raw_tracepoint/sys_enter") int on_system_call(struct bpf_raw_tracepoint_args *ctx)
{
	const struct pt_regs *regs = (const struct pt_regs *)ctx->args[0];
	__u32 tid = bpf_get_current_pid_tgid();
	struct claim claim;
	__u64 what;

	if (ctx->args[1] != NR_GETPPID || !is_target() || PT_REGS_PARM1_CORE(regs) != TELL_MAGIC)
		return 0;
	what = PT_REGS_PARM2_CORE(regs);
	claim.goid = PT_REGS_PARM3_CORE(regs);
	claim.context = what == TELL_THREAD_IN_C ? GOID_SAMPLE_C : GOID_SAMPLE;
	if (what == TELL_NOW)
		count(GOID_TRACEPOINT, claim.goid, current_goid());
	else if (what == TELL_END)
		bpf_map_delete_elem(&claims, &tid);
	else
		bpf_map_update_elem(&claims, &tid, &claim, BPF_ANY);
	return 0;
}

SEC("perf_event") int on_tick(void *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	const struct claim *claim;

	if (!is_target())
		return 0;
	claim = bpf_map_lookup_elem(&claims, &tid);
	if (claim)
		count(claim->context, claim->goid, current_goid());
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
