/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The tables that the Manager fills: facts of executables by row, processes by tgid. */
#ifndef OTEL_EBPF_EXECUTABLE_BPF_H
#define OTEL_EBPF_EXECUTABLE_BPF_H

#include <otel_ebpf/stats.bpf.h>

#if OE_BPF_SIDE

#ifndef OE_MAX_EXECUTABLES
#define OE_MAX_EXECUTABLES 1024
#endif
#ifndef OE_MAX_PROCESSES
#define OE_MAX_PROCESSES 8192
#endif

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OE_MAX_EXECUTABLES);
	__type(key, __u32);
	__type(value, struct oe_exe);
} oe_exes __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OE_MAX_PROCESSES);
	__type(key, __u32);
	__type(value, struct oe_process);
} oe_processes __weak SEC(".maps");

/* Last generation given out here; the Manager's own have bit 31 set. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} oe_generation __weak SEC(".maps");

/* Layout of the tables and records in this object; the Manager refuses any other than its own. */
const volatile __u32 oe_abi_version __weak = OE_ABI_VERSION;

/* The fact behind a slot, or OE_UNKNOWN. Slots are constants by load time, so the unused ones cost nothing. */
OE_INLINE __u16 oe_fact(const struct oe_exe *exe, __u16 slot)
{
	if (slot >= OE_EXE_VALUES)
		return OE_UNKNOWN;
	return exe->value[slot];
}

/* A new row for a process of an executable that is traced wherever it runs. */
OE_NOINLINE struct oe_process *oe_process_join(__u32 tgid, __u32 exe_row, const struct oe_exe *exe)
{
	struct oe_process row = {};
	__u32 zero = 0;
	__u64 *last = bpf_map_lookup_elem(&oe_generation, &zero);

	if (!last || !exe)
		return 0;
	row.exe_row = exe_row;
	row.generation = ((__u32)__sync_fetch_and_add(last, 1) + 1) & 0x7fffffff;
	row.tls_g_offset = exe->tls_g_offset;
	row.publication = exe->publication;
	row.probes = ~0ULL;
	/* A thread of the same process may have been quicker: its row stays. */
	if (bpf_map_update_elem(&oe_processes, &tgid, &row, BPF_NOEXIST) == -7 /* E2BIG */)
		oe_count(OE_STAT_PROCESSES_FULL);
	return bpf_map_lookup_elem(&oe_processes, &tgid);
}

#endif
#endif
