/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* A sampler that notes what thread_context.bpf.h reads in its interrupt, and which code was interrupted. */
#include <otel_ebpf/vmlinux_min.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <otel_ebpf/thread_context.bpf.h>
#include "thread_context_sample.h"

__u32 sampled_tgid;
__u64 lost;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 * 1024 * 1024);
} samples SEC(".maps");

SEC("perf_event")
int take_sample(void *ctx)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct thread_context_sample *sample;

	if (tgid != sampled_tgid)
		return 0;
	sample = bpf_ringbuf_reserve(&samples, sizeof(*sample), 0);
	if (!sample) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	sample->tid = bpf_get_current_pid_tgid();
	sample->ip = PT_REGS_IP_CORE(regs);
	sample->state = oe_thread_context_read(tgid, &sample->ctx);
	oe_thread_context_attrs(tgid, &sample->attrs);
	bpf_ringbuf_submit(sample, BPF_RB_NO_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
