/* SPDX-License-Identifier: Apache-2.0 */
/* Copyright The otel_ebpf Authors */
/*
 * foreign-writer PIN TRACE_ID SPAN_ID [burn]: another vendor's writer of the shared context map.
 *
 * Knows the pin and the layout, and none of our headers. Writes the entry of its own thread, prints "ready TGID TID",
 * burns CPU in foreign_burn() or waits, and takes the entry back at SIGTERM or SIGINT. kill -9 leaves it there.
 */
#define _GNU_SOURCE
#include <linux/bpf.h>

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct value {
	unsigned char trace_id[16];
	unsigned char span_id[8];
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/* `size` bytes of exactly so many lower-case digits; 0 or -1. */
static int parse_hex(const char *text, unsigned char *out, size_t size)
{
	if (strlen(text) != 2 * size || strspn(text, "0123456789abcdef") != 2 * size)
		return -1;
	for (size_t i = 0; i < size; ++i) {
		unsigned byte;

		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			return -1;
		out[i] = (unsigned char)byte;
	}
	return 0;
}

/* In profiles this name is on top. */
__attribute__((noinline)) uint64_t foreign_burn(uint64_t state)
{
	for (int i = 0; i < 1000000 && !ended; ++i) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
	}
	return state;
}

static int change_entry(int command, int map, uint64_t key, const struct value *value)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = (uint64_t)(uintptr_t)&key;
	attr.value = (uint64_t)(uintptr_t)value;
	return (int)bpf(command, &attr);
}

int main(int argc, char **argv)
{
	const uint64_t key = (uint64_t)getpid() << 32 | (uint32_t)syscall(SYS_gettid);
	struct sigaction action = {.sa_handler = on_signal};
	uint64_t state = key;
	sigset_t signals, before;
	union bpf_attr attr;
	struct value value;
	int map;

	if (argc < 4 || argc > 5 || (argc == 5 && strcmp(argv[4], "burn")) ||
	    parse_hex(argv[2], value.trace_id, sizeof(value.trace_id)) ||
	    parse_hex(argv[3], value.span_id, sizeof(value.span_id))) {
		fprintf(stderr, "usage: foreign-writer PIN TRACE_ID SPAN_ID [burn]\n");
		return 2;
	}
	memset(&attr, 0, sizeof(attr));
	attr.pathname = (uint64_t)(uintptr_t)argv[1];
	map = (int)bpf(BPF_OBJ_GET, &attr);
	if (map < 0) {
		fprintf(stderr, "foreign-writer: open %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, &before);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	if (change_entry(BPF_MAP_UPDATE_ELEM, map, key, &value)) {
		fprintf(stderr, "foreign-writer: write the entry: %s\n", strerror(errno));
		return 1;
	}
	printf("ready %u %u\n", (unsigned)(key >> 32), (unsigned)key);
	fflush(stdout);
	if (argc == 5) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		while (!ended)
			state = foreign_burn(state);
	} else {
		while (!ended)
			sigsuspend(&before);
	}
	if (change_entry(BPF_MAP_DELETE_ELEM, map, key, NULL) && errno != ENOENT) {
		fprintf(stderr, "foreign-writer: delete the entry: %s\n", strerror(errno));
		return 1;
	}
	return state == 0; /* never: xorshift does not reach 0, but the compiler has to compute it */
}
