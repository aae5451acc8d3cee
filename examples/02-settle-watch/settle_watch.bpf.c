/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The ledger pack, and a program of our own that counts why the traced processes leave the CPU. */
#include <otel_ebpf/vmlinux_min.h>
#include <ledger.programs.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2); /* 0: to wait, 1: preempted */
	__type(key, __u32);
	__type(value, __u64);
} switches SEC(".maps");

/* args: bool preempt, task_struct *prev (the current one), task_struct *next, unsigned int prev_state (5.18+) */
SEC("raw_tp/sched_switch") int count_switch(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 preempted = (bool)ctx->args[0] || (__u32)ctx->args[3] == 0 /* TASK_RUNNING */;
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 *count = bpf_map_lookup_elem(&switches, &preempted);

	if (count && bpf_map_lookup_elem(&oe_processes, &tgid))
		++*count;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
