// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Any bytes as an executable file: inspected, planned, its lines and layouts read.
#include <cstddef>
#include <cstdint>
#include <span>

#include "../hostile/inspect.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    hostile::inspect(std::as_bytes(std::span(data, size)));
    return 0;
}
