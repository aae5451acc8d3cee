/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* One sample of context_reader. It knows the shared map by its pin and layout only, so it includes no header of ours. */
#ifndef CONTEXT_READER_H
#define CONTEXT_READER_H

#include <linux/types.h>

#define READER_PROCESSES 16
#define READER_FRAMES 48

struct reader_sample {
	__u64 time_ns;      /* CLOCK_MONOTONIC */
	__u64 pid_tgid;
	__u8 context[24];   /* trace id, span id */
	__u32 has_context;
	__s32 stack_bytes;  /* of ips; below 0: error */
	__u64 ips[READER_FRAMES]; /* user stack, innermost first */
};

#endif
