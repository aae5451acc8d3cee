/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/*
 * HTTP server spans of Go's net/http: the record, and the handlers that fill it.
 *
 * 1. serverHandler.ServeHTTP starts the span: reads Request whole, finds traceparent in the header map, copies the texts.
 * 2. ServeMux.ServeHTTP, after findHandler, notes the route.
 * 3. response.finishRequest (HTTP/1) or the deferred function of runHandler (HTTP/2) ends it; a hijacked connection and
 *    a panic end it in the deferred function of conn.serve.
 */
#ifndef OTEL_EBPF_PROBES_NET_HTTP_BPF_H
#define OTEL_EBPF_PROBES_NET_HTTP_BPF_H

#include <otel_ebpf/types.h>

enum oe_http_outcome {
	OE_HTTP_FINISHED = 0,
	OE_HTTP_HIJACKED = 1, /* the handler took the connection over */
	OE_HTTP_ABORTED = 2,  /* panic or runtime.Goexit */
};

/* Bits of oe_event_header.truncated. */
enum oe_http_text {
	OE_HTTP_METHOD,
	OE_HTTP_TARGET,
	OE_HTTP_HOST,
	OE_HTTP_PEER,
	OE_HTTP_USER_AGENT,
	OE_HTTP_ROUTE,
};

#define OE_HTTP_METHOD_MAX 16
#define OE_HTTP_TARGET_MAX 512
#define OE_HTTP_HOST_MAX 96
#define OE_HTTP_PEER_MAX 56
#define OE_HTTP_USER_AGENT_MAX 128
#define OE_HTTP_ROUTE_MAX 128

/*
 * Behind it follow, without padding or terminators: peer, method (and a space, when `joined`), request target, host, user
 * agent, route pattern.
 */
struct oe_http_server_event {
	struct oe_span_event span;
	__s64 request_body_bytes; /* Content-Length; -1 unknown */
	__u64 response_body_bytes;
	__u16 status;             /* 0: none was written */
	__u16 target_len;
	__u8 method_len;
	__u8 host_len;
	__u8 peer_len;
	__u8 user_agent_len;
	__u8 route_len;
	__u8 proto_major;
	__u8 proto_minor;
	__u8 tls;
	__u8 outcome; /* enum oe_http_outcome */
	__u8 joined;  /* method and target came as one text, with the space between them */
	__u8 pad[2];
};
OE_STATIC_ASSERT(sizeof(struct oe_http_server_event) == 104, "HTTP server record is 104 bytes before its texts");

#if OE_BPF_SIDE
#include <otel_ebpf/go_map.bpf.h>
#include <otel_ebpf/text.bpf.h>

const volatile __u16 oe_e_http_server __weak = 0; /* event kind */

const volatile __u16 oe_f_request_method __weak = OE_NO_SLOT;
const volatile __u16 oe_f_request_proto_major __weak = OE_NO_SLOT;
const volatile __u16 oe_f_request_proto_minor __weak = OE_NO_SLOT;
const volatile __u16 oe_f_request_header __weak = OE_NO_SLOT;
const volatile __u16 oe_f_request_content_length __weak = OE_NO_SLOT;
const volatile __u16 oe_f_request_host __weak = OE_NO_SLOT;
const volatile __u16 oe_f_request_remote_addr __weak = OE_NO_SLOT;
const volatile __u16 oe_f_request_request_uri __weak = OE_NO_SLOT;
const volatile __u16 oe_f_request_tls __weak = OE_NO_SLOT;
const volatile __u16 oe_f_request_pattern __weak = OE_NO_SLOT;
const volatile __u16 oe_f_response_written __weak = OE_NO_SLOT;
const volatile __u16 oe_f_response_status __weak = OE_NO_SLOT;
const volatile __u16 oe_f_http2_rws __weak = OE_NO_SLOT;
const volatile __u16 oe_f_http2_rws_status __weak = OE_NO_SLOT;
const volatile __u16 oe_f_http2_rws_wrote_bytes __weak = OE_NO_SLOT;
const volatile __u16 oe_f_http2_x_rws __weak = OE_NO_SLOT; /* golang.org/x/net/http2 */
const volatile __u16 oe_f_http2_x_rws_status __weak = OE_NO_SLOT;
const volatile __u16 oe_f_http2_x_rws_wrote_bytes __weak = OE_NO_SLOT;
const volatile __u16 oe_f_http2_attached __weak = OE_NO_SLOT;     /* 1: the end of HTTP/2 requests is hooked */
const volatile __u16 oe_f_http2_x_attached __weak = OE_NO_SLOT;
const volatile __u16 oe_f_http_route_attached __weak = OE_NO_SLOT; /* 1: ServeMux reports routes */
const volatile __u16 oe_f_go_swiss_maps __weak = OE_NO_SLOT;
const volatile __u16 oe_f_go_bucket_maps __weak = OE_NO_SLOT;
const volatile __u16 oe_f_go_no_swiss_maps __weak = OE_NO_SLOT;    /* 1: built with that experiment */
const volatile __u16 oe_f_go_split_groups __weak = OE_NO_SLOT;     /* likewise */

