// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
/* Functions of this very program, for the planner to find. */
#include "native_functions.h"

__attribute__((noinline)) long native_sum(const long *numbers, long count)
{
	long sum = 0;

	for (long i = 0; i < count; i++)
		sum += numbers[i] * native_switch(i & 7, numbers[i]);
	return sum;
}

__attribute__((noinline)) long native_switch(long which, long number)
{
	switch (which) {
	case 0: return number + 1;
	case 1: return number * 7;
	case 2: return number / 3;
	case 3: return number ^ 0x55;
	case 4: return number << 3;
	case 5: return number % 11;
	case 6: return -number;
	default: return native_twins(number);
	}
}

__attribute__((noinline, noclone, used)) static long native_twin(long number)
{
	__asm__ volatile("" ::: "memory");
	return number * 3;
}

long native_twins(long number)
{
	return native_twin(number) + native_other_twin(number);
}
