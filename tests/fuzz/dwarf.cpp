// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Any bytes as DWARF sections: layouts of structs that no table knows.
#include <cstddef>
#include <cstdint>
#include <string>

#include <otel_ebpf/executable.hpp>

#include "../hostile/promise.hpp"
#include "go_image.hpp"
#include "input.hpp"

namespace oe = otel_ebpf;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    const auto flags = input.number<std::uint8_t>();
    GoImage image;
    image.text = "\xc3";
    image.has_symbols = true;
    image.build_info =
        GoImage::build_info_of("go1.26.8", GoImage::modules_of("path\tmain\ndep\texample.com/m\tv1.0.0\th1:\n"));
    image.has_compressed_dwarf = (flags & 1) != 0;
    image.abbreviations = input.part();
    image.debug_info = input.part();
    image.debug_strings = input.part();
    image.line_strings = input.rest();
    const std::string file = image.bytes();
    const auto opened = oe::Executable::from_memory(as_bytes(file));
    hostile::promise(hostile::worked(opened), "DWARF is not read before it is asked for");
    for (const auto& [type, member] : {std::pair("g", "m"), std::pair("g", "stack.hi"), std::pair("g", "sched.pc"),
                                       std::pair("m", "curg"), std::pair("stack", "lo")}) {
        hostile::worked((*opened)->fact(oe::offset_of("example.com/m", "runtime", type, member)));
        hostile::worked((*opened)->fact(oe::size_of("example.com/m", "runtime", type)));
    }
    return 0;
}
