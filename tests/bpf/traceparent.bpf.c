/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* traceparent.bpf.h inside the kernel: user space writes the inputs into .bss and reads the results there. */
#include <otel_ebpf/vmlinux_min.h>
#include <bpf/bpf_helpers.h>
#include <otel_ebpf/traceparent.bpf.h>

char text[OE_TRACEPARENT_BUF];
__u32 text_size_bytes;
int parse_result;
struct oe_trace_ctx context;
char written[OE_TRACEPARENT_LEN];
__u8 trace_id[16];
__u8 span_id[8];

/* From the stack, as a handler that has read the header from the target does. */
SEC("tc")
int parse_text(void *ctx)
{
	char buf[OE_TRACEPARENT_BUF];

	if (bpf_probe_read_kernel(buf, sizeof(buf), text))
		return 1;
	parse_result = oe_traceparent_parse(&context, buf, text_size_bytes);
	return 0;
}

SEC("tc")
int write_text(void *ctx)
{
	oe_traceparent_write(written, &context);
	return 0;
}

SEC("tc")
int make_ids(void *ctx)
{
	oe_random_id16(trace_id);
	oe_random_id8(span_id);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
