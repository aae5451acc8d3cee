/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* traceparent texts and what they mean: the same bytes for C++, BPF and a big-endian machine. */
#ifndef OTEL_EBPF_TESTS_VECTORS_TRACEPARENT_H
#define OTEL_EBPF_TESTS_VECTORS_TRACEPARENT_H

#include <stddef.h>

struct traceparent_vector {
	const char *what;
	const char *text;
	size_t size_bytes;
	const char *error; /* to_string(TraceparentError); NULL: valid, with the ids below */
	unsigned char flags;
};

/* Of every valid text below. */
static const unsigned char traceparent_vector_trace_id[16] = {
	0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c,
};
static const unsigned char traceparent_vector_span_id[8] = {0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31};

#define TP_TRACE "0af7651916cd43dd8448eb211c80319c"
#define TP_SPAN "b7ad6b7169203331"
#define TP_VALID(what, text, flags) {what, text, sizeof(text) - 1, NULL, flags}
#define TP_INVALID(what, text, error) {what, text, sizeof(text) - 1, error, 0}

static const struct traceparent_vector traceparent_vectors[] = {
	TP_VALID("sampled", "00-" TP_TRACE "-" TP_SPAN "-01", 0x01),
	TP_VALID("not sampled", "00-" TP_TRACE "-" TP_SPAN "-00", 0x00),
	TP_VALID("random", "00-" TP_TRACE "-" TP_SPAN "-02", 0x02),
	TP_VALID("sampled and random", "00-" TP_TRACE "-" TP_SPAN "-03", 0x03),
	TP_VALID("unknown flag beside sampled", "00-" TP_TRACE "-" TP_SPAN "-09", 0x01),
	TP_VALID("only unknown flags", "00-" TP_TRACE "-" TP_SPAN "-fc", 0x00),
	TP_VALID("all flags", "00-" TP_TRACE "-" TP_SPAN "-ff", 0x03),
	TP_VALID("version 01", "01-" TP_TRACE "-" TP_SPAN "-01", 0x01),
	TP_VALID("version cc", "cc-" TP_TRACE "-" TP_SPAN "-01", 0x01),
	TP_VALID("version fe", "fe-" TP_TRACE "-" TP_SPAN "-01", 0x01),
	TP_VALID("version cc, more fields", "cc-" TP_TRACE "-" TP_SPAN "-01-what-the-future-brings", 0x01),
	TP_VALID("version cc, an empty field", "cc-" TP_TRACE "-" TP_SPAN "-01-", 0x01),

	TP_INVALID("empty", "", "length"),
	TP_INVALID("54 characters", "00-" TP_TRACE "-" TP_SPAN "-0", "length"),
	TP_INVALID("54 characters, version cc", "cc-" TP_TRACE "-" TP_SPAN "-0", "length"),
	TP_INVALID("no flags", "00-" TP_TRACE "-" TP_SPAN, "length"),
	TP_INVALID("short version", "0-" TP_TRACE "-" TP_SPAN "-01", "length"),
	TP_INVALID("short trace id", "00-0af7651916cd43dd8448eb211c80319-" TP_SPAN "-01", "length"),
	TP_INVALID("short trace id, long flags", "00-0af7651916cd43dd8448eb211c80319-" TP_SPAN "-011", "separator"),
	TP_INVALID("short span id", "00-" TP_TRACE "-b7ad6b716920333-01", "length"),
	TP_INVALID("short span id, long flags", "00-" TP_TRACE "-b7ad6b716920333-011", "separator"),
	TP_INVALID("version 00, dot after", "00-" TP_TRACE "-" TP_SPAN "-01.", "length"),
	TP_INVALID("version 00, dash after", "00-" TP_TRACE "-" TP_SPAN "-01-", "length"),
	TP_INVALID("version 00, more fields", "00-" TP_TRACE "-" TP_SPAN "-01-what-the-future-brings", "length"),
	TP_INVALID("version 00, long flags", "00-" TP_TRACE "-" TP_SPAN "-001", "length"),
	TP_INVALID("version 00, trailing space", "00-" TP_TRACE "-" TP_SPAN "-01 ", "length"),
	TP_INVALID("version 00, trailing NUL", "00-" TP_TRACE "-" TP_SPAN "-01\0", "length"),
	TP_INVALID("version cc, dot after", "cc-" TP_TRACE "-" TP_SPAN "-01.what-the-future-brings", "separator"),
	TP_INVALID("version cc, long flags", "cc-" TP_TRACE "-" TP_SPAN "-001", "separator"),
	TP_INVALID("version cc, NUL after", "cc-" TP_TRACE "-" TP_SPAN "-01\0", "separator"),
	TP_INVALID("version ff", "ff-" TP_TRACE "-" TP_SPAN "-01", "version"),
	TP_INVALID("version ff, more fields", "ff-" TP_TRACE "-" TP_SPAN "-01-x", "version"),
	TP_INVALID("upper-case version", "0A-" TP_TRACE "-" TP_SPAN "-01", "version"),
	TP_INVALID("dot in version, first", ".0-" TP_TRACE "-" TP_SPAN "-01", "version"),
	TP_INVALID("dot in version, second", "0.-" TP_TRACE "-" TP_SPAN "-01", "version"),
	TP_INVALID("leading space", " 00-" TP_TRACE "-" TP_SPAN "-01", "version"),
	TP_INVALID("3 digits of version", "000-" TP_TRACE "-" TP_SPAN "-01", "separator"),
	TP_INVALID("4 digits of version", "0000-" TP_TRACE "-" TP_SPAN "-01", "separator"),
	TP_INVALID("long trace id", "00-" TP_TRACE "0-" TP_SPAN "-01", "separator"),
	TP_INVALID("long span id", "00-" TP_TRACE "-" TP_SPAN "0-01", "separator"),
	TP_INVALID("underscore after version", "00_" TP_TRACE "-" TP_SPAN "-01", "separator"),
	TP_INVALID("underscore after trace id", "00-" TP_TRACE "_" TP_SPAN "-01", "separator"),
	TP_INVALID("underscore after span id", "00-" TP_TRACE "-" TP_SPAN "_01", "separator"),
	TP_INVALID("upper-case trace id", "00-0AF7651916CD43DD8448EB211C80319C-" TP_SPAN "-01", "hex"),
	TP_INVALID("upper-case span id", "00-" TP_TRACE "-B7AD6B7169203331-01", "hex"),
	TP_INVALID("upper-case flags", "00-" TP_TRACE "-" TP_SPAN "-0A", "hex"),
	TP_INVALID("dot first in trace id", "00-.af7651916cd43dd8448eb211c80319c-" TP_SPAN "-01", "hex"),
	TP_INVALID("dot last in trace id", "00-0af7651916cd43dd8448eb211c80319.-" TP_SPAN "-01", "hex"),
	TP_INVALID("dot first in span id", "00-" TP_TRACE "-.7ad6b7169203331-01", "hex"),
	TP_INVALID("dot last in span id", "00-" TP_TRACE "-b7ad6b716920333.-01", "hex"),
	TP_INVALID("dot first in flags", "00-" TP_TRACE "-" TP_SPAN "-.0", "hex"),
	TP_INVALID("dot last in flags", "00-" TP_TRACE "-" TP_SPAN "-0.", "hex"),
	TP_INVALID("characters beside the digits", "00-/:`g@G~ 16cd43dd8448eb211c80319c-" TP_SPAN "-01", "hex"),
	TP_INVALID("bytes above 127", "00-\xb0\xe1" "f7651916cd43dd8448eb211c80319c-" TP_SPAN "-01", "hex"),
	TP_INVALID("NUL in trace id", "00-\0af7651916cd43dd8448eb211c80319c-" TP_SPAN "-01", "hex"),
	TP_INVALID("dash in trace id", "00--af7651916cd43dd8448eb211c80319c-" TP_SPAN "-01", "hex"),
	TP_INVALID("zero trace id", "00-00000000000000000000000000000000-" TP_SPAN "-01", "zero trace id"),
	TP_INVALID("zero span id", "00-" TP_TRACE "-0000000000000000-01", "zero span id"),
	TP_INVALID("zero ids", "00-00000000000000000000000000000000-0000000000000000-00", "zero trace id"),
	TP_INVALID("version cc, zero trace id", "cc-00000000000000000000000000000000-" TP_SPAN "-01-x", "zero trace id"),
	TP_INVALID("version cc, zero span id", "cc-" TP_TRACE "-0000000000000000-01-x", "zero span id"),
};

/* What oe_traceparent_write and format_traceparent make of the ids above and any flags. */
static const struct {
	unsigned char flags;
	const char *text;
} traceparent_written[] = {
	{0x00, "00-" TP_TRACE "-" TP_SPAN "-00"},
	{0x01, "00-" TP_TRACE "-" TP_SPAN "-01"},
	{0x03, "00-" TP_TRACE "-" TP_SPAN "-03"},
	{0xfd, "00-" TP_TRACE "-" TP_SPAN "-01"},
	{0xff, "00-" TP_TRACE "-" TP_SPAN "-03"},
};

#undef TP_TRACE
#undef TP_SPAN
#undef TP_VALID
#undef TP_INVALID

#endif
