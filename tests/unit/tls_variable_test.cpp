// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Where a thread-local variable is, for both architectures and both libcs, on files made here.
#include "test.hpp"

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <otel_ebpf/sdk_module.hpp>
#include <otel_ebpf/tls_variable.hpp>

#include "elf_image.hpp"

namespace {

namespace oe = otel_ebpf;
using oe::Libc;
using oe::TlsModel;

constexpr std::uint64_t bias = 0x7f0000000000, slot = 0x3000;
constexpr std::uint64_t block_offset = 24;

// A library or executable that defines the variable at `block_offset`, second symbol of .dynsym.
struct Module {
    ElfImage image;

    explicit Module(unsigned short machine = EM_X86_64, std::uint64_t tls_bytes = 48, std::uint64_t align = 8) {
        image.header.e_machine = machine;
        image.header.e_type = ET_DYN;
        Elf64_Phdr tls{};
        tls.p_type = PT_TLS;
        tls.p_memsz = tls_bytes;
        tls.p_align = align;
        image.segments.push_back(tls);
    }
    void define(std::uint64_t at = block_offset, unsigned char type = STT_TLS) {
        const std::string names = std::string("\0other\0otel_thread_ctx_v1\0", 26);
        Elf64_Sym other{}, variable{};
        other.st_name = 1;
        other.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_TLS);
        other.st_shndx = 1;
        variable.st_name = 7;
        variable.st_info = ELF64_ST_INFO(STB_GLOBAL, type);
        variable.st_shndx = 1;
        variable.st_value = at;
        image.sections.push_back({".dynstr", names, 0, SHT_STRTAB});
        image.sections.push_back(
            {".dynsym", ElfImage::raw_bytes(Elf64_Sym{}) + ElfImage::raw_bytes(other) + ElfImage::raw_bytes(variable), 0,
             SHT_DYNSYM});
    }
    void relocate(std::uint64_t type, std::uint64_t symbol, std::int64_t addend = 0, std::uint64_t at = slot) {
        const Elf64_Rela relocation{at, ELF64_R_INFO(symbol, type), addend};
        image.sections.push_back({".rela.dyn", ElfImage::raw_bytes(relocation), 0, SHT_RELA});
    }
    std::string bytes() const {
        std::string file = image.bytes();
        // The builder knows no links between sections: .dynsym names .dynstr.
        auto header = oe::load<Elf64_Ehdr>(as_bytes(file), 0);
        for (std::size_t i = 0; i < header.e_shnum; ++i) {
            const std::size_t at = header.e_shoff + i * sizeof(Elf64_Shdr);
            auto section = oe::load<Elf64_Shdr>(as_bytes(file), at);
            if (section.sh_type == SHT_DYNSYM) section.sh_link = static_cast<Elf64_Word>(i - 1);
            std::memcpy(file.data() + at, &section, sizeof(section));
        }
        return file;
    }
};

struct Words {
    std::map<std::uint64_t, std::uint64_t> at;
    oe::ReadMemory reader() const {
        return [this](std::uint64_t addr, std::span<std::byte> out) -> oe::Result<void> {
            for (std::size_t done = 0; done < out.size(); done += 8) {
                const auto word = at.find(addr + done);
                if (word == at.end()) return oe::fail(oe::Stage::target, "not mapped", EFAULT);
                std::memcpy(out.data() + done, &word->second, 8);
            }
            return {};
        };
    }
};

oe::Result<oe::TlsPlace> place_of(const Module& module, Words words, Libc libc = Libc::glibc) {
    const std::string bytes = module.bytes();
    const auto elf = oe::ElfFile::open(oe::ByteSource::from_memory(as_bytes(bytes)));
    REQUIRE(elf);
    const auto variable = oe::find_tls_variable(*elf, "otel_thread_ctx_v1");
    REQUIRE(variable);
    REQUIRE(*variable);
    return oe::place_in_process(*elf, **variable, bias, libc, words.reader());
}

