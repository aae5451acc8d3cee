/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The Probes of both C++ servers, and publication of their current spans for profilers. */
#include <otel_ebpf/vmlinux_min.h>

#include <coro.programs.h>
#include <otel_ebpf/publish.programs.h>
#include <pool.programs.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";
