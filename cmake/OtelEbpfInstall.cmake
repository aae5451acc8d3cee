# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Install rules: headers, one CMake export set and one pkg-config file per component.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Nothing installed depends on the architecture.
set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/otel_ebpf")
set(pkgconfig_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")

# C++ and BPF C headers share a folder, as libbpf's do; the file name says which is which.
install(DIRECTORY include/otel_ebpf bpf_include/otel_ebpf DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING PATTERN "*.hpp" PATTERN "*.h")

install(FILES LICENSE LICENSES/BSD-2-Clause.txt LICENSES/GPL-2.0-only.txt DESTINATION "${CMAKE_INSTALL_DOCDIR}")

foreach(component IN ITEMS bpf_headers core go otel_ebpf otlp profile)
  if(TARGET otel_ebpf_${component})
    install(TARGETS otel_ebpf_${component} EXPORT otel_ebpf-${component}-targets
      INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
    install(EXPORT otel_ebpf-${component}-targets NAMESPACE otel_ebpf:: DESTINATION "${package_dir}")
  endif()
endforeach()

configure_package_config_file(cmake/otel_ebpf-config.cmake.in otel_ebpf-config.cmake
  INSTALL_DESTINATION "${package_dir}" NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
# Before 1.0 a minor version may change the API.
write_basic_package_version_file(otel_ebpf-config-version.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/otel_ebpf-config.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/otel_ebpf-config-version.cmake"
  cmake/OtelEbpfDependencies.cmake cmake/OtelEbpfAddBpf.cmake
  DESTINATION "${package_dir}")

# otel_ebpf_pkg_config(<file name> DESCRIPTION <text> [REQUIRES <module>...] [LIBS <flag>...])
function(otel_ebpf_pkg_config name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "DESCRIPTION" "REQUIRES;LIBS")
  list(JOIN ARG_REQUIRES ", " requires)
  list(JOIN ARG_LIBS " " libs)
  set(description "${ARG_DESCRIPTION}")
  configure_file(cmake/otel_ebpf.pc.in ${name}.pc @ONLY)
  install(FILES "${CMAKE_CURRENT_BINARY_DIR}/${name}.pc" DESTINATION "${pkgconfig_dir}")
endfunction()

# The prefix is found from the .pc file, so `cmake --install --prefix` and moved trees work.
file(RELATIVE_PATH pc_to_prefix "${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
cmake_path(APPEND pc_includedir "\${prefix}" "${CMAKE_INSTALL_INCLUDEDIR}")
set(core "otel_ebpf-core = ${PROJECT_VERSION}")

otel_ebpf_pkg_config(otel_ebpf-bpf DESCRIPTION "BPF C headers of otel_ebpf")
if(TARGET otel_ebpf_core)
  otel_ebpf_pkg_config(otel_ebpf-core DESCRIPTION "Core of otel_ebpf (C++20)"
    REQUIRES "libbpf >= 1.1" "fmt >= 9" LIBS -pthread)
endif()
if(TARGET otel_ebpf_go)
  otel_ebpf_pkg_config(otel_ebpf-go DESCRIPTION "Inspection of Go executables (C++20)"
    REQUIRES "${core}" "libelf >= 0.188" "libdw >= 0.188" LIBS -lZydis)
  otel_ebpf_pkg_config(otel_ebpf DESCRIPTION "OpenTelemetry eBPF instrumentation (C++20)"
    REQUIRES "${core}" "otel_ebpf-go = ${PROJECT_VERSION}")
endif()
if(TARGET otel_ebpf_otlp)
  otel_ebpf_pkg_config(otel_ebpf-otlp DESCRIPTION "OTLP over HTTP for otel_ebpf (C++20)" REQUIRES "${core}" libcurl)
endif()
if(TARGET otel_ebpf_profile)
  otel_ebpf_pkg_config(otel_ebpf-profile DESCRIPTION "Profiling with otel_ebpf (C++20)" REQUIRES "${core}" zlib)
endif()
