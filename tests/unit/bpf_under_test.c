// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
/* The BPF headers, compiled for the host. */
#include "bpf_shim.h"

#include "bpf_under_test.h"

#include <stdlib.h>

#include <otel_ebpf/probes/goroutines.bpf.h>
#include <otel_ebpf/probes/net_http.bpf.h>

static struct pt_regs registers_of(const struct host_hit *hit)
{
	struct pt_regs regs = {0};
#if defined(__x86_64__)
	regs.r14 = hit->g_addr;
	regs.sp = hit->sp;
	regs.flags = hit->flags;
	regs.ax = hit->args[0];
	regs.bx = hit->args[1];
	regs.cx = hit->args[2];
	regs.di = hit->args[3];
	regs.si = hit->args[4];
	regs.r8 = hit->args[5];
	regs.r9 = hit->args[6];
	regs.r10 = hit->args[7];
	regs.r11 = hit->args[8];
#elif defined(__aarch64__)
	memcpy(regs.user_regs.regs, hit->args, sizeof(hit->args));
	regs.user_regs.regs[28] = hit->g_addr;
	regs.user_regs.sp = hit->sp;
	regs.user_regs.pstate = hit->flags;
#endif
	return regs;
}

int host_op_start(const struct host_hit *host, __u16 kind, __u64 number)
{
	struct pt_regs regs = registers_of(host);
	struct oe_live_span *span;
	struct oe_hit hit;

	if (!oe_hit_begin(&hit, &regs, kind))
		return HOST_OP_NO_HIT;
	span = oe_span_start(&hit, sizeof(struct host_op_event));
	if (!span)
		return HOST_OP_LOST;
	((struct host_op_event *)span->record)->number = number;
	return HOST_OP_DONE;
}

int host_op_start_only(const struct host_hit *host, __u16 kind, __u64 number, __u64 sticky, __u64 *before)
{
	struct pt_regs regs = registers_of(host);
	struct oe_live_span *span;
	struct oe_hit hit;

	if (!oe_hit_begin(&hit, &regs, kind))
		return HOST_OP_NO_HIT;
	span = oe_span_open_only(&hit, sizeof(struct host_op_event));
	if (!span)
		return HOST_OP_LOST;
	oe_span_inherit(&hit, span);
	((struct host_op_event *)span->record)->number = number;
	*before = span->sticky;
	span->sticky = sticky;
	return HOST_OP_DONE;
}

int host_op_start_and_discard(const struct host_hit *host, __u16 kind)
{
	struct pt_regs regs = registers_of(host);
	struct oe_live_span *span;
	struct oe_hit hit;

	if (!oe_hit_begin(&hit, &regs, kind))
		return HOST_OP_NO_HIT;
	span = oe_span_start(&hit, sizeof(struct host_op_event));
	if (!span)
		return HOST_OP_LOST;
	oe_span_discard(&hit, span);
	return HOST_OP_DONE;
}

int host_op_end(const struct host_hit *host, __u16 kind)
{
	struct pt_regs regs = registers_of(host);
	struct oe_live_span *span;
	struct oe_hit hit;

	if (!oe_hit_begin(&hit, &regs, kind))
		return HOST_OP_NO_HIT;
	span = oe_span_end(&hit);
	if (!span)
		return HOST_OP_LOST;
	oe_span_emit(&hit, span);
	return HOST_OP_DONE;
}

__u32 host_op_depth(const struct host_hit *host, __u16 kind)
{
	struct pt_regs regs = registers_of(host);
	struct oe_hit hit;

	return oe_hit_begin(&hit, &regs, kind) ? oe_span_depth(&hit) : 0;
}

void host_set_exe(__u32 row, const struct oe_exe *exe)
{
	bpf_map_update_elem(&oe_exes, &row, exe, BPF_ANY);
}

void host_set_process(__u32 tgid, const struct oe_process *process)
{
	bpf_map_update_elem(&oe_processes, &tgid, process, BPF_ANY);
}

