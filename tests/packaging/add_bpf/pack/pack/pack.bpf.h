/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* Stands for the BPF header of a probe pack. */
#ifndef PACK_BPF_H
#define PACK_BPF_H
#define PACK_ANSWER ANSWER
#endif
