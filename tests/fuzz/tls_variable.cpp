// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Any bytes as an ELF file and as the memory of the process that has loaded it. A small library that defines the variable
// is built in front, so that mutations reach the relocations.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <otel_ebpf/tls_variable.hpp>

#include "../unit/elf_image.hpp"

namespace oe = otel_ebpf;

namespace {

void look(std::span<const std::byte> file, std::span<const std::byte> memory) {
    const auto elf = oe::ElfFile::open(oe::ByteSource::from_memory(file));
    if (!elf) return;
    const auto variable = oe::find_tls_variable(*elf, "otel_thread_ctx_v1");
    if (!variable || !*variable) return;
    const oe::ReadMemory read = [memory](std::uint64_t addr, std::span<std::byte> out) -> oe::Result<void> {
        if (memory.size() < out.size()) return oe::fail(oe::Stage::target, "not mapped", EFAULT);
        std::memcpy(out.data(), memory.data() + addr % (memory.size() - out.size() + 1), out.size());
        return {};
    };
    for (const oe::Libc libc : {oe::Libc::glibc, oe::Libc::musl}) {
        const auto place = oe::place_in_process(*elf, **variable, 0x10000, libc, read);
        if (!place) continue;
        const auto& where = place->location;
        if (where.kind == OE_TLS_UNKNOWN || (where.kind == OE_TLS_DTV && (where.module_id == 0 || where.offset < 0)))
            __builtin_trap();
    }
    if (const auto place = oe::local_exec_place(*elf, **variable))
        if (place->location.kind != OE_TLS_STATIC) __builtin_trap();
}

// A library whose .dynsym, relocations and TLS segment are made of the input's bytes.
std::string library_of(const std::uint8_t* data, std::size_t size) {
    ElfImage image;
    image.header.e_type = ET_DYN;
    image.header.e_machine = size != 0 && (data[0] & 1) != 0 ? EM_AARCH64 : EM_X86_64;
    Elf64_Phdr tls{};
    std::memcpy(&tls, data, size < sizeof(tls) ? size : sizeof(tls));
    tls.p_type = PT_TLS;
    if (size < 64 || (data[63] & 1) == 0) tls = {PT_TLS, 0, 0, 0, 0, 0, 48, 8};
    image.segments.push_back(tls);
    Elf64_Sym symbol{};
    symbol.st_name = 1;
    symbol.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_TLS);
    symbol.st_shndx = 1;
    symbol.st_value = size > 1 ? data[1] : 0;
    image.sections.push_back({".dynsym", ElfImage::raw_bytes(Elf64_Sym{}) + ElfImage::raw_bytes(symbol), 0, SHT_DYNSYM});
    std::string relocations;
    for (std::size_t at = 2; at + 3 <= size && relocations.size() < 16 * sizeof(Elf64_Rela); at += 3) {
        constexpr std::uint64_t types[] = {16, 18, 36, 1028, 1030, 1031, 0, 17};
        const Elf64_Rela relocation{data[at], ELF64_R_INFO(std::uint64_t{data[at + 1]} % 3, types[data[at + 1] >> 5]),
                                    data[at + 2]};
        relocations += ElfImage::raw_bytes(relocation);
    }
    image.sections.push_back({".rela.dyn", relocations, 0, SHT_RELA});
    image.sections.push_back({".symtab", std::string(), 0, SHT_SYMTAB});
    std::string file = image.bytes();
    // .dynsym's names: a section that begins with a NUL and the name would do; take the last one and put it there.
    const std::string names = std::string("\0otel_thread_ctx_v1\0", 20);
    const std::size_t names_at = file.size();
    file += names;
    auto header = oe::load<Elf64_Ehdr>(as_bytes(file), 0);
    for (std::size_t i = 0; i < header.e_shnum; ++i) {
        const std::size_t at = header.e_shoff + i * sizeof(Elf64_Shdr);
        auto section = oe::load<Elf64_Shdr>(as_bytes(file), at);
        if (section.sh_type == SHT_DYNSYM) section.sh_link = 3;
        if (section.sh_type == SHT_SYMTAB) {
            section.sh_type = SHT_STRTAB;
            section.sh_offset = names_at;
            section.sh_size = names.size();
        }
        std::memcpy(file.data() + at, &section, sizeof(section));
    }
    return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    look(bytes, bytes);
    const std::string library = library_of(data, size);
    look(as_bytes(library), bytes);
    return 0;
}
