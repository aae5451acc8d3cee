#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# A consumer with nothing but pkg-config. usage: test.sh PREFIX CXX CLANG OUTPUT_FOLDER
set -eu
prefix=$1 cxx=$2 clang=$3 out=$4
here=$(dirname "$0")
export PKG_CONFIG_PATH="$prefix/share/pkgconfig"

# shellcheck disable=SC2046  # flags are words
$cxx -std=c++20 "$here/../main.cpp" -o "$out/pkg_config" $(pkg-config --cflags --libs otel_ebpf)
"$out/pkg_config"

# shellcheck disable=SC2046
$cxx -std=c++20 "$here/../core/main.cpp" -o "$out/pkg_config_core" $(pkg-config --cflags --libs otel_ebpf-core)
"$out/pkg_config_core"

# In C99: the headers, and libbpf.
# shellcheck disable=SC2046
"${CC:-cc}" -std=c99 -O2 -Wall -Wextra -pedantic -Werror "$here/context.c" -o "$out/pkg_config_c" \
    $(pkg-config --cflags otel_ebpf-bpf) $(pkg-config --cflags --libs libbpf)
"$out/pkg_config_c"

pkg-config --exists --print-errors otel_ebpf-otlp otel_ebpf-profile

# A BPF program in C needs the headers only.
# shellcheck disable=SC2046
"$clang" -target bpf -mcpu=v3 -g -O2 -Wall -Werror -DANSWER=1 -I"$here/../add_bpf/pack" \
    $(pkg-config --cflags otel_ebpf-bpf) -D__TARGET_ARCH_x86 -idirafter "/usr/include/$(uname -m)-linux-gnu" \
    -c "$here/../add_bpf/tiny.bpf.c" -o "$out/pkg_config.bpf.o"
