// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The version of this library; CMake and pkg-config read it from here.
#pragma once

#include <string_view>

namespace otel_ebpf {

inline constexpr std::string_view library_version = "0.1.0";

}  // namespace otel_ebpf