const volatile __u8 oe_o_http_user_agent __weak = 1;

/*
 * Up to the end of Request.TLS: every field above but Pattern, in every release. Not a byte more than a Request has (248
 * in go1.19): what lies behind it may be on a page that is not there, and then the whole read fails.
 */
#define OE_HTTP_REQUEST_BYTES 216

/* The texts of a request in target memory. */
struct oe_http_texts {
	struct oe_go_string method, target, host, peer, user_agent;
};

/*
 * What is read before the texts is kept in the part of the record that they will fill, not on the stack: the verifier
 * takes memory of a map for unknown and need not follow each combination of missing facts.
 */
#define OE_HTTP_SCRATCH_AT 424
#define OE_HTTP_TEXTS_AT 960
OE_STATIC_ASSERT(OE_HTTP_SCRATCH_AT + sizeof(struct oe_go_map_walk) <= OE_HTTP_TEXTS_AT, "scratch and texts don't overlap");
OE_STATIC_ASSERT(OE_HTTP_TEXTS_AT + sizeof(struct oe_http_texts) <= OE_RECORD_BYTES, "both lie in the record");

/* oe_live_span.user */
#define OE_HTTP_USER_WRITER 0  /* address of the response (HTTP/1) or response writer (HTTP/2) */
#define OE_HTTP_USER_REQUEST 1 /* address of the Request */
#define OE_HTTP_USER_LENGTH 2  /* record length before the route */

/* A word of the Request that was read to the scratch area; 0 when the fact is missing. */
OE_INLINE __u64 __oe_http_word(const struct oe_live_span *span, __u64 offset)
{
	if (offset > OE_HTTP_REQUEST_BYTES - 8) {
		oe_count(OE_STAT_FACT_MISSING);
		return 0;
	}
	return *(__u64 *)(span->record + OE_HTTP_SCRATCH_AT + (offset & 0x1f8));
}

OE_INLINE void __oe_http_string(const struct oe_hit *hit, struct oe_live_span *span, __u16 slot,
				struct oe_go_string *text)
{
	__u64 offset = oe_fact(hit->exe, slot);

	text->ptr = __oe_http_word(span, offset);
	text->len = __oe_http_word(span, offset + 8);
}

/* Everything about the request that is in the Request itself; returns the address of its header map. */
OE_NOINLINE __u64 __oe_http_read_request(const struct oe_hit *hit, struct oe_live_span *span)
{
	struct oe_http_server_event *event;
	struct oe_http_texts *texts;

	if (!hit || !span)
		return 0;
	event = (struct oe_http_server_event *)span->record;
	texts = (struct oe_http_texts *)(span->record + OE_HTTP_TEXTS_AT);
	oe_read(span->record + OE_HTTP_SCRATCH_AT, OE_HTTP_REQUEST_BYTES, span->user[OE_HTTP_USER_REQUEST]);
	__oe_http_string(hit, span, oe_f_request_method, &texts->method);
	__oe_http_string(hit, span, oe_f_request_request_uri, &texts->target);
	__oe_http_string(hit, span, oe_f_request_host, &texts->host);
	__oe_http_string(hit, span, oe_f_request_remote_addr, &texts->peer);
	event->proto_major = __oe_http_word(span, oe_fact(hit->exe, oe_f_request_proto_major));
	event->proto_minor = __oe_http_word(span, oe_fact(hit->exe, oe_f_request_proto_minor));
	event->request_body_bytes = __oe_http_word(span, oe_fact(hit->exe, oe_f_request_content_length));
	event->tls = __oe_http_word(span, oe_fact(hit->exe, oe_f_request_tls)) != 0;
	return __oe_http_word(span, oe_fact(hit->exe, oe_f_request_header));
}

