/* SPDX-License-Identifier: Apache-2.0 */
/* Copyright The otel_ebpf Authors */
/* context-reader SECONDS: samples all CPUs and prints which thread worked for which span, and how often. */
#define _GNU_SOURCE
#include <linux/perf_event.h>

#include <bpf/libbpf.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <otel_ebpf/traces_ctx.h>

#include "reader.skel.h"

enum { ticks_per_second = 97 };

/* What reader.bpf.c counts by. */
struct work {
	__u64 thread;
	struct oe_traces_ctx_v1 context;
};

/* The program, with the shared map in place of its own; NULL when something failed, and was reported. */
static struct reader_bpf *load(void)
{
	char text[OE_PIN_TEXT_SIZE];
	enum oe_sharing sharing;
	struct reader_bpf *reader;
	int contexts = oe_traces_ctx_open(NULL, &sharing, text, sizeof(text));

	if (*text)
		fprintf(stderr, "context-reader: %s\n", text);
	if (contexts < 0)
		return NULL;
	reader = reader_bpf__open();
	if (!reader || bpf_map__reuse_fd(reader->maps.traces_ctx_v1, contexts) || reader_bpf__load(reader)) {
		perror("context-reader: load");
		reader_bpf__destroy(reader);
		reader = NULL;
	}
	close(contexts); /* the object has a descriptor of its own */
	return reader;
}

/* Lasts until the process ends. */
static int sample_cpu(struct reader_bpf *reader, int cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.freq = 1,
		.sample_freq = ticks_per_second,
	};
	int event = (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);

	if (event < 0 || !bpf_program__attach_perf_event(reader->progs.on_tick, event)) {
		perror("context-reader: sample a CPU");
		return -1;
	}
	return 0;
}

static void print_hex(const __u8 *bytes, size_t size)
{
	for (size_t i = 0; i < size; ++i)
		printf("%02x", bytes[i]);
	putchar(' ');
}

static void print_ticks(int ticks)
{
	struct work work;
	void *previous = NULL;
	__u64 count;

	while (!bpf_map_get_next_key(ticks, previous, &work)) {
		previous = &work;
		if (bpf_map_lookup_elem(ticks, &work, &count))
			continue;
		printf("%" PRIu32 " %" PRIu32 " ", (__u32)(work.thread >> 32), (__u32)work.thread);
		print_hex(work.context.trace_id, sizeof(work.context.trace_id));
		print_hex(work.context.span_id, sizeof(work.context.span_id));
		printf("%" PRIu64 "\n", (uint64_t)count);
	}
}

int main(int argc, char **argv)
{
	const unsigned seconds = argc == 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
	struct reader_bpf *reader;

	if (!seconds) {
		fprintf(stderr, "usage: context-reader SECONDS\n");
		return 2;
	}
	reader = load();
	if (!reader)
		return 1;
	for (int cpu = 0; cpu < libbpf_num_possible_cpus(); ++cpu)
		if (sample_cpu(reader, cpu))
			return 1;
	sleep(seconds);
	print_ticks(bpf_map__fd(reader->maps.ticks));
	reader_bpf__destroy(reader);
	return 0;
}
