// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
/* The BPF headers about SDK contexts and pprof labels, compiled for the host. */
#include "bpf_shim.h"

#include "bpf_under_test.h"
#include "sdk_under_test.h"

#include <otel_ebpf/context_order.bpf.h>
#include <otel_ebpf/go_labels.bpf.h>

void host_set_sdk_thread(__u32 tgid, const struct oe_tls_location *where)
{
	bpf_map_update_elem(&oe_sdk_threads, &tgid, where, BPF_ANY);
}

int host_thread_context_read(__u32 tgid, struct oe_trace_ctx *out)
{
	return oe_thread_context_read(tgid, out);
}

int host_thread_context_attrs(__u32 tgid, struct oe_thread_attrs *out)
{
	return oe_thread_context_attrs(tgid, out);
}

int host_context_choose(__u32 tgid, int state, const struct oe_trace_ctx *sdk, const struct oe_traces_ctx_v1 *ebpf,
			struct oe_traces_ctx_v1 *out, struct oe_traces_ctx_v1 *loser)
{
	return oe_context_choose(tgid, state, sdk, ebpf != NULL, ebpf, out, loser);
}

int host_context_to_publish(__u32 tgid, int state, const struct oe_trace_ctx *sdk, const struct oe_traces_ctx_v1 *ebpf,
			    struct oe_traces_ctx_v1 *out)
{
	return oe_context_to_publish(tgid, state, sdk, ebpf != NULL, ebpf, out);
}

struct oe_ctx_counts host_sdk_counts(__u32 tgid)
{
	const struct oe_ctx_counts *counts = bpf_map_lookup_elem(&oe_ctx_counts, &tgid);

	return counts ? *counts : (struct oe_ctx_counts){0};
}

int host_go_labels_read(__u64 g_addr, __u16 offset, __u32 format, struct oe_go_labels *out)
{
	return oe_go_labels_read(g_addr, offset, format, out);
}
