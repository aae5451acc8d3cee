/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Including this adds the attach points of the thread pool's Probes to a BPF object. */
#ifndef POOL_PROGRAMS_H
#define POOL_PROGRAMS_H

#include <otel_ebpf/thread.programs.h>
#include <pool.bpf.h>

/* clang-format off */
OE_UPROBE(pool_start)      { return pool_exchange_start(ctx); }
OE_UPROBE(pool_end)        { return pool_exchange_end(ctx); }
OE_UPROBE(pool_charge)     { return pool_charge_start(ctx); }
OE_UPROBE(pool_charged)    { return pool_charge_end(ctx); }
/* clang-format on */

#endif
