/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Spans of example.com/ledger: the record, which C++ reads too, and the handlers that fill it. */
#ifndef LEDGER_BPF_H
#define LEDGER_BPF_H

#include <otel_ebpf/types.h>

#define LEDGER_TEXT_MAX 32

/* Bits of oe_event_header.truncated. */
enum ledger_text {
	LEDGER_ACCOUNT,
	LEDGER_BOOK,
};

struct ledger_settle_event {
	struct oe_span_event span;
	__s64 cents;
	__u8 account_len;
	__u8 book_len;
	__u8 failed;
	__u8 pad[5];
	char account[LEDGER_TEXT_MAX];
	char book[LEDGER_TEXT_MAX];
};
OE_STATIC_ASSERT(sizeof(struct ledger_settle_event) == 152, "no hidden padding");

#if OE_BPF_SIDE
#include <otel_ebpf/text.bpf.h>

const volatile __u16 ledger_kind __weak = 0;                   /* number of the Probe */
const volatile __u16 ledger_f_book_name __weak = OE_NO_SLOT;   /* offset of Book.name */

/* func (b *Book) Settle(account string, cents int64) (string, error) */
OE_INLINE int ledger_settle_start(struct pt_regs *ctx)
{
	struct oe_go_string account = {OE_GO_ARG1(ctx), OE_GO_ARG2(ctx)};
	struct ledger_settle_event *event;
	struct oe_live_span *span;
	struct oe_go_string book;
	struct oe_hit hit;

	if (!oe_hit_begin(&hit, ctx, ledger_kind))
		return 0;
	span = oe_span_start(&hit, sizeof(*event));
	if (!span)
		return 0;
	event = (struct ledger_settle_event *)span->record;
	event->cents = OE_GO_ARG3(ctx);
	event->account_len =
		oe_text_copy(&event->span.header, event->account, LEDGER_TEXT_MAX, account, LEDGER_ACCOUNT);
	if (oe_read_fact_string(&hit, ledger_f_book_name, OE_GO_ARG0(ctx), &book))
		event->book_len = oe_text_copy(&event->span.header, event->book, LEDGER_TEXT_MAX, book, LEDGER_BOOK);
	return 0;
}

OE_INLINE int ledger_settle_end(struct pt_regs *ctx)
{
	struct ledger_settle_event *event;
	struct oe_live_span *span;
	struct oe_hit hit;

	if (!oe_hit_begin(&hit, ctx, ledger_kind))
		return 0;
	span = oe_span_end(&hit);
	if (!span)
		return 0;
	event = (struct ledger_settle_event *)span->record;
	event->failed = OE_GO_RESULT2(ctx) != 0; /* (string, error): the error's type, nil without one */
	return oe_span_emit(&hit, span);
}
#endif
#endif
