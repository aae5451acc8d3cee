/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* For Probes of threads and tasks: a thread that ends leaves neither an open span nor a published context behind. */
#ifndef OTEL_EBPF_THREAD_PROGRAMS_H
#define OTEL_EBPF_THREAD_PROGRAMS_H

#include <otel_ebpf/process.programs.h>
#include <otel_ebpf/thread_span.bpf.h>

/* Of every thread that ends. */
SEC("raw_tp/sched_process_exit") int oe_thread_exit(struct bpf_raw_tracepoint_args *ctx)
{
	(void)ctx;
	return oe_thread_leave();
}

#endif
