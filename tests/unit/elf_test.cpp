// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ElfFile on well-formed, damaged and truncated files.
#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/executable.hpp>

#include <cstdint>
#include <string>

#include "../test.hpp"
#include "elf_image.hpp"

namespace {

using namespace otel_ebpf;

Result<ElfFile> open_bytes(std::string_view bytes) {
    return ElfFile::open(ByteSource::from_memory(as_bytes(bytes)));
}

std::string refusal(std::string_view bytes) {
    auto elf = open_bytes(bytes);
    return elf ? std::string("accepted") : elf.error().what;
}

void contains(const std::string& text, const std::string& part) {
    CAPTURE(text);
    CHECK(text.find(part) != std::string::npos);
}

std::string note(std::string_view owner, std::uint32_t type, std::string_view content) {
    const Elf64_Nhdr header{static_cast<Elf64_Word>(owner.size()), static_cast<Elf64_Word>(content.size()), type};
    std::string bytes = ElfImage::raw_bytes(header) + std::string(owner) + std::string(content);
    bytes.resize((bytes.size() + 3) & ~std::size_t{3});
    return bytes;
}

TEST_CASE("elf: headers, addresses and notes of a small executable") {
    ElfImage image;
    image.data = "data";
    image.sections.push_back({".note.go.buildid", note(std::string_view("Go\0\0", 4), 4, "id/of/go"), 0, SHT_NOTE});
    image.sections.push_back(
        {".note.gnu.build-id", note(std::string_view("GNU\0", 4), NT_GNU_BUILD_ID, "\x01\xfe"), 0, SHT_NOTE});
    Elf64_Phdr tls{};
    tls.p_type = PT_TLS;
    tls.p_memsz = 8;
    image.segments.push_back(tls);
    const std::string bytes = image.bytes();
    const auto elf = open_bytes(bytes);
    REQUIRE(elf);
    CHECK(elf->arch() == Arch::x86_64);
    CHECK_FALSE(elf->is_position_independent());
    CHECK(elf->build_id() == "01fe");
    CHECK(elf->go_build_id() == "id/of/go");
    CHECK(elf->tls_segment()->p_memsz == 8);
    CHECK(elf->section(".note.go.buildid") != nullptr);
    CHECK(elf->section(".none") == nullptr);

    const auto offset = elf->file_offset(ElfImage::text_vaddr + 5);
    REQUIRE(offset);
    CHECK(bytes[*offset] == '\x90');
    CHECK_FALSE(elf->file_offset(ElfImage::text_vaddr + image.text.size()));
    CHECK_FALSE(elf->file_offset(ElfImage::text_vaddr - 1));
    CHECK_FALSE(elf->file_offset(ElfImage::data_vaddr));  // not executable
    CHECK(elf->bytes_at(ElfImage::data_vaddr, 4));
    CHECK_FALSE(elf->bytes_at(ElfImage::data_vaddr, 5));
    CHECK_FALSE(elf->bytes_at(ElfImage::data_vaddr + 1, UINT64_MAX));
    CHECK_FALSE(elf->bytes_at(UINT64_MAX, 2));
}

TEST_CASE("elf: what is not a 64-bit little-endian executable is named") {
    CHECK(refusal("") == "is not an ELF file");
    CHECK(refusal("\x7f"
                  "EL") == "is not an ELF file");
    CHECK(refusal(std::string(4096, 'x')) == "is not an ELF file");
    ElfImage image;
    image.header.e_ident[EI_CLASS] = ELFCLASS32;
    CHECK(refusal(image.bytes()) == "is a 32-bit ELF: only 64-bit executables are supported");
    CHECK(refusal(image.bytes().substr(0, 52)) == "is a 32-bit ELF: only 64-bit executables are supported");
    image = {};
    image.header.e_ident[EI_DATA] = ELFDATA2MSB;
    contains(refusal(image.bytes()), "big-endian");
    image = {};
    image.header.e_machine = EM_RISCV;
    contains(refusal(image.bytes()), "is for ELF machine 243");
    image = {};
    image.header.e_type = ET_REL;
    contains(refusal(image.bytes()), "is not an executable");
    image = {};
    contains(refusal(image.bytes().substr(0, 40)), "is truncated");
}

TEST_CASE("elf: absurd offsets, sizes and counts are refused") {
    const std::string good = ElfImage().bytes();
    REQUIRE(open_bytes(good));
    const auto damaged = [&](std::size_t at, auto value) {
        std::string bytes = good;
        std::memcpy(bytes.data() + at, &value, sizeof value);
        return refusal(bytes);
    };
    const std::uint64_t first_segment = sizeof(Elf64_Ehdr);
    for (const std::uint64_t absurd :
         {UINT64_MAX, UINT64_MAX - 63, std::uint64_t{1} << 63, std::uint64_t{good.size()}}) {
        CAPTURE(absurd);
        contains(damaged(offsetof(Elf64_Ehdr, e_phoff), absurd), "is truncated");
        contains(damaged(offsetof(Elf64_Ehdr, e_shoff), absurd), "is truncated");
        contains(damaged(first_segment + offsetof(Elf64_Phdr, p_offset), absurd), "is truncated");
        contains(damaged(first_segment + offsetof(Elf64_Phdr, p_filesz), absurd), "is truncated");
    }
    contains(damaged(first_segment + offsetof(Elf64_Phdr, p_memsz), std::uint64_t{0}), "absurd size");
    contains(damaged(first_segment + offsetof(Elf64_Phdr, p_memsz), UINT64_MAX), "absurd size");
    contains(damaged(offsetof(Elf64_Ehdr, e_phnum), std::uint16_t{0}), "no program headers");
    contains(damaged(offsetof(Elf64_Ehdr, e_phnum), std::uint16_t{65000}), "65000 program headers");
    contains(damaged(offsetof(Elf64_Ehdr, e_phnum), std::uint16_t{1000}), "is truncated");
    contains(damaged(offsetof(Elf64_Ehdr, e_shnum), std::uint16_t{65000}), "is truncated");
    contains(damaged(offsetof(Elf64_Ehdr, e_shstrndx), std::uint16_t{999}), "does not exist");
    contains(damaged(offsetof(Elf64_Ehdr, e_phentsize), std::uint16_t{1}), "is a damaged ELF file");
    contains(damaged(offsetof(Elf64_Ehdr, e_shentsize), std::uint16_t{65535}), "is a damaged ELF file");
}

TEST_CASE("elf: a file cut at any length gives an error") {
    const std::string small = ElfImage().bytes();
    for (std::size_t size = 0; size < small.size(); ++size) {
        CAPTURE(size);
        CHECK_FALSE(Executable::from_memory(as_bytes(std::string_view(small).substr(0, size))));
    }
    const std::string real = read_file("/bin/true");
    if (real.empty()) SKIP_TEST("no /bin/true");
    for (std::size_t size = 0; size < real.size(); size += 64) {
        CAPTURE(size);
        CHECK_FALSE(Executable::from_memory(as_bytes(std::string_view(real).substr(0, size))));
    }
    CHECK(Executable::from_memory(as_bytes(real)));
}

TEST_CASE("elf: flipped bits never lead outside the file") {
    const std::string real = read_file("/bin/true");
    if (real.empty()) SKIP_TEST("no /bin/true");
    std::uint64_t random = 0x9e3779b97f4a7c15u;
    for (int round = 0; round < 2000; ++round) {
        std::string bytes = real;
        for (int flip = 0; flip < 8; ++flip) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            const bool in_headers = flip % 2 == 0;
            const std::size_t at = random % (in_headers ? 1024 : bytes.size());
            bytes[at] = static_cast<char>(random >> 32);
        }
        const auto executable = Executable::from_memory(as_bytes(bytes));
        if (!executable) continue;
        (*executable)->for_each_function([](std::string_view, std::uint64_t, std::uint64_t) { return true; });
    }
    SUCCEED();
}

}  // namespace
