// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The main() of every Catch2 test binary, compiled once (Catch2 v2; v3 brings its own).
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
