/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* The net/http Probe, to be attached and detached over and over. */
#include <otel_ebpf/vmlinux_min.h>

#include <otel_ebpf/probes/net_http.programs.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";
