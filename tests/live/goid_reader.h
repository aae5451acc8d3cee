/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* What both sides of goid_reader share. */
#ifndef OTEL_EBPF_TESTS_GOID_READER_H
#define OTEL_EBPF_TESTS_GOID_READER_H

#include <otel_ebpf/types.h>

/* Where the id of the current goroutine was read. */
enum goid_context {
	GOID_REGISTER,   /* uprobe in Go code, from the register that holds g */
	GOID_UPROBE,     /* the same uprobe, as from any other program */
	GOID_TRACEPOINT, /* entry of a system call */
	GOID_SAMPLE,     /* clock tick in Go code */
	GOID_SAMPLE_C,   /* clock tick in C code that Go code called */
	GOID_CONTEXTS,
};

struct goid_counts {
	__u64 right;
	__u64 none; /* no goroutine was found */
	__u64 wrong;
	__u64 told; /* of the last wrong one: what the program said, and what was read */
	__u64 read;
};

#endif
