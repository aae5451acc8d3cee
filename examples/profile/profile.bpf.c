/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* What the profiler runs in the kernel. */
#include <otel_ebpf/vmlinux_min.h>

#include <otel_ebpf/profile.programs.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";
