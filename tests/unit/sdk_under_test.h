/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* What C++ tests call of the BPF headers about SDK contexts and pprof labels. */
#ifndef OTEL_EBPF_TESTS_SDK_UNDER_TEST_H
#define OTEL_EBPF_TESTS_SDK_UNDER_TEST_H

#include <otel_ebpf/types.h>

#ifdef __cplusplus
extern "C" {
#endif

void host_set_sdk_thread(__u32 tgid, const struct oe_tls_location *where);
int host_thread_context_read(__u32 tgid, struct oe_trace_ctx *out);
int host_thread_context_attrs(__u32 tgid, struct oe_thread_attrs *out);
int host_context_choose(__u32 tgid, int state, const struct oe_trace_ctx *sdk, const struct oe_traces_ctx_v1 *ebpf,
			struct oe_traces_ctx_v1 *out, struct oe_traces_ctx_v1 *loser);
int host_context_to_publish(__u32 tgid, int state, const struct oe_trace_ctx *sdk, const struct oe_traces_ctx_v1 *ebpf,
			    struct oe_traces_ctx_v1 *out);
/* Zeros when nothing was counted. */
struct oe_ctx_counts host_sdk_counts(__u32 tgid);
int host_go_labels_read(__u64 g_addr, __u16 offset, __u32 format, struct oe_go_labels *out);

#ifdef __cplusplus
}
#endif
#endif