/* Trace context of the request: true when a valid traceparent came with it. */
OE_NOINLINE int __oe_http_traceparent(const struct oe_go_slice *value, struct oe_trace_ctx *remote)
{
	char text[OE_TRACEPARENT_BUF] = {};
	struct oe_go_string string;
	__u64 len;

	if (!value || !remote)
		return 0;
	/* W3C conformance: two traceparent headers count as none. */
	if (value->len != 1)
		goto bad;
	if (oe_read(&string, sizeof(string), value->ptr))
		return 0;
	len = string.len < OE_TRACEPARENT_BUF ? string.len : OE_TRACEPARENT_BUF;
	OE_OPAQUE(len);
	if (len < OE_TRACEPARENT_LEN || len > OE_TRACEPARENT_BUF)
		goto bad;
	if (oe_read(text, len, string.ptr))
		return 0;
	if (!oe_traceparent_parse(remote, text, (__u32)string.len))
		return 1;
bad:
	oe_count(OE_STAT_BAD_TRACEPARENT);
	return 0;
}

/* enum oe_go_map_layout; -1 when it is not known. */
OE_INLINE int __oe_http_map_layout(const struct oe_exe *exe)
{
	if (oe_fact(exe, oe_f_go_bucket_maps) == 1 || oe_fact(exe, oe_f_go_no_swiss_maps) == 1)
		return OE_GO_MAP_BUCKETS;
	if (oe_fact(exe, oe_f_go_swiss_maps) != 1)
		return -1;
	return oe_fact(exe, oe_f_go_split_groups) == 1 ? OE_GO_MAP_SPLIT_GROUPS : OE_GO_MAP_GROUPS;
}

/* Finds traceparent and User-Agent in the header map. */
OE_NOINLINE int __oe_http_find_headers(const struct oe_hit *hit, struct oe_live_span *span, __u64 header_map)
{
	struct oe_go_map_walk *walk;
	int layout;

	if (!hit || !span)
		return 0;
	walk = (struct oe_go_map_walk *)(span->record + OE_HTTP_SCRATCH_AT);
	oe_go_map_begin(walk);
	layout = __oe_http_map_layout(hit->exe);
	if (layout < 0) {
		oe_count(OE_STAT_FACT_MISSING);
		return 0;
	}
	__builtin_memcpy(walk->wanted[0].key, "Traceparent", 11);
	walk->wanted[0].key_len = 11;
	if (oe_o_http_user_agent) {
		__builtin_memcpy(walk->wanted[1].key, "User-Agent", 10);
		walk->wanted[1].key_len = 10;
	} else {
		walk->wanted[1].found = 1;
	}
	oe_go_map_find(walk, header_map, layout);
	if (walk->incomplete)
		oe_count(OE_STAT_HEADERS_INCOMPLETE);
	return 0;
}

/* Trace id and parent: of the request's traceparent, else of the enclosing span, else a new root. */
OE_NOINLINE int __oe_http_set_parent(const struct oe_hit *hit, struct oe_live_span *span)
{
	const struct oe_go_map_walk *walk;
	struct oe_go_slice value;
	struct oe_trace_ctx remote;

	if (!hit || !span)
		return 0;
	walk = (const struct oe_go_map_walk *)(span->record + OE_HTTP_SCRATCH_AT);
	if (walk->wanted[0].found) {
		value = walk->wanted[0].value;
		if (__oe_http_traceparent(&value, &remote)) {
			oe_span_continue(hit, span, &remote);
			return 0;
		}
	}
	return oe_span_inherit(hit, span);
}

