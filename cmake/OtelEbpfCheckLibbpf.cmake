# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Some libbpf headers forward-declare enums that only newer kernel headers define, which C++ refuses.
include(CheckCXXSourceCompiles)
include(CMakePushCheckState)

cmake_push_check_state(RESET)
set(CMAKE_REQUIRED_LIBRARIES PkgConfig::otel_ebpf_libbpf)
check_cxx_source_compiles("#include <linux/bpf.h>\n#include <bpf/libbpf.h>\nint main() {}" OTEL_EBPF_LIBBPF_COMPILES)
cmake_pop_check_state()

if(NOT OTEL_EBPF_LIBBPF_COMPILES)
  message(FATAL_ERROR "otel_ebpf: <bpf/libbpf.h> (libbpf ${otel_ebpf_libbpf_VERSION}) does not compile as C++ with the "
                      "installed <linux/bpf.h>: install kernel headers of the libbpf's age (Debian: linux-libc-dev)")
endif()
