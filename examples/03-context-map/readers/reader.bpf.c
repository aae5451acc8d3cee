/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* A sampler that knows which span the interrupted thread works for, whichever tool has published it. */
#define __weak /* maps of the headers are weak, which cilium/ebpf refuses to load */
#include <otel_ebpf/vmlinux_min.h>
#include <otel_ebpf/traces_ctx.bpf.h>

struct work {
	__u64 thread; /* tgid << 32 | tid */
	struct oe_traces_ctx_v1 context;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct work);
	__type(value, __u64);
} ticks SEC(".maps");

SEC("perf_event") int on_tick(void *ctx)
{
	struct work work = {.thread = bpf_get_current_pid_tgid()};
	__u64 zero = 0, *count;

	if (!oe_traces_ctx_current(&work.context))
		return 0;
	bpf_map_update_elem(&ticks, &work, &zero, BPF_NOEXIST);
	count = bpf_map_lookup_elem(&ticks, &work);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
