/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * Who wins where the SDK inside a process and this tool both know what a thread works for (docs/correlation.md).
 *
 * BPF: include vmlinux.h, vmlinux_min.h or linux/types.h first.
 */
#ifndef OTEL_EBPF_CONTEXT_ORDER_BPF_H
#define OTEL_EBPF_CONTEXT_ORDER_BPF_H

#include <otel_ebpf/publish.bpf.h>
#include <otel_ebpf/thread_context.bpf.h>

enum oe_ctx_source {
	OE_CTX_NOBODY = 0,
	OE_CTX_SDK = 1,
	OE_CTX_EBPF = 2,
};

#if OE_BPF_SIDE

/* 0: the SDK's context, else ours; 1: ours, else the SDK's. Publication does not ask it. */
const volatile __u8 oe_ctx_order __weak = 0;

OE_INLINE bool __oe_same_trace(const __u8 *a, const __u8 *b)
{
	return __oe_same_id8(a, b) && __oe_same_id8(a + 8, b + 8);
}

/* Both have a context: do they agree? Unsampled ones are compared too. */
OE_NOINLINE int __oe_context_compare(__u32 tgid, const struct oe_trace_ctx *sdk, const struct oe_traces_ctx_v1 *ebpf)
{
	struct oe_ctx_counts *counts;

	if (!sdk || !ebpf)
		return 0;
	counts = oe_ctx_counts_of(tgid);
	if (!counts)
		return 0;
	__sync_fetch_and_add(&counts->both, 1);
	if (!__oe_same_trace(sdk->trace_id, ebpf->trace_id))
		__sync_fetch_and_add(&counts->trace_differs, 1);
	else if (!__oe_same_id8(sdk->span_id, ebpf->span_id))
		__sync_fetch_and_add(&counts->span_differs, 1);
	return 0;
}

OE_INLINE void __oe_context_of_sdk(struct oe_traces_ctx_v1 *out, const struct oe_trace_ctx *sdk)
{
	__builtin_memcpy(out->trace_id, sdk->trace_id, sizeof(out->trace_id));
	__builtin_memcpy(out->span_id, sdk->span_id, sizeof(out->span_id));
}

/* A span that is not sampled is exported by nobody: nothing may refer to it. */
OE_INLINE bool __oe_sdk_counts(int sdk_state, const struct oe_trace_ctx *sdk)
{
	return sdk_state == OE_SDK_VALID && (sdk->flags & 1);
}

/*
 * What a sample of a thread refers to: enum oe_ctx_source, and that context in *out; the other one, when both have one,
 * in *loser, else zeros. `sdk_state` and `sdk` are as oe_thread_context_read gave them; `ebpf` counts when `have_ebpf`.
 */
OE_INLINE int oe_context_choose(__u32 tgid, int sdk_state, const struct oe_trace_ctx *sdk, bool have_ebpf,
				const struct oe_traces_ctx_v1 *ebpf, struct oe_traces_ctx_v1 *out,
				struct oe_traces_ctx_v1 *loser)
{
	bool have_sdk = __oe_sdk_counts(sdk_state, sdk);

	__builtin_memset(out, 0, sizeof(*out));
	__builtin_memset(loser, 0, sizeof(*loser));
	if (sdk_state == OE_SDK_VALID && have_ebpf)
		__oe_context_compare(tgid, sdk, ebpf);
	if (have_sdk && !(have_ebpf && oe_ctx_order == 1)) {
		__oe_context_of_sdk(out, sdk);
		if (have_ebpf)
			__builtin_memcpy(loser, ebpf, sizeof(*loser));
		return OE_CTX_SDK;
	}
	if (!have_ebpf)
		return OE_CTX_NOBODY;
	__builtin_memcpy(out, ebpf, sizeof(*out));
	if (have_sdk)
		__oe_context_of_sdk(loser, sdk);
	return OE_CTX_EBPF;
}

/*
 * What may stand in traces_ctx_v1 for a thread: enum oe_ctx_source, and *out. Our ids only in a process that publishes
 * none of its own, whatever oe_ctx_order says: its spans are exported by its SDK, and the map must agree with that.
 */
OE_INLINE int oe_context_to_publish(__u32 tgid, int sdk_state, const struct oe_trace_ctx *sdk, bool have_ebpf,
				    const struct oe_traces_ctx_v1 *ebpf, struct oe_traces_ctx_v1 *out)
{
	__builtin_memset(out, 0, sizeof(*out));
	if (sdk_state == OE_SDK_VALID && have_ebpf)
		__oe_context_compare(tgid, sdk, ebpf);
	if (__oe_sdk_counts(sdk_state, sdk)) {
		__oe_context_of_sdk(out, sdk);
		return OE_CTX_SDK;
	}
	if (sdk_state != OE_SDK_ABSENT || !have_ebpf)
		return OE_CTX_NOBODY;
	__builtin_memcpy(out, ebpf, sizeof(*out));
	return OE_CTX_EBPF;
}

#endif
#endif
