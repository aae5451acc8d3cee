# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# otel_ebpf_add_bpf(): from a .bpf.c file to a C/C++ skeleton header.
include_guard(GLOBAL)

# otel_ebpf_add_bpf(<name> <source.bpf.c> [INCLUDES <dir>...] [DEFINITIONS <def>...] [DEPENDS <target>...])
#
# Compiles the source for BPF and generates <name>.skel.h with `struct <name>_bpf`. Targets that use it link
# <name>_skel. Include folders of the targets in DEPENDS (a probe pack, say) are searched by the BPF compiler too.
# The BPF object is the property OTEL_EBPF_BPF_OBJECT of <name>_skel.
# Tools: OTEL_EBPF_CLANG (>= 14) and OTEL_EBPF_BPFTOOL, found on first use.
function(otel_ebpf_add_bpf name source)
  cmake_parse_arguments(PARSE_ARGV 2 ARG "" "" "INCLUDES;DEFINITIONS;DEPENDS")
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "otel_ebpf_add_bpf(${name}): unknown arguments: ${ARG_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT TARGET otel_ebpf::bpf_headers)
    message(FATAL_ERROR "otel_ebpf_add_bpf(${name}): target otel_ebpf::bpf_headers is missing; "
                        "call find_package(otel_ebpf) in this folder or above")
  endif()
  _otel_ebpf_find_bpf_tools()
  _otel_ebpf_target_arch(arch)

  cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" NORMALIZE)
  if(NOT EXISTS "${source}")
    message(FATAL_ERROR "otel_ebpf_add_bpf(${name}): no such file: ${source}")
  endif()

  set(includes "")
  foreach(dir IN LISTS ARG_INCLUDES)
    cmake_path(ABSOLUTE_PATH dir BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" NORMALIZE)
    list(APPEND includes "-I${dir}")
  endforeach()
  set(targets ${ARG_DEPENDS} otel_ebpf::bpf_headers)
  if(TARGET PkgConfig::otel_ebpf_libbpf) # bpf/bpf_helpers.h, where libbpf is not in /usr
    list(APPEND targets PkgConfig::otel_ebpf_libbpf)
  endif()
  foreach(target IN LISTS targets)
    set(dirs "$<TARGET_PROPERTY:${target},INTERFACE_INCLUDE_DIRECTORIES>")
    list(APPEND includes "$<$<BOOL:${dirs}>:-I$<JOIN:${dirs},;-I>>")
  endforeach()
  # clang -target bpf does not search the multiarch folder, where asm/types.h is.
  if(CMAKE_LIBRARY_ARCHITECTURE)
    list(APPEND includes -idirafter "${CMAKE_SYSROOT}/usr/include/${CMAKE_LIBRARY_ARCHITECTURE}")
  endif()
  list(TRANSFORM ARG_DEFINITIONS PREPEND -D)

  set(dir "${CMAKE_CURRENT_BINARY_DIR}/${name}_skel")
  file(MAKE_DIRECTORY "${dir}")
  set(compiled "${dir}/${name}.tmp.bpf.o")
  set(object "${dir}/${name}.bpf.o")
  set(skeleton "${dir}/${name}.skel.h")

  add_custom_command(
    OUTPUT "${compiled}"
    COMMAND "${OTEL_EBPF_CLANG}" -target bpf -mcpu=v3 -g -O2 -Wall -Werror -D__TARGET_ARCH_${arch}
            ${ARG_DEFINITIONS} "${includes}" -MD -MF "${compiled}.d" -c "${source}" -o "${compiled}"
    DEPENDS "${source}"
    DEPFILE "${compiled}.d"
    COMMENT "Building BPF object ${name}.bpf.o"
    COMMAND_EXPAND_LISTS VERBATIM)
  # `gen object` leaves DWARF behind, which would only make every program that embeds the object larger.
  add_custom_command(
    OUTPUT "${object}"
    COMMAND "${OTEL_EBPF_BPFTOOL}" gen object "${object}" "${compiled}"
    DEPENDS "${compiled}"
    COMMENT "Linking BPF object ${name}.bpf.o"
    VERBATIM)
  # By way of a temporary file: a failing bpftool leaves no half-written header that looks up to date.
  add_custom_command(
    OUTPUT "${skeleton}"
    COMMAND "${OTEL_EBPF_BPFTOOL}" gen skeleton "${object}" name "${name}_bpf" > "${skeleton}.tmp"
    COMMAND "${CMAKE_COMMAND}" -E rename "${skeleton}.tmp" "${skeleton}"
    DEPENDS "${object}"
    COMMENT "Generating BPF skeleton ${name}.skel.h"
    VERBATIM)
  add_custom_target(${name}_skel_generate DEPENDS "${skeleton}")

  add_library(${name}_skel INTERFACE)
  add_dependencies(${name}_skel ${name}_skel_generate)
  set_target_properties(${name}_skel PROPERTIES OTEL_EBPF_BPF_OBJECT "${object}")
  target_include_directories(${name}_skel SYSTEM INTERFACE "${dir}")
  if(TARGET otel_ebpf::core)
    target_link_libraries(${name}_skel INTERFACE otel_ebpf::core)
  endif()
endfunction()

function(_otel_ebpf_find_bpf_tools)
  find_program(OTEL_EBPF_CLANG NAMES clang clang-20 clang-19 clang-18 clang-17 clang-16 clang-15 clang-14
    DOC "clang >= 14 with the BPF target")
  find_program(OTEL_EBPF_BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin DOC "bpftool")
  if(NOT OTEL_EBPF_CLANG)
    message(FATAL_ERROR "otel_ebpf_add_bpf: clang >= 14 was not found (Debian: clang); set OTEL_EBPF_CLANG")
  endif()
  if(NOT OTEL_EBPF_BPFTOOL)
    message(FATAL_ERROR "otel_ebpf_add_bpf: bpftool was not found (Debian: bpftool); set OTEL_EBPF_BPFTOOL")
  endif()
endfunction()

# The name that libbpf's bpf_tracing.h uses for the architecture.
function(_otel_ebpf_target_arch out)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64|i.86)$")
    set(${out} x86 PARENT_SCOPE)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    set(${out} arm64 PARENT_SCOPE)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^s390x$")
    set(${out} s390 PARENT_SCOPE)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(riscv64|powerpc|loongarch64)")
    string(REGEX REPLACE "^(riscv|powerpc|loongarch).*" "\\1" arch "${CMAKE_SYSTEM_PROCESSOR}")
    set(${out} ${arch} PARENT_SCOPE)
  else()
    message(FATAL_ERROR "otel_ebpf_add_bpf: unknown architecture ${CMAKE_SYSTEM_PROCESSOR}")
  endif()
endfunction()
