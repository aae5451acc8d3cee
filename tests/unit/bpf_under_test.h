/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* What C++ tests call of the BPF headers, which are C. */
#ifndef OTEL_EBPF_TESTS_BPF_UNDER_TEST_H
#define OTEL_EBPF_TESTS_BPF_UNDER_TEST_H

#include <otel_ebpf/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Small, so that slots collide and capacities are reached. */
#define OE_MAX_LIVE_SPANS 64
#define OE_MAX_OVERFLOW_SPANS 512
#define OE_MAX_PROCESSES 8
#define OE_MAX_TASKS 16

/* A hit: registers and stack pointer as the site finds them. */
struct host_hit {
	__u64 g_addr;
	__u64 sp;
	__u64 args[9];
	__u64 flags;
};

/* ---- a Probe of nothing but a number ---- */

struct host_op_event {
	struct oe_span_event span;
	__u64 number;
};

enum host_op_result {
	HOST_OP_NO_HIT,  /* filtered */
	HOST_OP_LOST,    /* no room, or no start */
	HOST_OP_DONE,
};

int host_op_start(const struct host_hit *hit, __u16 kind, __u64 number);
/* One at a time per goroutine: oe_span_open_only. `sticky` is stored; the one found there is returned in *before. */
int host_op_start_only(const struct host_hit *hit, __u16 kind, __u64 number, __u64 sticky, __u64 *before);
int host_op_start_and_discard(const struct host_hit *hit, __u16 kind);
int host_op_end(const struct host_hit *hit, __u16 kind);
__u32 host_op_depth(const struct host_hit *hit, __u16 kind);

/* ---- maps ---- */

void host_set_exe(__u32 row, const struct oe_exe *exe);
void host_set_process(__u32 tgid, const struct oe_process *process);
void host_erase_process(__u32 tgid);
/* False when there is no such process. */
int host_get_process(__u32 tgid, struct oe_process *process);
__u64 host_stat(enum oe_stat stat);

/* ---- the context of a goroutine ---- */

/* What a profiler's sample of that goroutine would carry: 1 and *out, or 0. */
int host_go_context(__u64 goid, __u64 parent_goid, struct oe_traces_ctx_v1 *out);
/* The same for the current thread, as a timer's program finds it; or -EFAULT. */
long host_context_current(struct oe_traces_ctx_v1 *out);
/* runtime.runqput of the goroutine at g_addr, on a thread that works for the goroutine of the hit's m. */
int host_go_runqput(const struct host_hit *hit);
/* runtime.execute and runtime.schedule */
int host_go_execute(const struct host_hit *hit);
int host_go_leave(const struct host_hit *hit);
/* The entry of a thread in traces_ctx_v1: 1 and *out, or 0. */
int host_entry_of(__u32 tgid, __u32 tid, struct oe_traces_ctx_v1 *out);
void host_set_entry_of(__u32 tgid, __u32 tid, const struct oe_traces_ctx_v1 *entry);
/* Whether the entry of a thread is noted as ours. */
int host_is_owned(__u32 tgid, __u32 tid);
int host_ctx_counts(__u32 tgid, struct oe_ctx_counts *out);

/* ---- a Go map[string][]string ---- */

struct host_found {
	__u64 found;
	__u64 ptr;
	__u64 len;
};

/* Looks for two keys of at most 15 bytes; true when the whole map was seen or both were found. */
int host_go_map_find(__u64 map_addr, int layout, const char *first, const char *second, struct host_found found[2]);

/* ---- net/http ---- */

int host_http_start(const struct host_hit *hit);
int host_http_route(const struct host_hit *hit);
int host_http_end(const struct host_hit *hit);
int host_http_conn_end(const struct host_hit *hit);
int host_http2_end(const struct host_hit *hit);

#ifdef __cplusplus
}
#endif
#endif
