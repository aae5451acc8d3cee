/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* A process table of another size than everybody else's. */
#include <otel_ebpf/vmlinux_min.h>

#define OE_MAX_PROCESSES 16
#include "tiny.h"
