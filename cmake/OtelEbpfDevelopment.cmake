# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# otel_ebpf_development: how our own tests, examples and benchmarks are compiled. Never exported.
add_library(otel_ebpf_development INTERFACE)
target_compile_options(otel_ebpf_development INTERFACE -Wall -Wextra -Wpedantic -Wshadow)
if(OTEL_EBPF_SANITIZE)
  target_compile_options(otel_ebpf_development INTERFACE
    -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(otel_ebpf_development INTERFACE -fsanitize=address,undefined)
endif()
