/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Keeps oe_processes true: rows of processes that exit or execute another program go at once, and the reader is told. */
#ifndef OTEL_EBPF_PROCESS_PROGRAMS_H
#define OTEL_EBPF_PROCESS_PROGRAMS_H

#include <bpf/bpf_core_read.h>
#include <otel_ebpf/events.bpf.h>
#include <otel_ebpf/executable.bpf.h>

OE_INLINE void __oe_process_event(__u32 tgid, __u32 generation, __u16 kind)
{
	struct oe_event_header event = {};

	event.kind = kind;
	event.size_bytes = sizeof(event);
	event.tgid = tgid;
	event.generation = generation;
	oe_event_write(&event, sizeof(event));
}

/* args: task_struct *, bool group_dead (6.16+) */
SEC("raw_tp/sched_process_exit") int oe_process_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	const struct oe_process *process = bpf_map_lookup_elem(&oe_processes, &tgid);
	__u32 generation;

	if (!process || BPF_CORE_READ(task, signal, live.counter) > 0)
		return 0;
	generation = process->generation;
	bpf_map_delete_elem(&oe_processes, &tgid);
	__oe_process_event(tgid, generation, OE_KIND_PROCESS_EXIT);
	return 0;
}

/* args: task_struct *, pid_t old_pid, struct linux_binprm * */
SEC("raw_tp/sched_process_exec") int oe_process_exec(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	const struct oe_process *process = bpf_map_lookup_elem(&oe_processes, &tgid);

	if (process) {
		__u32 generation = process->generation;

		bpf_map_delete_elem(&oe_processes, &tgid);
		__oe_process_event(tgid, generation, OE_KIND_PROCESS_EXIT);
	}
	__oe_process_event(tgid, 0, OE_KIND_PROCESS_EXEC);
	return 0;
}

#endif
