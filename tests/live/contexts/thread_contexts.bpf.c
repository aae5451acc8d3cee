/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The Probes of both C++ servers, and a sampler that notes the context of the threads that it interrupts. */
#include <otel_ebpf/vmlinux_min.h>

#include <coro.programs.h>
#include <otel_ebpf/publish.programs.h>
#include <pool.programs.h>
#include <thread_contexts.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 * 1024 * 1024);
} samples SEC(".maps");

__u64 samples_lost = 0;

SEC("perf_event") int sample_context(void *ctx)
{
	struct context_sample sample = {.time_ns = bpf_ktime_get_ns()};
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	const struct oe_traces_ctx_v1 *entry;

	(void)ctx;
	sample.tgid = pid_tgid >> 32;
	sample.tid = (__u32)pid_tgid;
	if (!bpf_map_lookup_elem(&oe_processes, &sample.tgid))
		return 0;
	entry = bpf_map_lookup_elem(&traces_ctx_v1, &pid_tgid);
	if (entry) {
		sample.has_entry = 1;
		sample.entry = *entry;
	}
	sample.has_current = oe_thread_current(&sample.current);
	if (bpf_ringbuf_output(&samples, &sample, sizeof(sample), BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&samples_lost, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
