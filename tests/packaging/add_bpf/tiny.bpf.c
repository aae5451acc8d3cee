/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The smallest program that uses our headers and a pack's. */
#include <otel_ebpf/vmlinux_min.h>
#include <otel_ebpf/core.bpf.h>
#include <otel_ebpf/types.h>
#include <pack/pack.bpf.h>

const volatile __u32 answer = PACK_ANSWER;

SEC("socket") int tiny(void *ctx)
{
	return answer == sizeof(struct oe_trace_ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
