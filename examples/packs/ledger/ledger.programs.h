/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Including this adds the attach points of the ledger Probe to a BPF object. */
#ifndef LEDGER_PROGRAMS_H
#define LEDGER_PROGRAMS_H

#include <ledger.bpf.h>
#include <otel_ebpf/process.programs.h>

/* clang-format off */
OE_UPROBE(ledger_start) { return ledger_settle_start(ctx); }
OE_UPROBE(ledger_end)   { return ledger_settle_end(ctx); }
/* clang-format on */

#endif