void host_erase_process(__u32 tgid)
{
	bpf_map_delete_elem(&oe_processes, &tgid);
}

int host_get_process(__u32 tgid, struct oe_process *process)
{
	const struct oe_process *row = bpf_map_lookup_elem(&oe_processes, &tgid);

	if (row)
		*process = *row;
	return row != NULL;
}

__u64 host_stat(enum oe_stat stat)
{
	__u32 key = stat;
	const __u64 *slot = bpf_map_lookup_elem(&oe_stats, &key);

	return slot ? *slot : 0;
}

int host_go_map_find(__u64 map_addr, int layout, const char *first, const char *second, struct host_found found[2])
{
	const char *keys[OE_GO_MAP_WANTED] = {first, second};
	struct oe_go_map_walk *walk = malloc(sizeof(*walk));
	int whole, i;

	memset(walk, 0xee, sizeof(*walk));
	oe_go_map_begin(walk);
	for (i = 0; i < OE_GO_MAP_WANTED; i++) {
		walk->wanted[i].key_len = strlen(keys[i]);
		memcpy(walk->wanted[i].key, keys[i], walk->wanted[i].key_len);
	}
	oe_go_map_find(walk, map_addr, layout);
	for (i = 0; i < OE_GO_MAP_WANTED; i++) {
		found[i].found = walk->wanted[i].found;
		found[i].ptr = walk->wanted[i].value.ptr;
		found[i].len = walk->wanted[i].value.len;
	}
	whole = !walk->incomplete;
	free(walk);
	return whole;
}

#define HOST_HANDLER(name, handler)                         \
	int name(const struct host_hit *hit)                \
	{                                                   \
		struct pt_regs regs = registers_of(hit);    \
		return handler(&regs);                      \
	}

HOST_HANDLER(host_http_start, oe_http_server_start)
HOST_HANDLER(host_http_route, oe_http_server_route)
HOST_HANDLER(host_http_end, oe_http_server_end)
HOST_HANDLER(host_http_conn_end, oe_http_server_conn_end)
HOST_HANDLER(host_http2_end, oe_http_server_http2_end)

HOST_HANDLER(host_go_runqput, oe_goroutines_runqput)
HOST_HANDLER(host_go_execute, oe_goroutines_execute)
HOST_HANDLER(host_go_leave, oe_goroutines_leave)

int host_go_context(__u64 goid, __u64 parent_goid, struct oe_traces_ctx_v1 *out)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	const struct oe_process *process = bpf_map_lookup_elem(&oe_processes, &tgid);
	struct oe_go_key who = {goid, tgid, process->generation};

	return oe_go_context(&who, parent_goid, out);
}

long host_context_current(struct oe_traces_ctx_v1 *out)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	return oe_context_current(tgid, bpf_map_lookup_elem(&oe_processes, &tgid), out);
}

int host_entry_of(__u32 tgid, __u32 tid, struct oe_traces_ctx_v1 *out)
{
	__u64 key = (__u64)tgid << 32 | tid;
	const struct oe_traces_ctx_v1 *entry = bpf_map_lookup_elem(&traces_ctx_v1, &key);

	if (entry)
		*out = *entry;
	return entry != 0;
}

void host_set_entry_of(__u32 tgid, __u32 tid, const struct oe_traces_ctx_v1 *entry)
{
	__u64 key = (__u64)tgid << 32 | tid;

	bpf_map_update_elem(&traces_ctx_v1, &key, entry, BPF_ANY);
}

int host_is_owned(__u32 tgid, __u32 tid)
{
	__u64 key = (__u64)tgid << 32 | tid;

	return bpf_map_lookup_elem(&oe_ctx_owned, &key) != 0;
}

int host_ctx_counts(__u32 tgid, struct oe_ctx_counts *out)
{
	const struct oe_ctx_counts *counts = bpf_map_lookup_elem(&oe_ctx_counts, &tgid);

	if (counts)
		*out = *counts;
	return counts != 0;
}
