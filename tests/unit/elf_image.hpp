// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ElfImage: a small ELF executable built in memory, to be damaged by tests.
#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct ElfImage {
    struct Section {
        std::string name;
        std::string content;
        std::uint64_t vaddr = 0;
        std::uint32_t type = SHT_PROGBITS;
        std::uint64_t flags = 0;
        std::uint32_t link = 0;
    };

    static constexpr std::uint64_t text_vaddr = 0x401000;
    static constexpr std::uint64_t data_vaddr = 0x600000;

    Elf64_Ehdr header{};
    std::vector<Elf64_Phdr> segments;
    std::vector<Section> sections;
    std::string text = std::string(256, '\x90');
    std::string data;  // of the writable segment

    ElfImage() {
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = ELFCLASS64;
        header.e_ident[EI_DATA] = ELFDATA2LSB;
        header.e_ident[EI_VERSION] = EV_CURRENT;
        header.e_type = ET_EXEC;
        header.e_machine = EM_X86_64;
        header.e_version = EV_CURRENT;
        header.e_ehsize = sizeof(Elf64_Ehdr);
        header.e_phentsize = sizeof(Elf64_Phdr);
        header.e_shentsize = sizeof(Elf64_Shdr);
    }

    // Sections with an address inside a segment are headers only; others bring their content.
    [[nodiscard]] std::string bytes() const {
        std::vector<Elf64_Phdr> headers = segments;
        const std::uint64_t text_offset = sizeof(Elf64_Ehdr) + (headers.size() + 2) * sizeof(Elf64_Phdr);
        const std::uint64_t data_offset = text_offset + text.size();
        headers.push_back(load_segment(PF_R | PF_X, text_offset, text_vaddr, text.size()));
        headers.push_back(load_segment(PF_R | PF_W, data_offset, data_vaddr, data.size()));

        std::string body = text + data;
        std::string names(1, '\0');
        std::vector<Elf64_Shdr> table(1);
        const auto add = [&](const Section& section) {
            Elf64_Shdr raw{};
            raw.sh_name = static_cast<Elf64_Word>(names.size());
            raw.sh_type = section.type;
            raw.sh_addr = section.vaddr;
            raw.sh_offset = section.vaddr == 0           ? text_offset + body.size()
                            : section.vaddr < data_vaddr ? text_offset + section.vaddr - text_vaddr
                                                         : data_offset + section.vaddr - data_vaddr;
            raw.sh_size = section.content.size();
            raw.sh_flags = section.flags;
            raw.sh_link = section.link;
            if (section.vaddr == 0) body += section.content;
            names += section.name + '\0';
            table.push_back(raw);
        };
        for (const Section& section : sections) add(section);
        Section own_names{".shstrtab", names + ".shstrtab" + '\0', 0, SHT_STRTAB};
        add(own_names);

        Elf64_Ehdr start = header;
        start.e_phoff = sizeof(Elf64_Ehdr);
        start.e_phnum = static_cast<Elf64_Half>(headers.size());
        start.e_shoff = text_offset + body.size();
        start.e_shnum = static_cast<Elf64_Half>(table.size());
        start.e_shstrndx = static_cast<Elf64_Half>(table.size() - 1);
        std::string file = raw_bytes(start);
        for (const Elf64_Phdr& segment : headers) file += raw_bytes(segment);
        file += body;
        for (const Elf64_Shdr& section : table) file += raw_bytes(section);
        return file;
    }

    template <class T>
    static std::string raw_bytes(const T& value) {
        return {reinterpret_cast<const char*>(&value), sizeof(T)};
    }

private:
    static Elf64_Phdr load_segment(std::uint32_t flags, std::uint64_t offset, std::uint64_t vaddr, std::uint64_t size) {
        Elf64_Phdr segment{};
        segment.p_type = PT_LOAD;
        segment.p_flags = flags;
        segment.p_offset = offset;
        segment.p_vaddr = vaddr;
        segment.p_filesz = segment.p_memsz = size;
        return segment;
    }
};

inline std::span<const std::byte> as_bytes(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

inline std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}
