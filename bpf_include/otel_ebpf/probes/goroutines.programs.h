/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Including this adds the attach points of the goroutines Probe, and publication itself, to a BPF object. */
#ifndef OTEL_EBPF_PROBES_GOROUTINES_PROGRAMS_H
#define OTEL_EBPF_PROBES_GOROUTINES_PROGRAMS_H

#include <otel_ebpf/probes/goroutines.bpf.h>
#include <otel_ebpf/publish.programs.h>

/* clang-format off */
OE_UPROBE(oe_go_execute) { return oe_goroutines_execute(ctx); }
OE_UPROBE(oe_go_leave)   { return oe_goroutines_leave(ctx); }
OE_UPROBE(oe_go_runqput) { return oe_goroutines_runqput(ctx); }
/* clang-format on */

#endif
