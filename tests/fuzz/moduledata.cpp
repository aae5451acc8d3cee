// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Any words in the moduledata of an executable whose function table is right: a text start that is wrong must never be
// believed.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "../hostile/inspect.hpp"
#include "../hostile/promise.hpp"
#include "go_image.hpp"
#include "input.hpp"

namespace {

// Functions that grow their stack: cmp 0x10(%r14),%rsp; jbe; call runtime.morestack; jmp to the start.
constexpr std::uint32_t function_bytes = 32, function_count = 6;

std::string text() {
    std::string code;
    for (std::uint32_t i = 0; i < function_count; ++i) {
        std::string function("\x49\x3b\x66\x10\x76\x01\xc3\xe8\x00\x00\x00\x00\xeb\xf2", 14);
        function.resize(function_bytes, '\xcc');
        code += function;
    }
    return code;
}

void put(std::string& bytes, std::size_t at, std::uint64_t value, std::size_t size) {
    std::memcpy(bytes.data() + at, &value, size);
}

// Layout of Go 1.20 and newer: header, names, table of values, functions and their records.
std::string pclntab(bool has_text_start) {
    constexpr std::size_t names = 72, values = 80, functions = 88, record_bytes = 44;
    constexpr std::size_t records = functions + 8 * function_count + 4;
    std::string bytes(records + record_bytes * function_count, '\0');
    put(bytes, 0, 0xfffffff1, 4);
    put(bytes, 6, 0x0801, 2);
    const std::uint64_t words[] = {function_count, 0, has_text_start ? ElfImage::text_vaddr : 0,
                                   names,          names + 4, names + 4, values, functions};
    for (std::size_t i = 0; i < std::size(words); ++i) put(bytes, 8 + 8 * i, words[i], 8);
    bytes.replace(names, 2, "f\0", 2);
    bytes.replace(values, 4, std::string("\x00\x02\x0e\x00", 4));  // pcsp at 1: no stack for 14 bytes
    for (std::uint32_t i = 0; i <= function_count; ++i) {
        const std::size_t record = records + record_bytes * i - functions;
        put(bytes, functions + 8 * i, function_bytes * i, 4);
        if (i == function_count) break;
        put(bytes, functions + 8 * i + 4, record, 4);
        put(bytes, functions + record, function_bytes * i, 4);
        put(bytes, functions + record + 16, 1, 4);
    }
    return bytes;
}

// One change of a word.
void change(Input& input, std::string& moduledata) {
    const auto what = input.number<std::uint8_t>();
    const std::size_t at = (what & 31) % 24 * 8;
    std::uint64_t word = 0;
    std::memcpy(&word, moduledata.data() + at, sizeof(word));
    switch (what >> 5 & 3) {
        case 0: word = input.number<std::uint64_t>(); break;
        case 1: word += static_cast<std::uint64_t>(input.number<std::int8_t>()); break;
        case 2: word += static_cast<std::uint64_t>(input.number<std::int32_t>()); break;
        default: word ^= std::uint64_t{1} << (input.number<std::uint8_t>() & 63);
    }
    put(moduledata, at, word, sizeof(word));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    const auto flags = input.number<std::uint8_t>();
    GoImage image;
    image.build_info = GoImage::build_info_of("go1.26.8", {});
    image.text = text();
    image.pclntab = pclntab((flags & 1) != 0);
    image.is_pie = (flags & 2) != 0;
    image.has_sections = (flags & 4) == 0;
    image.derive_moduledata();
    const std::string good = image.moduledata;
    while (!input.empty()) change(input, image.moduledata);
    const std::string file = image.bytes();
    const hostile::Depth depth = hostile::inspect(as_bytes(file));
    hostile::promise(depth.opened || image.moduledata != good || !image.has_sections,
                     "the right moduledata is accepted");
    hostile::promise(!depth.opened || depth.text_start == ElfImage::text_vaddr, "no other text start is believed");
    return 0;
}
