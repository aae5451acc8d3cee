/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Spans of thread-pool-server: the records, which C++ reads too, and the handlers that fill them. */
#ifndef POOL_BPF_H
#define POOL_BPF_H

#include <exchange.h>
#include <otel_ebpf/types.h>

#define POOL_METHOD_MAX 8
#define POOL_PATH_MAX 64

/* Bits of oe_event_header.truncated. */
enum pool_text {
	POOL_METHOD,
	POOL_PATH,
};

/* A request. */
struct pool_exchange_event {
	struct oe_span_event span;
	__s32 status;
	__u8 method_len;
	__u8 path_len;
	__u8 pad[2];
	char method[POOL_METHOD_MAX];
	char path[POOL_PATH_MAX];
};
OE_STATIC_ASSERT(sizeof(struct pool_exchange_event) == 152, "no hidden padding");

/* A call of pool::charge. */
struct pool_charge_event {
	struct oe_span_event span;
	__s64 cents;
	__u8 accepted;
	__u8 pad[7];
};
OE_STATIC_ASSERT(sizeof(struct pool_charge_event) == 88, "no hidden padding");

#if OE_BPF_SIDE
#include <otel_ebpf/text.bpf.h>
#include <otel_ebpf/thread_span.bpf.h>

const volatile __u16 pool_exchange_kind __weak = 0;
const volatile __u16 pool_charge_kind __weak = 0;

/* void pool::serve(Exchange&) */
OE_INLINE int pool_exchange_start(struct pt_regs *ctx)
{
	struct pool_exchange_event *event;
	struct oe_go_string method, path;
	struct oe_trace_ctx remote;
	struct oe_live_span *span;
	struct exchange exchange;
	struct oe_hit hit;
	int continues;

	if (!oe_native_hit_begin(&hit, ctx, pool_exchange_kind))
		return 0;
	if (oe_read(&exchange, sizeof(exchange), OE_NATIVE_ARG0(ctx)))
		return 0;
	continues = oe_read_traceparent(&remote, (__u64)exchange.traceparent, exchange.traceparent_len);
	span = oe_thread_span_begin(&hit, sizeof(*event), continues ? &remote : 0);
	if (!span)
		return 0;
	event = (struct pool_exchange_event *)span->record;
	method = (struct oe_go_string){(__u64)exchange.method, exchange.method_len};
	path = (struct oe_go_string){(__u64)exchange.path, exchange.path_len};
	event->method_len = oe_text_copy(&event->span.header, event->method, POOL_METHOD_MAX, method, POOL_METHOD);
	event->path_len = oe_text_copy(&event->span.header, event->path, POOL_PATH_MAX, path, POOL_PATH);
	return 0;
}

/* void pool::finish(Exchange&): always called when the request has been worked on. */
OE_INLINE int pool_exchange_end(struct pt_regs *ctx)
{
	struct pool_exchange_event *event;
	struct oe_live_span *span;
	struct exchange exchange;
	struct oe_hit hit;

	if (!oe_native_hit_begin(&hit, ctx, pool_exchange_kind))
		return 0;
	span = oe_thread_span_ending(&hit);
	if (!span)
		return 0;
	event = (struct pool_exchange_event *)span->record;
	if (!oe_read(&exchange, sizeof(exchange), OE_NATIVE_ARG0(ctx)))
		event->status = exchange.status;
	return oe_thread_span_end(&hit, span);
}

/* bool pool::charge(Exchange&, long cents) */
OE_INLINE int pool_charge_start(struct pt_regs *ctx)
{
	struct oe_live_span *span;
	struct oe_hit hit;

	if (!oe_native_hit_begin(&hit, ctx, pool_charge_kind))
		return 0;
	span = oe_thread_span_begin(&hit, sizeof(struct pool_charge_event), 0);
	if (span)
		((struct pool_charge_event *)span->record)->cents = OE_NATIVE_ARG1(ctx);
	return 0;
}

OE_INLINE int pool_charge_end(struct pt_regs *ctx)
{
	struct oe_live_span *span;
	struct oe_hit hit;

	if (!oe_native_hit_begin(&hit, ctx, pool_charge_kind))
		return 0;
	span = oe_thread_span_ending(&hit);
	if (!span)
		return 0;
	/* Of a bool only the lowest byte of the register is defined. */
	((struct pool_charge_event *)span->record)->accepted = OE_NATIVE_RESULT0(ctx) & 0xff;
	return oe_thread_span_end(&hit, span);
}
#endif
#endif
