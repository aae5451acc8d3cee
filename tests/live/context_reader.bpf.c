/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* What a profiler does at each tick of its clock: the thread's context by its pid_tgid, and the user stack. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "context_reader.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__uint(key_size, 8);
	__uint(value_size, 24);
} traces_ctx_v1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} samples SEC(".maps");

const volatile __u32 tgids[READER_PROCESSES] = {};
__u64 lost = 0;

SEC("perf_event") int on_tick(void *ctx)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct reader_sample *sample;
	const void *context;
	__u32 tgid = pid_tgid >> 32, i;

	for (i = 0; i < READER_PROCESSES; i++)
		if (tgids[i] == tgid)
			break;
	if (i == READER_PROCESSES || !tgid)
		return 0;
	context = bpf_map_lookup_elem(&traces_ctx_v1, &pid_tgid);
	sample = bpf_ringbuf_reserve(&samples, sizeof(*sample), 0);
	if (!sample) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	sample->time_ns = bpf_ktime_get_ns();
	sample->pid_tgid = pid_tgid;
	sample->has_context = context != 0;
	if (context)
		__builtin_memcpy(sample->context, context, sizeof(sample->context));
	sample->stack_bytes = bpf_get_stack(ctx, sample->ips, sizeof(sample->ips), BPF_F_USER_STACK);
	bpf_ringbuf_submit(sample, BPF_RB_NO_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
