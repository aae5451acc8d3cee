/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* For Probes of threads and tasks: a thread that ends leaves neither an open span nor a published context behind. */
#ifndef OTEL_EBPF_THREAD_PROGRAMS_H
#define OTEL_EBPF_THREAD_PROGRAMS_H

#include <otel_ebpf/process.programs.h>
#include <otel_ebpf/thread_span.bpf.h>

/* Of every thread that ends; its task storage goes afterwards, by itself. */
SEC("raw_tp/sched_process_exit") int oe_thread_exit(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct oe_hit hit = {.tgid = pid_tgid >> 32};
	const struct oe_thread *thread = __oe_thread_find();
	const struct oe_process *process;
	struct oe_task *task;
	__u64 task_id;

	(void)ctx;
	if (!thread)
		return 0;
	oe_eager_retract();
	process = bpf_map_lookup_elem(&oe_processes, &hit.tgid);
	if (!process) /* the process is over: its slots are reclaimed when they are wanted */
		return 0;
	hit.generation = process->generation;
	task_id = __oe_thread_task(thread, hit.generation);
	task = task_id ? __oe_task_find(task_id, hit.tgid, hit.generation) : 0;
	if (task)
		__sync_val_compare_and_swap(&task->tid, (__u32)pid_tgid, 0);
	if (thread->own.generation != hit.generation)
		return 0;
	hit.goid = thread->own.id;
	return __oe_span_abandon(&hit, 0, 0);
}

#endif