std::int64_t local_offset(unsigned short machine, std::uint64_t tls_bytes, std::uint64_t align,
                          std::uint64_t at = block_offset, std::uint64_t vaddr = 0) {
    Module module(machine, tls_bytes, align);
    module.image.segments[0].p_vaddr = vaddr;
    module.define(at);
    const std::string bytes = module.bytes();
    const auto elf = oe::ElfFile::open(oe::ByteSource::from_memory(as_bytes(bytes)));
    const auto variable = oe::find_tls_variable(*elf, "otel_thread_ctx_v1");
    REQUIRE(variable);
    const auto place = oe::local_exec_place(*elf, **variable);
    REQUIRE(place);
    CHECK(place->location.kind == OE_TLS_STATIC);
    return place->location.offset;
}

}  // namespace

TEST_CASE("tls: local-exec below the thread pointer on x86_64, with the alignment of the block") {
    // Distances that gcc 12 compiled into programs of these shapes.
    CHECK(local_offset(EM_X86_64, 8, 8, 0) == -8);
    CHECK(local_offset(EM_X86_64, 56, 64, 16) == -48);
    CHECK(local_offset(EM_X86_64, 24, 256, 16) == -240);
    CHECK(local_offset(EM_X86_64, 48, 0) == -24);
}

TEST_CASE("tls: local-exec above two words on aarch64") {
    CHECK(local_offset(EM_AARCH64, 48, 8) == 16 + 24);
    CHECK(local_offset(EM_AARCH64, 48, 16) == 16 + 24);
    CHECK(local_offset(EM_AARCH64, 48, 64) == 64 + 24);
    // A block that does not begin at a multiple of its alignment.
    CHECK(local_offset(EM_AARCH64, 48, 64, 24, 0x10020) == 32 + 24);
}

TEST_CASE("tls: initial-exec and static TLSDESC are offsets from the thread pointer") {
    struct Case {
        unsigned short machine;
        std::uint64_t initial, descriptor;
        std::uint64_t offset;
    };
    for (const Case& one : {Case{EM_X86_64, 18, 36, static_cast<std::uint64_t>(-120)}, {EM_AARCH64, 1030, 1031, 112}}) {
        Module initial(one.machine);
        initial.define();
        initial.relocate(one.initial, 2);
        auto place = place_of(initial, {{{bias + slot, one.offset}}});
        REQUIRE(place);
        CHECK(place->model == TlsModel::initial_exec);
        CHECK(place->location.kind == OE_TLS_STATIC);
        CHECK(place->location.offset == static_cast<std::int64_t>(one.offset));

        Module descriptor(one.machine);
        descriptor.define();
        descriptor.relocate(one.descriptor, 2);
        place = place_of(descriptor, {{{bias + slot, 0x7f1111111111}, {bias + slot + 8, one.offset}}});
        REQUIRE(place);
        CHECK(place->model == TlsModel::tlsdesc_static);
        CHECK(place->location.offset == static_cast<std::int64_t>(one.offset));
    }
}

TEST_CASE("tls: the vector of glibc and of musl on both architectures") {
    struct Case {
        unsigned short machine;
        Libc libc;
        int dtv_offset, stride, count;
    };
    for (const Case& one : {Case{EM_X86_64, Libc::glibc, 8, 16, -16}, {EM_X86_64, Libc::musl, 8, 8, 0},
                            {EM_AARCH64, Libc::glibc, 0, 16, -16}, {EM_AARCH64, Libc::musl, -8, 8, 0}}) {
        const bool is_x86 = one.machine == EM_X86_64;
        Module pair(one.machine);
        pair.define();
        pair.relocate(is_x86 ? 16 : 1028, 2);
        const auto legacy = place_of(pair, {{{bias + slot, 3}, {bias + slot + 8, 24}}}, one.libc);
        Module descriptor(one.machine);
        descriptor.define();
        descriptor.relocate(is_x86 ? 36 : 1031, 2);
        const std::uint64_t index = 0x7f2222220000;
        const auto dynamic = place_of(descriptor,
                                      {{{bias + slot, 0x7f1111111111}, {bias + slot + 8, index}, {index, 3}, {index + 8, 24}}},
                                      one.libc);
        REQUIRE(legacy);
        REQUIRE(dynamic);
        CHECK(legacy->model == TlsModel::legacy_dynamic);
        CHECK(dynamic->model == TlsModel::tlsdesc_dynamic);
        for (const oe_tls_location& where : {legacy->location, dynamic->location}) {
            CHECK(where.kind == OE_TLS_DTV);
            CHECK(where.module_id == 3);
            CHECK(where.offset == 24);
            CHECK(where.dtv_offset == one.dtv_offset);
            CHECK(where.dtv_stride == one.stride);
            CHECK(where.dtv_count_offset == one.count);
        }
    }
}

