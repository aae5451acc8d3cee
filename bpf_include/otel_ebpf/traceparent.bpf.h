/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* W3C traceparent text <-> bytes, and random ids.
 *
 * BPF: include vmlinux.h, vmlinux_min.h or linux/types.h first.
 */
#ifndef OTEL_EBPF_TRACEPARENT_BPF_H
#define OTEL_EBPF_TRACEPARENT_BPF_H

#include <otel_ebpf/core.bpf.h>
#include <otel_ebpf/types.h>

#define OE_TRACEPARENT_LEN 55 /* W3C Trace Context 3.2: 2 + 1 + 32 + 1 + 16 + 1 + 2 */
#define OE_TRACEPARENT_BUF 56 /* one more: the character after version 00's part decides about later versions */

#define OE_TRACE_FLAG_SAMPLED 0x01
#define OE_TRACE_FLAG_RANDOM 0x02 /* Level 2 */
#define OE_TRACE_FLAGS_KNOWN (OE_TRACE_FLAG_SAMPLED | OE_TRACE_FLAG_RANDOM)

/* Unrolled, the loops below would spill more to the 512 bytes of stack than they are worth. */
#ifdef __clang__
#define __OE_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define __OE_ROLLED
#endif

/* Lower-case digit of 0 to 15, without a branch: (9 - value) >> 31 is 1 for 10 to 15. */
OE_INLINE __u32 __oe_hex_digit(__u32 value)
{
	return '0' + value + ('a' - '0' - 10) * ((9 - value) >> 31);
}

/* Value of a lower-case digit.  *bad becomes non-zero for any other character: its digit is not what was read. */
OE_INLINE __u32 __oe_hex_value(char text, __u32 *bad)
{
	__u32 byte = (__u8)text;
	__u32 value = ((byte & 0xf) + 9 * (byte >> 6)) & 0xf; /* 'a' is 0x61 */

	*bad |= byte ^ __oe_hex_digit(value);
	return value;
}

/* Writes 2 * size lower-case digits, no NUL.  size must be a compile-time constant. */
OE_INLINE void oe_hex_put(char *out, const __u8 *bytes, __u32 size)
{
	__OE_ROLLED
	for (__u32 i = 0; i < size; i++) {
		out[2 * i] = (char)__oe_hex_digit(bytes[i] >> 4);
		out[2 * i + 1] = (char)__oe_hex_digit(bytes[i] & 0xf);
	}
}

/* Reads 2 * size characters: 0, or non-zero when one was no lower-case digit.  size must be a compile-time constant. */
OE_INLINE __u32 oe_hex_get(__u8 *out, const char *text, __u32 size)
{
	__u32 bad = 0;

	__OE_ROLLED
	for (__u32 i = 0; i < size; i++) {
		__u32 high = __oe_hex_value(text[2 * i], &bad);

		out[i] = (__u8)(high << 4 | __oe_hex_value(text[2 * i + 1], &bad));
	}
	return bad;
}

OE_INLINE int oe_bytes_are_zero(const __u8 *bytes, __u32 size)
{
	__u32 any = 0;

	__OE_ROLLED
	for (__u32 i = 0; i < size; i++)
		any |= bytes[i];
	return any == 0;
}

/* Writes exactly OE_TRACEPARENT_LEN characters, no NUL; unknown flag bits as 0.  The ids must not be all zero. */
OE_INLINE void oe_traceparent_write(char out[OE_TRACEPARENT_LEN], const struct oe_trace_ctx *ctx)
{
	__u8 flags = ctx->flags & OE_TRACE_FLAGS_KNOWN;

	out[0] = '0';
	out[1] = '0';
	out[2] = '-';
	oe_hex_put(out + 3, ctx->trace_id, 16);
	out[35] = '-';
	oe_hex_put(out + 36, ctx->span_id, 8);
	out[52] = '-';
	oe_hex_put(out + 53, &flags, 1);
}

OE_INLINE int __oe_traceparent_read(struct oe_trace_ctx *out, const char *text, __u32 len)
{
	__u8 version;
	__u32 bad;

	if (len < OE_TRACEPARENT_LEN)
		return -EINVAL;
	if (oe_hex_get(&version, text, 1) || version == 0xff)
		return -EINVAL;
	if (len > OE_TRACEPARENT_LEN && (version == 0 || text[OE_TRACEPARENT_LEN] != '-'))
		return -EINVAL;
	if (text[2] != '-' || text[35] != '-' || text[52] != '-')
		return -EINVAL;
	bad = oe_hex_get(out->trace_id, text + 3, 16);
	bad |= oe_hex_get(out->span_id, text + 36, 8);
	bad |= oe_hex_get(&out->flags, text + 53, 1);
	out->flags &= OE_TRACE_FLAGS_KNOWN;
	if (bad || oe_bytes_are_zero(out->trace_id, 16) || oe_bytes_are_zero(out->span_id, 8))
		return -EINVAL;
	return 0;
}

/* Reads a header value of len bytes without surrounding whitespace, of which text holds the first OE_TRACEPARENT_BUF
 * (or all, when there are fewer; the rest may be anything readable).  0, or -EINVAL with *out all zero.
 */
OE_INLINE int oe_traceparent_parse(struct oe_trace_ctx *out, const char text[OE_TRACEPARENT_BUF], __u32 len)
{
	int err;

	__builtin_memset(out, 0, sizeof(*out));
	err = __oe_traceparent_read(out, text, len);
	if (err)
		__builtin_memset(out, 0, sizeof(*out));
	return err;
}

/* Host tests define it before including this file. */
#ifndef OE_PRANDOM_U32
#if OE_BPF_SIDE
#define OE_PRANDOM_U32() bpf_get_prandom_u32()
#endif
#endif

#ifdef OE_PRANDOM_U32
OE_INLINE void __oe_random_word(__u8 out[4])
{
	__u32 word = OE_PRANDOM_U32();

	__builtin_memcpy(out, &word, sizeof(word));
}

/* A random span id, never all zero. */
OE_INLINE void oe_random_id8(__u8 out[8])
{
	__oe_random_word(out);
	__oe_random_word(out + 4);
	if (oe_bytes_are_zero(out, 8))
		out[7] = 1;
}

/* A random trace id, never all zero. */
OE_INLINE void oe_random_id16(__u8 out[16])
{
	__oe_random_word(out);
	__oe_random_word(out + 4);
	__oe_random_word(out + 8);
	__oe_random_word(out + 12);
	if (oe_bytes_are_zero(out, 16))
		out[15] = 1;
}
#endif

#endif
