/* SPDX-License-Identifier: Apache-2.0 */
/* Copyright The otel_ebpf Authors */
/* Functions of this very program, for the planner to find. */
#ifndef NATIVE_FUNCTIONS_H
#define NATIVE_FUNCTIONS_H

#ifdef __cplusplus
extern "C" {
#endif

long native_sum(const long *numbers, long count);
long native_switch(long which, long number);
long native_twins(long number);
long native_other_twin(long number);

#ifdef __cplusplus
}
#endif
#endif
