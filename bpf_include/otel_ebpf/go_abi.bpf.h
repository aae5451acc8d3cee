/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Go's register ABI (go1.17+ amd64, go1.18+ arm64: src/cmd/compile/abi-internal.md). */
#ifndef OTEL_EBPF_GO_ABI_BPF_H
#define OTEL_EBPF_GO_ABI_BPF_H

#include <otel_ebpf/core.bpf.h>

#if OE_BPF_SIDE

#if defined(__TARGET_ARCH_x86) || (!defined(__bpf__) && defined(__x86_64__))

/* Integer argument or result 0..8 in order: RAX RBX RCX RDI RSI R8 R9 R10 R11. */
#define OE_GO_ARG0(ctx) ((__u64)(ctx)->ax)
#define OE_GO_ARG1(ctx) ((__u64)(ctx)->bx)
#define OE_GO_ARG2(ctx) ((__u64)(ctx)->cx)
#define OE_GO_ARG3(ctx) ((__u64)(ctx)->di)
#define OE_GO_ARG4(ctx) ((__u64)(ctx)->si)
#define OE_GO_ARG5(ctx) ((__u64)(ctx)->r8)
#define OE_GO_ARG6(ctx) ((__u64)(ctx)->r9)
#define OE_GO_ARG7(ctx) ((__u64)(ctx)->r10)
#define OE_GO_ARG8(ctx) ((__u64)(ctx)->r11)
#define OE_GO_G(ctx) ((__u64)(ctx)->r14)
#define OE_GO_SP(ctx) ((__u64)(ctx)->sp)

/* At the conditional jump of the stack check: CF or ZF set means that it will be taken, to runtime.morestack. */
#define OE_GO_STACK_CHECK_TAKEN(ctx) ((ctx)->flags & 0x41)

#elif defined(__TARGET_ARCH_arm64) || (!defined(__bpf__) && defined(__aarch64__))

#define OE_GO_REG(ctx, n) ((__u64)((const struct user_pt_regs *)(ctx))->regs[n])
#define OE_GO_ARG0(ctx) OE_GO_REG(ctx, 0)
#define OE_GO_ARG1(ctx) OE_GO_REG(ctx, 1)
#define OE_GO_ARG2(ctx) OE_GO_REG(ctx, 2)
#define OE_GO_ARG3(ctx) OE_GO_REG(ctx, 3)
#define OE_GO_ARG4(ctx) OE_GO_REG(ctx, 4)
#define OE_GO_ARG5(ctx) OE_GO_REG(ctx, 5)
#define OE_GO_ARG6(ctx) OE_GO_REG(ctx, 6)
#define OE_GO_ARG7(ctx) OE_GO_REG(ctx, 7)
#define OE_GO_ARG8(ctx) OE_GO_REG(ctx, 8)
#define OE_GO_G(ctx) OE_GO_REG(ctx, 28)
#define OE_GO_SP(ctx) ((__u64)((const struct user_pt_regs *)(ctx))->sp)

/* b.ls after cmp: not taken only when C (bit 29) is set and Z (bit 30) is clear. */
#define OE_GO_STACK_CHECK_TAKEN(ctx) \
	((((const struct user_pt_regs *)(ctx))->pstate & 0x60000000) != 0x20000000)

#else
#error "otel_ebpf: define __TARGET_ARCH_x86 or __TARGET_ARCH_arm64"
#endif

/* Results come in the registers of the arguments. */
#define OE_GO_RESULT0(ctx) OE_GO_ARG0(ctx)
#define OE_GO_RESULT1(ctx) OE_GO_ARG1(ctx)
#define OE_GO_RESULT2(ctx) OE_GO_ARG2(ctx)
#define OE_GO_RESULT3(ctx) OE_GO_ARG3(ctx)
#define OE_GO_RESULT4(ctx) OE_GO_ARG4(ctx)
#define OE_GO_RESULT5(ctx) OE_GO_ARG5(ctx)
#define OE_GO_RESULT6(ctx) OE_GO_ARG6(ctx)
#define OE_GO_RESULT7(ctx) OE_GO_ARG7(ctx)
#define OE_GO_RESULT8(ctx) OE_GO_ARG8(ctx)

#endif
#endif
