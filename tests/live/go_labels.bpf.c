/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* A sampler that notes the pprof labels of the goroutine that it interrupts. */
#include <otel_ebpf/vmlinux_min.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <otel_ebpf/go_labels.bpf.h>
#include "go_labels_sample.h"

struct go_labels_target target;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 * 1024 * 1024);
} samples SEC(".maps");

SEC("perf_event")
int take_sample(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct go_labels_sample *sample;
	__u64 g;

	if (bpf_get_current_pid_tgid() >> 32 != target.tgid)
		return 0;
	g = oe_read_u64(oe_read_u64(oe_read_u64(task->thread.fsbase + target.tls_g_offset) + target.m_offset) +
			target.curg_offset);
	sample = g ? bpf_ringbuf_reserve(&samples, sizeof(*sample), 0) : 0;
	if (!sample)
		return 0;
	sample->ip = PT_REGS_IP_CORE(regs);
	oe_go_labels_read(g, target.labels_offset, target.format, &sample->labels);
	bpf_ringbuf_submit(sample, BPF_RB_NO_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
