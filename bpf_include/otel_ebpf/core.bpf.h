/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The floor of all BPF headers here: one source for the kernel and for the host.
 *
 * BPF: include vmlinux.h, vmlinux_min.h or linux/types.h first.
 */
#ifndef OTEL_EBPF_CORE_BPF_H
#define OTEL_EBPF_CORE_BPF_H

#ifdef __bpf__
#include <bpf/bpf_helpers.h>
#else
#include <errno.h>
#include <linux/types.h>
#include <string.h>
#endif
#include <otel_ebpf/types.h>

#ifdef __bpf__
#define OE_INLINE static __always_inline
#else
#define OE_INLINE static inline
#endif

/* For what is too large to repeat at each call; a header need not call all it defines. */
#ifdef __bpf__
#define OE_NOINLINE static __noinline __attribute__((unused))
#else
#define OE_NOINLINE static inline
#endif

/* Makes the compiler forget what it knows of a variable, so that the checks on it stay next to its use. */
#define OE_OPAQUE(variable) __asm__ volatile("" : "+r"(variable))

/* A 64-bit store that is not seen before those ahead of it. x86 keeps stores in order, others need an atomic. */
#if defined(__TARGET_ARCH_arm64) || defined(__aarch64__)
#define OE_STORE_RELEASE(place, value) ((void)__sync_lock_test_and_set(&(place), (value)))
#else
#define OE_STORE_RELEASE(place, value)                       \
	do {                                                 \
		__asm__ volatile("" ::: "memory");           \
		*(volatile __typeof__(place) *)&(place) = (value); \
	} while (0)
#endif

/* Not in bpf_helpers.h of libbpf 1.1. */
#ifndef likely
#define likely(x) __builtin_expect(!!(x), 1)
#endif
#ifndef unlikely
#define unlikely(x) __builtin_expect(!!(x), 0)
#endif

/* vmlinux.h has no macros, so no error numbers; include/uapi/asm-generic/errno-base.h. */
#ifdef __bpf__
#ifndef EFAULT
#define EFAULT 14
#endif
#ifndef EEXIST
#define EEXIST 17
#endif
#ifndef EINVAL
#define EINVAL 22
#endif
#endif

#endif
