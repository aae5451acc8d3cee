/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Copyright The otel_ebpf Authors */
/* What both sides of go_labels share. */
#ifndef OTEL_EBPF_TESTS_GO_LABELS_SAMPLE_H
#define OTEL_EBPF_TESTS_GO_LABELS_SAMPLE_H

#include <otel_ebpf/types.h>

struct go_labels_target {
	__u32 tgid;
	__s32 tls_g_offset;
	__u16 m_offset;
	__u16 curg_offset;
	__u16 labels_offset;
	__u16 format;
};

struct go_labels_sample {
	__u64 ip;
	struct oe_go_labels labels;
	__u32 pad;
};

#endif
