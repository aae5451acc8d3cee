/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* As if compiled against BPF headers of another version. */
#include <otel_ebpf/vmlinux_min.h>

#include <otel_ebpf/types.h>
#undef OE_ABI_VERSION
#define OE_ABI_VERSION 4711
#include "tiny.h"