OE_NOINLINE int __oe_http_read_user_agent(struct oe_live_span *span)
{
	const struct oe_go_map_walk *walk;
	struct oe_http_texts *texts;

	if (!span)
		return 0;
	walk = (const struct oe_go_map_walk *)(span->record + OE_HTTP_SCRATCH_AT);
	texts = (struct oe_http_texts *)(span->record + OE_HTTP_TEXTS_AT);
	texts->user_agent.len = 0;
	if (oe_o_http_user_agent && walk->wanted[1].found && walk->wanted[1].value.len)
		oe_read(&texts->user_agent, sizeof(texts->user_agent), walk->wanted[1].value.ptr);
	return 0;
}

/*
 * The peer's address comes first, always at the same place: on a connection's goroutine it is there from the request
 * before, if that was the same string.
 */
OE_NOINLINE int __oe_http_copy_peer(struct oe_live_span *span, const struct oe_go_string *peer)
{
	struct oe_http_server_event *event;

	if (!span || !peer)
		return 0;
	event = (struct oe_http_server_event *)span->record;
	if (span->sticky == peer->ptr && peer->ptr && peer->len <= OE_HTTP_PEER_MAX) {
		event->peer_len = peer->len;
		event->span.header.size_bytes += peer->len;
		return 0;
	}
	event->peer_len = oe_text_append(span, peer, OE_HTTP_PEER_MAX, OE_HTTP_PEER);
	span->sticky = event->peer_len == peer->len ? peer->ptr : 0;
	return 0;
}

/* Of HTTP/1, method and target are parts of one string, the request line: one read gives both. */
OE_NOINLINE int __oe_http_copy_request_line(struct oe_live_span *span, struct oe_http_texts *texts)
{
	struct oe_http_server_event *event;
	struct oe_go_string line;

	if (!span || !texts)
		return 0;
	event = (struct oe_http_server_event *)span->record;
	if (texts->target.ptr == texts->method.ptr + texts->method.len + 1 && texts->method.len <= OE_HTTP_METHOD_MAX &&
	    texts->target.len < OE_HTTP_TARGET_MAX - OE_HTTP_METHOD_MAX) {
		line.ptr = texts->method.ptr;
		line.len = texts->method.len + 1 + texts->target.len;
		if (oe_text_append(span, &line, OE_HTTP_TARGET_MAX, OE_HTTP_TARGET) != line.len)
			return 0;
		event->joined = 1;
		event->method_len = texts->method.len;
		event->target_len = texts->target.len;
		return 0;
	}
	event->method_len = oe_text_append(span, &texts->method, OE_HTTP_METHOD_MAX, OE_HTTP_METHOD);
	event->target_len = oe_text_append(span, &texts->target, OE_HTTP_TARGET_MAX, OE_HTTP_TARGET);
	return 0;
}

/* Copies the texts behind the fixed part of the record. */
OE_NOINLINE int __oe_http_copy_texts(struct oe_live_span *span)
{
	struct oe_http_server_event *event;
	struct oe_http_texts texts;

	if (!span)
		return 0;
	event = (struct oe_http_server_event *)span->record;
	/* The texts may fill the place where they are kept. */
	texts = *(struct oe_http_texts *)(span->record + OE_HTTP_TEXTS_AT);
	__oe_http_copy_peer(span, &texts.peer);
	__oe_http_copy_request_line(span, &texts);
	event->host_len = oe_text_append(span, &texts.host, OE_HTTP_HOST_MAX, OE_HTTP_HOST);
	event->user_agent_len = oe_text_append(span, &texts.user_agent, OE_HTTP_USER_AGENT_MAX, OE_HTTP_USER_AGENT);
	span->user[OE_HTTP_USER_LENGTH] = event->span.header.size_bytes;
	return 0;
}

/* HTTP/2 requests whose end is not hooked would stay open for ever. */
OE_INLINE bool __oe_http_is_endless(const struct oe_hit *hit, const struct oe_http_server_event *event)
{
	return event->proto_major >= 2 && oe_fact(hit->exe, oe_f_http2_attached) != 1 &&
	       oe_fact(hit->exe, oe_f_http2_x_attached) != 1;
}

