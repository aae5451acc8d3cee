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

#ifdef __bpf__
#include <otel_ebpf/span.bpf.h>

const volatile __u16 ledger_kind __weak = 0;                   /* number of the Probe */
const volatile __u16 ledger_f_book_name __weak = OE_NO_SLOT;   /* offset of Book.name */

/* Copies a Go string into the record and returns how much of it; marks what was cut. */
OE_INLINE __u8 ledger_copy(struct ledger_settle_event *event, char *out, struct oe_go_string text, __u32 bit)
{
	__u64 len = text.len;

	if (len > LEDGER_TEXT_MAX) {
		len = LEDGER_TEXT_MAX;
		event->span.header.truncated |= 1 << bit;
	}
	OE_OPAQUE(len); /* "R2 unbounded memory access": the bound has to be seen next to the read */
	if (len > LEDGER_TEXT_MAX || oe_read(out, len, text.ptr))
		return 0;
	return len;
}

/* func (b *Book) Settle(account string, cents int64) (string, error) */
OE_INLINE int ledger_settle_start(struct pt_regs *ctx)
{
	struct oe_go_string account = {OE_GO_ARG1(ctx), OE_GO_ARG2(ctx)};
	struct ledger_settle_event *event;
	struct oe_live_span *span;
	struct oe_go_string book;
	struct oe_hit hit;
	__u16 name;

	if (!oe_hit_begin(&hit, ctx, ledger_kind))
		return 0;
	span = oe_span_start(&hit, sizeof(*event));
	if (!span)
		return 0;
	event = (struct ledger_settle_event *)span->record;
	event->cents = OE_GO_ARG3(ctx);
	event->account_len = ledger_copy(event, event->account, account, LEDGER_ACCOUNT);
	name = oe_fact(hit.exe, ledger_f_book_name);
	if (name == OE_UNKNOWN)
		oe_count(OE_STAT_FACT_MISSING);
	else if (!oe_read(&book, sizeof(book), OE_GO_ARG0(ctx) + name))
		event->book_len = ledger_copy(event, event->book, book, LEDGER_BOOK);
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
	event->failed = OE_GO_ARG2(ctx) != 0; /* third result word: the type of the error, nil without one */
	return oe_span_emit(&hit, span);
}
#endif
#endif
