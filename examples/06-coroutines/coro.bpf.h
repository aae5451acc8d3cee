/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Spans of coroutine-server: the records, which C++ reads too, and the handlers that fill them. */
#ifndef CORO_BPF_H
#define CORO_BPF_H

#include <exchange.h>
#include <otel_ebpf/types.h>

#define CORO_PATH_MAX 64
#define CORO_NAME_MAX 16

/* Bits of oe_event_header.truncated. */
enum coro_text {
	CORO_PATH,
};

/* A request. */
struct coro_exchange_event {
	struct oe_span_event span;
	__s32 status;
	__u8 path_len;
	__u8 pad[3];
	char path[CORO_PATH_MAX];
};
OE_STATIC_ASSERT(sizeof(struct coro_exchange_event) == 144, "no hidden padding");

/* A shop::Step. */
struct coro_step_event {
	struct oe_span_event span;
	__u64 name_len;
	char name[CORO_NAME_MAX];
};
OE_STATIC_ASSERT(sizeof(struct coro_step_event) == 96, "no hidden padding");

#if OE_BPF_SIDE
#include <otel_ebpf/text.bpf.h>
#include <otel_ebpf/thread_span.bpf.h>

const volatile __u16 coro_exchange_kind __weak = 0;
const volatile __u16 coro_step_kind __weak = 0;

/* void coro::spawned(Task*) */
OE_INLINE int coro_task_begin(struct pt_regs *ctx)
{
	struct oe_hit hit;

	return oe_native_hit_begin(&hit, ctx, coro_exchange_kind) ? oe_task_begin(&hit, OE_NATIVE_ARG0(ctx)) : 0;
}

/* void coro::run(Task*) */
OE_INLINE int coro_task_resume(struct pt_regs *ctx)
{
	struct oe_hit hit;

	return oe_native_hit_begin(&hit, ctx, coro_exchange_kind) ? oe_task_resume(&hit, OE_NATIVE_ARG0(ctx)) : 0;
}

/* void coro::park(Task*, Clock::time_point) */
OE_INLINE int coro_task_suspend(struct pt_regs *ctx)
{
	struct oe_hit hit;

	return oe_native_hit_begin(&hit, ctx, coro_exchange_kind) ? oe_task_suspend(&hit, OE_NATIVE_ARG0(ctx)) : 0;
}

/* void coro::retired(Task*) */
OE_INLINE int coro_task_end(struct pt_regs *ctx)
{
	struct oe_hit hit;

	return oe_native_hit_begin(&hit, ctx, coro_exchange_kind) ? oe_task_end(&hit, OE_NATIVE_ARG0(ctx)) : 0;
}

/* void shop::open(Exchange&) */
OE_INLINE int coro_exchange_start(struct pt_regs *ctx)
{
	struct coro_exchange_event *event;
	struct oe_trace_ctx remote;
	struct oe_live_span *span;
	struct exchange exchange;
	struct oe_go_string path;
	struct oe_hit hit;
	int continues;

	if (!oe_native_hit_begin(&hit, ctx, coro_exchange_kind))
		return 0;
	if (oe_read(&exchange, sizeof(exchange), OE_NATIVE_ARG0(ctx)))
		return 0;
	continues = oe_read_traceparent(&remote, (__u64)exchange.traceparent, exchange.traceparent_len);
	span = oe_task_span_begin_only(&hit, sizeof(*event), continues ? &remote : 0);
	if (!span)
		return 0;
	event = (struct coro_exchange_event *)span->record;
	path = (struct oe_go_string){(__u64)exchange.path, exchange.path_len};
	event->path_len = oe_text_copy(&event->span.header, event->path, CORO_PATH_MAX, path, CORO_PATH);
	return 0;
}

/* void shop::finish(Exchange&) */
OE_INLINE int coro_exchange_end(struct pt_regs *ctx)
{
	struct oe_live_span *span;
	struct exchange exchange;
	struct oe_hit hit;

	if (!oe_native_hit_begin(&hit, ctx, coro_exchange_kind))
		return 0;
	span = oe_thread_span_ending(&hit);
	if (!span)
		return 0;
	if (!oe_read(&exchange, sizeof(exchange), OE_NATIVE_ARG0(ctx)))
		((struct coro_exchange_event *)span->record)->status = exchange.status;
	return oe_thread_span_end(&hit, span);
}

/* shop::Step::Step(const char*, std::size_t); `this` comes first */
OE_INLINE int coro_step_start(struct pt_regs *ctx)
{
	struct oe_go_string name = {OE_NATIVE_ARG1(ctx), OE_NATIVE_ARG2(ctx)};
	struct coro_step_event *event;
	struct oe_live_span *span;
	struct oe_hit hit;

	if (!oe_native_hit_begin(&hit, ctx, coro_step_kind))
		return 0;
	span = oe_task_span_begin(&hit, sizeof(*event), 0);
	if (!span)
		return 0;
	event = (struct coro_step_event *)span->record;
	event->name_len = oe_text_copy(&event->span.header, event->name, CORO_NAME_MAX, name, 0);
	return 0;
}

/* shop::Step::~Step() */
OE_INLINE int coro_step_end(struct pt_regs *ctx)
{
	struct oe_hit hit;

	if (!oe_native_hit_begin(&hit, ctx, coro_step_kind))
		return 0;
	return oe_thread_span_end(&hit, oe_thread_span_ending(&hit));
}
#endif
#endif
