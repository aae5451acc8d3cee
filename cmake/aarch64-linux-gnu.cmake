# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Toolchain file: builds for arm64 by Debian's cross compiler against the packages of scripts/arm64-sysroot.sh, where
# the preset arm64 has them. Another folder: -DCMAKE_SYSROOT=...
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

if(NOT CMAKE_SYSROOT)
  cmake_path(ABSOLUTE_PATH CMAKE_CURRENT_LIST_DIR OUTPUT_VARIABLE CMAKE_SYSROOT)
  cmake_path(REPLACE_FILENAME CMAKE_SYSROOT build-arm64/sysroot)
endif()
if(NOT EXISTS "${CMAKE_SYSROOT}/usr/include/bpf")
  message(FATAL_ERROR "no arm64 packages in ${CMAKE_SYSROOT}: run scripts/arm64-sysroot.sh build-arm64")
endif()

set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${CMAKE_SYSROOT}")
set(ENV{PKG_CONFIG_LIBDIR} "${CMAKE_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${CMAKE_SYSROOT}/usr/share/pkgconfig")