/* net/http.serverHandler.ServeHTTP(serverHandler{srv}, ResponseWriter{itab, data}, *Request) */
OE_INLINE int oe_http_server_start(struct pt_regs *ctx)
{
	struct oe_live_span *span;
	struct oe_hit hit;
	__u64 header_map;

	if (!oe_hit_begin(&hit, ctx, oe_e_http_server))
		return 0;
	span = oe_span_open_only(&hit, sizeof(struct oe_http_server_event));
	if (!span)
		return 0;
	span->user[OE_HTTP_USER_WRITER] = OE_GO_ARG2(ctx);
	span->user[OE_HTTP_USER_REQUEST] = OE_GO_ARG3(ctx);
	header_map = __oe_http_read_request(&hit, span);
	if (__oe_http_is_endless(&hit, (struct oe_http_server_event *)span->record)) {
		oe_count(OE_STAT_FACT_MISSING);
		return oe_span_discard(&hit, span);
	}
	__oe_http_find_headers(&hit, span, header_map);
	__oe_http_set_parent(&hit, span);
	__oe_http_read_user_agent(span);
	return __oe_http_copy_texts(span);
}

/* The last pattern counts: an inner ServeMux knows more than the one around it. */
OE_NOINLINE int __oe_http_set_route(struct oe_live_span *span, const struct oe_go_string *pattern)
{
	struct oe_http_server_event *event;

	if (!span || !pattern || !pattern->len)
		return 0;
	event = (struct oe_http_server_event *)span->record;
	event->span.header.size_bytes = span->user[OE_HTTP_USER_LENGTH];
	event->route_len = oe_text_append(span, pattern, OE_HTTP_ROUTE_MAX, OE_HTTP_ROUTE);
	return 0;
}

/* net/http.(*ServeMux).ServeHTTP, after findHandler returned (Handler{2 words}, pattern string, ...) */
OE_INLINE int oe_http_server_route(struct pt_regs *ctx)
{
	struct oe_go_string pattern;
	struct oe_hit hit;

	if (!oe_hit_begin(&hit, ctx, oe_e_http_server))
		return 0;
	pattern.ptr = OE_GO_RESULT2(ctx);
	pattern.len = OE_GO_RESULT3(ctx);
	return __oe_http_set_route(oe_span_innermost(&hit), &pattern);
}

/* Without the site in ServeMux: Request.Pattern, as far as the request was not copied. */
OE_NOINLINE int __oe_http_read_pattern(const struct oe_hit *hit, struct oe_live_span *span)
{
	struct oe_go_string pattern;
	__u16 offset;

	if (!hit || !span || oe_fact(hit->exe, oe_f_http_route_attached) == 1)
		return 0;
	offset = oe_fact(hit->exe, oe_f_request_pattern);
	if (offset == OE_UNKNOWN || oe_read(&pattern, sizeof(pattern), span->user[OE_HTTP_USER_REQUEST] + offset))
		return 0;
	return __oe_http_set_route(span, &pattern);
}

/* Status and body size of an HTTP/1 response. */
OE_NOINLINE int __oe_http_read_response(const struct oe_hit *hit, struct oe_live_span *span)
{
	struct oe_http_server_event *event;
	__u64 words[3]; /* written, contentLength, status: neighbours so far */
	__u16 written, status;
	__u64 response;

	if (!hit || !span)
		return 0;
	event = (struct oe_http_server_event *)span->record;
	response = span->user[OE_HTTP_USER_WRITER];
	written = oe_fact(hit->exe, oe_f_response_written);
	status = oe_fact(hit->exe, oe_f_response_status);
	if (status == OE_UNKNOWN) {
		oe_count(OE_STAT_FACT_MISSING);
		return 0;
	}
	if (written != OE_UNKNOWN && status == written + 16) {
		oe_read(words, sizeof(words), response + written);
		event->response_body_bytes = words[0];
		event->status = words[2];
		return 0;
	}
	event->status = oe_read_u64(response + status);
	if (written != OE_UNKNOWN)
		event->response_body_bytes = oe_read_u64(response + written);
	return 0;
}