TEST_CASE("tls: relocations of a symbol that can't be replaced name its place only") {
    Module module;
    module.define();
    module.relocate(36, 0, 8);             // another variable's
    module.relocate(16, 0, 0, slot + 32);  // another variable's pair
    module.relocate(16, 0, 0, slot + 64);
    const auto place = place_of(module, {{{bias + slot + 32, 4}, {bias + slot + 40, 8},
                                          {bias + slot + 64, 4}, {bias + slot + 72, block_offset}}});
    REQUIRE(place);
    CHECK(place->location.module_id == 4);
    Module descriptor;
    descriptor.define();
    descriptor.relocate(36, 0, block_offset);
    CHECK(place_of(descriptor, {{{bias + slot, 1}, {bias + slot + 8, static_cast<std::uint64_t>(-64)}}})->location.offset ==
          -64);
}

TEST_CASE("tls: what is not there yet, absurd or unreadable is refused with its reason") {
    const auto refusal = [](std::uint64_t type, Words words) {
        Module module;
        module.define();
        if (type != 0) module.relocate(type, 2);
        const auto place = place_of(module, std::move(words));
        return place ? std::string("accepted") : place.error().what;
    };
    CHECK(refusal(0, {}).find("no relocation") != std::string::npos);
    CHECK(refusal(18, {}).find("not mapped") != std::string::npos);
    CHECK(refusal(18, {{{bias + slot, 0}}}).find("not relocated yet") != std::string::npos);
    CHECK(refusal(36, {{{bias + slot, 0}, {bias + slot + 8, 0}}}).find("not relocated yet") != std::string::npos);
    CHECK(refusal(16, {{{bias + slot, 0}, {bias + slot + 8, 24}}}).find("not relocated yet") != std::string::npos);
    CHECK(refusal(16, {{{bias + slot, 1 << 20}, {bias + slot + 8, 24}}}).find("absurd") != std::string::npos);
    CHECK(refusal(16, {{{bias + slot, 1}, {bias + slot + 8, 1ULL << 40}}}).find("absurd") != std::string::npos);
    CHECK(refusal(18, {{{bias + slot, 1ULL << 40}}}).find("absurd") != std::string::npos);
    CHECK(refusal(36, {{{bias + slot, 1}, {bias + slot + 8, 1ULL << 40}}}).find("not mapped") != std::string::npos);
}

TEST_CASE("tls: a file without the variable, or with one that is none") {
    const auto find = [](const Module& module) {
        const std::string bytes = module.bytes();
        const auto elf = oe::ElfFile::open(oe::ByteSource::from_memory(as_bytes(bytes)));
        return oe::find_tls_variable(*elf, "otel_thread_ctx_v1");
    };
    CHECK_FALSE(find(Module())->has_value());
    Module function;
    function.define(24, STT_FUNC);
    CHECK_FALSE(find(function)->has_value());
    Module outside;
    outside.define(44);  // 8 bytes from there end behind the block
    CHECK_FALSE(find(outside));
    Module without_block;
    without_block.image.segments.clear();
    without_block.define();
    CHECK_FALSE(find(without_block));
}

TEST_CASE("tls: the libc of a process, and the bias of a library") {
    const auto libc = [](const char* path) {
        return oe::libc_of(oe::parse_process_maps(std::string("1000-2000 r-xp 0 08:01 5 ") + path));
    };
    CHECK(libc("/lib/ld-musl-x86_64.so.1") == Libc::musl);
    CHECK(libc("/lib/libc.musl-aarch64.so.1") == Libc::musl);
    CHECK(libc("/lib/x86_64-linux-gnu/libc.so.6") == Libc::glibc);
    CHECK(libc("/ld-musl-x86_64.so.1/other") == Libc::glibc);
}
