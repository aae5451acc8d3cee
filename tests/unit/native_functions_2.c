// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
/* A second static function of the same name. */
#include "native_functions.h"

__attribute__((noinline, noclone, used)) static long native_twin(long number)
{
	__asm__ volatile("" ::: "memory");
	return number * 5;
}

long native_other_twin(long number)
{
	return native_twin(number);
}
