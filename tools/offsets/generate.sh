#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Measures the modules of tools/offsets/modules (or only those named) and rewrites include/otel_ebpf/go/offset_table.hpp
# and include/otel_ebpf/go/offset_tables/: generate.sh [-quick] [NAME...]. See README.md.
set -eu
cd "$(dirname "$0")"
exec go run . -o ../../include/otel_ebpf/go "$@"
