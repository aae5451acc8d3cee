/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The BPF helpers on the host, in place of bpf_helpers.h and vmlinux.h: maps, target memory and clock of bpf_host.hpp. */
#ifndef OTEL_EBPF_TESTS_BPF_SHIM_H
#define OTEL_EBPF_TESTS_BPF_SHIM_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A map is its address and the shape that its BTF would tell. */
struct host_map {
	void *identity;
	__u32 type;
	__u32 max_entries;
	__u32 key_bytes;
	__u32 value_bytes;
};
void *host_map_lookup(const struct host_map *map, const void *key);
long host_map_update(const struct host_map *map, const void *key, const void *value, __u64 flags);
long host_map_delete(const struct host_map *map, const void *key);
__u32 host_map_size(const struct host_map *map);
/* Of the current thread. */
void *host_task_storage_get(const struct host_map *map, __u64 flags);

long bpf_probe_read_user(void *out, __u32 size, const void *addr);
long bpf_ringbuf_output(void *ring_buffer, void *record, __u64 size, __u64 flags);
long bpf_loop(__u32 steps, long (*step)(__u32, void *), void *context, __u64 flags);
__u64 bpf_ktime_get_ns(void);
__u32 bpf_get_prandom_u32(void);
__u64 bpf_get_attach_cookie(void *ctx);
__u64 bpf_get_current_pid_tgid(void);

/* The current thread, by its thread pointer. */
struct task_struct {
	struct {
		__u64 fsbase;
		struct {
			__u64 tp_value;
		} uw;
	} thread;
};
struct task_struct *bpf_get_current_task_btf(void);
long bpf_task_pt_regs(struct task_struct *task);
long bpf_probe_read_kernel(void *out, __u32 size, const void *addr);

#ifdef __cplusplus
}
#else
#define OE_HOST_BPF 1

#define SEC(name)
#define __weak __attribute__((weak))
#define __ksym
#define __noinline __attribute__((noinline))
#define __uint(name, value) int (*name)[value]
#define __type(name, value) __typeof__(value) *name

/* As in the kernel, include arch/x86/include/asm/ptrace.h, and on arm64 struct user_pt_regs. */
#if defined(__x86_64__)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#elif defined(__aarch64__)
struct user_pt_regs {
	__u64 regs[31], sp, pc, pstate;
};
struct pt_regs {
	struct user_pt_regs user_regs;
};
#endif

#define HOST_MAP(map)                                                                                          \
	(&(struct host_map){(map), sizeof(*(map)->type) / sizeof(int), sizeof(*(map)->max_entries) / sizeof(int), \
			    sizeof(*(map)->key), sizeof(*(map)->value)})
#define bpf_map_lookup_elem(map, key) host_map_lookup(HOST_MAP(map), key)
#define bpf_map_update_elem(map, key, value, flags) host_map_update(HOST_MAP(map), key, value, flags)
#define bpf_map_delete_elem(map, key) host_map_delete(HOST_MAP(map), key)

#define HOST_TASK_MAP(map) \
	(&(struct host_map){(map), sizeof(*(map)->type) / sizeof(int), ~0U, sizeof(__u64), sizeof(*(map)->value)})
#define bpf_task_storage_get(map, task, value, flags) host_task_storage_get(HOST_TASK_MAP(map), flags)
#endif

#endif
