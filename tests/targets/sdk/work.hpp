// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Three functions that burn CPU, each in a section of its own, so that its range is known.
#pragma once

#include <cstdint>

// Burns CPU for `ms` milliseconds on `threads` threads: inside a span, inside another nested in it, outside of both.
// Thread i has the trace id {i + 1, 0xa, ...}; span ids are {1, 0, ...} for the first and {2, 0, ...} for the nested one.
// Prints "FUNCTION BEGIN END" in hex for each of the three.
extern "C" int run_work(int threads, int ms);
