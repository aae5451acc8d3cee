/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Hits in C and C++ functions: System V ABI registers, and a start of a handler that asks for no goroutine. */
#ifndef OTEL_EBPF_NATIVE_BPF_H
#define OTEL_EBPF_NATIVE_BPF_H

#include <otel_ebpf/traceparent.bpf.h>
#include <otel_ebpf/uprobe.bpf.h>

#if OE_BPF_SIDE

#if defined(__TARGET_ARCH_x86) || (!defined(__bpf__) && defined(__x86_64__))

/* Integer argument 0..5, result 0..1 (System V ABI, AMD64 supplement, 3.2.3). `this` is argument 0. */
#define OE_NATIVE_ARG0(ctx) ((__u64)(ctx)->di)
#define OE_NATIVE_ARG1(ctx) ((__u64)(ctx)->si)
#define OE_NATIVE_ARG2(ctx) ((__u64)(ctx)->dx)
#define OE_NATIVE_ARG3(ctx) ((__u64)(ctx)->cx)
#define OE_NATIVE_ARG4(ctx) ((__u64)(ctx)->r8)
#define OE_NATIVE_ARG5(ctx) ((__u64)(ctx)->r9)
#define OE_NATIVE_RESULT0(ctx) ((__u64)(ctx)->ax)
#define OE_NATIVE_RESULT1(ctx) ((__u64)(ctx)->dx)
#define OE_NATIVE_SP(ctx) ((__u64)(ctx)->sp)

#elif defined(__TARGET_ARCH_arm64) || (!defined(__bpf__) && defined(__aarch64__))

#define OE_NATIVE_ARG0(ctx) OE_GO_REG(ctx, 0)
#define OE_NATIVE_ARG1(ctx) OE_GO_REG(ctx, 1)
#define OE_NATIVE_ARG2(ctx) OE_GO_REG(ctx, 2)
#define OE_NATIVE_ARG3(ctx) OE_GO_REG(ctx, 3)
#define OE_NATIVE_ARG4(ctx) OE_GO_REG(ctx, 4)
#define OE_NATIVE_ARG5(ctx) OE_GO_REG(ctx, 5)
#define OE_NATIVE_RESULT0(ctx) OE_GO_REG(ctx, 0)
#define OE_NATIVE_RESULT1(ctx) OE_GO_REG(ctx, 1)
#define OE_NATIVE_SP(ctx) OE_GO_SP(ctx)

#endif

/*
 * Fills *hit and returns true when this hit counts for the Probe whose event kind is given. False: not a target. Who is
 * running is left open: oe_thread_* and oe_task_* (thread_span.bpf.h) find out.
 */
OE_INLINE bool oe_native_hit_begin(struct oe_hit *hit, struct pt_regs *ctx, __u16 kind)
{
	if (!oe_hit_begin_thread(hit, ctx, kind))
		return false;
	hit->g_addr = 0;
	hit->goid = 0;
	return true;
}

/* Larger the deeper the hit is on its stack, which grows down; never 0, which means "not taken". */
OE_INLINE __u64 oe_native_frame(const struct oe_hit *hit)
{
	return ~OE_NATIVE_SP(hit->ctx);
}

/*
 * A traceparent of `len` characters at `addr` in the target's memory. 1 and *out; 0 when there is none (len 0), or when
 * it is malformed, counted.
 */
OE_NOINLINE int oe_read_traceparent(struct oe_trace_ctx *out, __u64 addr, __u64 len)
{
	char text[OE_TRACEPARENT_BUF] = {};
	__u64 held = len < OE_TRACEPARENT_BUF ? len : OE_TRACEPARENT_BUF;

	if (!out || !len || !addr)
		return 0;
	OE_OPAQUE(held); /* "R2 unbounded memory access": the bound has to be seen next to the read */
	if (held < OE_TRACEPARENT_LEN || held > OE_TRACEPARENT_BUF)
		goto bad;
	if (oe_read(text, held, addr))
		return 0;
	if (!oe_traceparent_parse(out, text, (__u32)len))
		return 1;
bad:
	oe_count(OE_STAT_BAD_TRACEPARENT);
	return 0;
}

#endif
#endif
