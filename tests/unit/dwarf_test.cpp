// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// DWARF that would cost more than its file is worth is refused before libdw sees it.
#include "test.hpp"

#include <elf.h>

#include <cstdint>
#include <string>

#include <otel_ebpf/go/dwarf.hpp>

#include "elf_image.hpp"

namespace {

using namespace otel_ebpf;

std::string refusal_of(const ElfImage& image) {
    const std::string file = image.bytes();
    const auto elf = ElfFile::open(ByteSource::from_memory(as_bytes(file)));
    REQUIRE(elf);
    const auto types = go::DwarfTypes::open(*elf);
    return types ? std::string() : types.error().what;
}

// .debug_info of 64 bytes behind a header that claims to hold `size`.
ElfImage compressed(std::uint64_t size) {
    Elf64_Chdr header{};
    header.ch_type = ELFCOMPRESS_ZLIB;
    header.ch_size = size;
    header.ch_addralign = 1;
    ElfImage image;
    image.sections.push_back(
        {".debug_info", ElfImage::raw_bytes(header) + std::string(64, '\0'), 0, SHT_PROGBITS, SHF_COMPRESSED});
    return image;
}

}  // namespace

TEST_CASE("DWARF: sizes that no compression reaches are refused") {
    const std::string held = refusal_of(compressed(100 << 20));
    INFO(held);
    CHECK(held.find("88 bytes of .debug_info claim to hold 104857600") != std::string::npos);
    CHECK(refusal_of(compressed(512)).find("claim to hold") == std::string::npos);

    ElfImage old_style;
    old_style.sections.push_back({".zdebug_info", std::string("ZLIB\0\0\0\0\7\0\0\0", 12) + std::string(64, '\0')});
    CHECK(refusal_of(old_style).find("claim to hold") != std::string::npos);

    CHECK(refusal_of(compressed(UINT64_MAX)).find("claim to hold") != std::string::npos);
}

TEST_CASE("DWARF: a file that the executable names is not opened") {
    for (const std::string name : {".gnu_debugaltlink", ".debug_sup"}) {
        ElfImage image;
        image.sections.push_back({".debug_info", std::string(64, '\0')});
        image.sections.push_back({name, std::string("/dev/null\0", 10) + std::string(20, '\1')});
        const std::string reason = refusal_of(image);
        INFO(reason);
        CHECK(reason.find("keeps a part of its DWARF in another file (" + name + ")") != std::string::npos);
    }
}

TEST_CASE("DWARF: more top-level entries than any program has are refused") {
    // One unit of DWARF 4 whose children have one byte each.
    constexpr std::size_t entries = (4 << 20) + 2;
    ElfImage image;
    const std::string abbreviations("\1\x11\1\0\0\2\x2e\0\0\0\0", 11);
    std::string info(4, '\0');
    info += std::string("\4\0\0\0\0\0\x08\1", 8) + std::string(entries, '\2') + '\0';
    const auto length = static_cast<std::uint32_t>(info.size() - 4);
    info.replace(0, 4, ElfImage::raw_bytes(length));
    image.sections.push_back({".debug_abbrev", abbreviations});
    image.sections.push_back({".debug_info", info});
    const std::string reason = refusal_of(image);
    INFO(reason);
    CHECK(reason.find("too many") != std::string::npos);
}

TEST_CASE("DWARF: reading it leaves a file in memory as it was") {
    // A compressed section, whose header libdw would rewrite: 64 zeros by deflate's stored block.
    Elf64_Chdr header{};
    header.ch_type = ELFCOMPRESS_ZLIB;
    header.ch_size = 64;
    header.ch_addralign = 1;
    const std::string stored = std::string("\x78\x01\x01\x40\x00\xbf\xff", 7) + std::string(64, '\0') +
                               std::string("\x00\x40\x00\x01", 4);
    ElfImage image;
    image.sections.push_back(
        {".debug_info", ElfImage::raw_bytes(header) + stored, 0, SHT_PROGBITS, SHF_COMPRESSED});
    const std::string file = image.bytes(), before(file.data(), file.size());
    const auto elf = ElfFile::open(ByteSource::from_memory(as_bytes(file)));
    REQUIRE(elf);
    CHECK(go::DwarfTypes::open(*elf));
    CHECK((file == before));
}
