// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Any bytes as the function table of a stripped Go executable, with a moduledata that agrees with its header, and as
// its text: functions, their sites and their source lines.
#include <cstddef>
#include <cstdint>
#include <span>

#include "../hostile/inspect.hpp"
#include "go_image.hpp"
#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    const auto flags = input.number<std::uint8_t>();
    GoImage image;
    constexpr const char* versions[] = {"go1.19.13", "go1.24.9", "go1.26.8", "go1.27.3"};
    image.build_info = GoImage::build_info_of(versions[flags & 3], {});
    image.is_pie = (flags & 4) != 0;
    image.has_sections = (flags & 8) == 0;
    image.pclntab = input.part();
    image.text = input.rest();
    image.derive_moduledata();
    const std::string file = image.bytes();
    hostile::inspect(as_bytes(file));
    return 0;
}
