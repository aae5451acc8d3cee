#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Measures every release in tools/offsets/std/releases.txt and rewrites include/otel_ebpf/go/offset_table.hpp.
# Needs Go >= 1.21 and a Go module proxy that serves toolchains; a first run downloads about 3 GB and takes ten minutes.
set -eu
cd "$(dirname "$0")"
exec go run . -o ../../include/otel_ebpf/go/offset_table.hpp "$@"
