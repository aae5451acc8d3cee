// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

//go:build cgo && !without_c

package main

/*
#include <time.h>

static long burn(long milliseconds)
{
	struct timespec begin, now;
	long rounds = 0;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		rounds++;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < milliseconds);
	return rounds;
}
*/
import "C"

const hasC = true

func burnInC(milliseconds int) { C.burn(C.long(milliseconds)) }
