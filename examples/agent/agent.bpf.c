/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* What the agent can trace: a list of includes. */
#include <otel_ebpf/vmlinux_min.h>

#include <otel_ebpf/probes/goroutines.programs.h>
#include <otel_ebpf/probes/net_http.programs.h>

#include <ledger.programs.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";
