/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Including this adds the attach points of the coroutine server's Probes to a BPF object. */
#ifndef CORO_PROGRAMS_H
#define CORO_PROGRAMS_H

#include <coro.bpf.h>
#include <otel_ebpf/thread.programs.h>

/* clang-format off */
OE_UPROBE(coro_spawned)    { return coro_task_begin(ctx); }
OE_UPROBE(coro_run)        { return coro_task_resume(ctx); }
OE_UPROBE(coro_park)       { return coro_task_suspend(ctx); }
OE_UPROBE(coro_retired)    { return coro_task_end(ctx); }
OE_UPROBE(coro_open)       { return coro_exchange_start(ctx); }
OE_UPROBE(coro_finish)     { return coro_exchange_end(ctx); }
OE_UPROBE(coro_step)       { return coro_step_start(ctx); }
OE_UPROBE(coro_step_done)  { return coro_step_end(ctx); }
/* clang-format on */

#endif
