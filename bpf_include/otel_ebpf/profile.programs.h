/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The sampler's program: attach it to a perf event per CPU, of the software clock cpu-clock. */
#ifndef OTEL_EBPF_PROFILE_PROGRAMS_H
#define OTEL_EBPF_PROFILE_PROGRAMS_H

#include <otel_ebpf/profile.bpf.h>

SEC("perf_event") int oe_sample(void *ctx)
{
	return oe_sample_take(ctx);
}

#endif
