/* SPDX-License-Identifier: Apache-2.0 */
/* Copyright The otel_ebpf Authors */
/* A program in C99 with nothing but libbpf and our headers; /proc is no bpffs, so nothing of the machine is touched. */
#include <otel_ebpf/traces_ctx.h>

int main(void)
{
	char text[OE_PIN_TEXT_SIZE];
	enum oe_sharing sharing;
	const int map = oe_traces_ctx_open("/proc", &sharing, text, sizeof(text));

	puts(text);
	if (map >= 0)
		close(map);
	return map >= 0 ? sharing != OE_SHARING_PRIVATE : sharing != OE_SHARING_NONE || !*text;
}
