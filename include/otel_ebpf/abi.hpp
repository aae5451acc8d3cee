// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Abi: by which rules the functions that a Probe hooks are called.
#pragma once

#include <cstdint>
#include <string_view>

namespace otel_ebpf {

enum class Abi : std::uint8_t {
    go,      // Go's register ABI; goroutines, whose stacks grow
    native,  // C and C++: the System V ABI; threads
};

constexpr std::string_view to_string(Abi abi) {
    return abi == Abi::go ? "go" : "native";
}

}  // namespace otel_ebpf
