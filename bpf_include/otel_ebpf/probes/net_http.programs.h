/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Including this adds the attach points of the net/http server Probe to a BPF object. */
#ifndef OTEL_EBPF_PROBES_NET_HTTP_PROGRAMS_H
#define OTEL_EBPF_PROBES_NET_HTTP_PROGRAMS_H

#include <otel_ebpf/probes/net_http.bpf.h>
#include <otel_ebpf/process.programs.h>

/* clang-format off */
OE_UPROBE(oe_http_start)     { return oe_http_server_start(ctx); }
OE_UPROBE(oe_http_route)     { return oe_http_server_route(ctx); }
OE_UPROBE(oe_http_end)       { return oe_http_server_end(ctx); }
OE_UPROBE(oe_http_conn_end)  { return oe_http_server_conn_end(ctx); }
OE_UPROBE(oe_http2_end)      { return oe_http_server_http2_end(ctx); }
OE_UPROBE(oe_http2_x_end)    { return oe_http_server_http2_x_end(ctx); }
/* clang-format on */

#endif