/* net/http.(*response).finishRequest(*response): after the handler returned, unless it hijacked the connection. */
OE_INLINE int oe_http_server_end(struct pt_regs *ctx)
{
	struct oe_http_server_event *event;
	struct oe_live_span *span;
	struct oe_hit hit;

	if (!oe_hit_begin(&hit, ctx, oe_e_http_server))
		return 0;
	span = oe_span_end(&hit);
	if (!span)
		return 0;
	event = (struct oe_http_server_event *)span->record;
	__oe_http_read_response(&hit, span);
	if (!event->status)
		event->status = 200; /* finishRequest writes it when the handler wrote none */
	__oe_http_read_pattern(&hit, span);
	return oe_span_emit(&hit, span);
}

/* net/http.(*conn).serve.func1, deferred: a request still open here was hijacked, or its handler panicked. */
OE_INLINE int oe_http_server_conn_end(struct pt_regs *ctx)
{
	struct oe_http_server_event *event;
	struct oe_live_span *span;
	struct oe_hit hit;

	if (!oe_hit_begin(&hit, ctx, oe_e_http_server))
		return 0;
	span = oe_span_innermost(&hit);
	if (!span)
		return 0;
	event = (struct oe_http_server_event *)span->record;
	event->outcome = oe_go_panicking(&hit) ? OE_HTTP_ABORTED : OE_HTTP_HIJACKED;
	/* conn.curReq keeps the response alive. */
	__oe_http_read_response(&hit, span);
	__oe_http_read_pattern(&hit, span);
	return oe_span_emit(&hit, span);
}

/* Status and body size of an HTTP/2 response; slots: of responseWriter.rws, responseWriterState.status and .wroteBytes. */
OE_NOINLINE int __oe_http_end_http2(const struct oe_hit *hit, __u16 rws_slot, __u16 status_slot, __u16 bytes_slot)
{
	__u16 rws_offset, status_offset, bytes_offset;
	struct oe_http_server_event *event;
	struct oe_live_span *span;
	__u64 rws;

	if (!hit)
		return 0;
	span = oe_span_end(hit);
	if (!span)
		return 0;
	event = (struct oe_http_server_event *)span->record;
	if (oe_go_panicking(hit))
		event->outcome = OE_HTTP_ABORTED;
	rws_offset = oe_fact(hit->exe, rws_slot);
	status_offset = oe_fact(hit->exe, status_slot);
	bytes_offset = oe_fact(hit->exe, bytes_slot);
	if (rws_offset == OE_UNKNOWN || status_offset == OE_UNKNOWN || bytes_offset == OE_UNKNOWN) {
		oe_count(OE_STAT_FACT_MISSING);
	} else {
		rws = oe_read_u64(span->user[OE_HTTP_USER_WRITER] + rws_offset);
		event->status = oe_read_u64(rws + status_offset);
		event->response_body_bytes = oe_read_u64(rws + bytes_offset);
		if (!event->status && event->outcome == OE_HTTP_FINISHED)
			event->status = 200;
	}
	__oe_http_read_pattern(hit, span);
	return oe_span_emit(hit, span);
}

/* net/http.(*http2serverConn).runHandler.func1, deferred: also after a panic. */
OE_INLINE int oe_http_server_http2_end(struct pt_regs *ctx)
{
	struct oe_hit hit;

	if (!oe_hit_begin(&hit, ctx, oe_e_http_server))
		return 0;
	return __oe_http_end_http2(&hit, oe_f_http2_rws, oe_f_http2_rws_status, oe_f_http2_rws_wrote_bytes);
}

/* The same function in golang.org/x/net/http2, which a program may configure in place of the built-in one. */
OE_INLINE int oe_http_server_http2_x_end(struct pt_regs *ctx)
{
	struct oe_hit hit;

	if (!oe_hit_begin(&hit, ctx, oe_e_http_server))
		return 0;
	return __oe_http_end_http2(&hit, oe_f_http2_x_rws, oe_f_http2_x_rws_status, oe_f_http2_x_rws_wrote_bytes);
}
#endif
#endif
