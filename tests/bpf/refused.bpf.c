/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* One program that loads beside one that the verifier refuses. */
#include <otel_ebpf/vmlinux_min.h>

#include "tiny.h"

OE_UPROBE(reads_null)
{
	__u32 nobody = 0;
	const struct oe_process *process = bpf_map_lookup_elem(&oe_processes, &nobody);

	(void)ctx;
	return process->exe_row; /* without a look whether there is one */
}
