// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A small Go executable around the tables that a fuzzer makes: with them in place of the real ones, mutations reach
// the code behind the checks of the ELF file.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "../unit/elf_image.hpp"

struct GoImage {
    std::string text;        // at ElfImage::text_vaddr
    std::string build_info;  // of .go.buildinfo
    std::string moduledata;
    std::string pclntab;
    std::string abbreviations, debug_info, debug_strings, line_strings;  // DWARF; none when empty
    bool is_pie = false;
    bool has_sections = true;  // of the Go tables; without them they are found by what is in them
    bool has_symbols = false;  // a symbol table that names one function over the whole text
    bool has_compressed_dwarf = false;

    static constexpr std::uint64_t at(std::size_t offset) { return ElfImage::data_vaddr + offset; }

    // .go.buildinfo as linkers since Go 1.18 write it.
    static std::string build_info_of(std::string_view version, std::string_view modules) {
        std::string bytes("\xff Go buildinf:\x08\x02", 16);
        bytes.resize(32);
        for (const std::string_view text : {version, modules}) {
            for (std::size_t left = text.size();; left >>= 7) {
                bytes += static_cast<char>((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
                if (left <= 0x7f) break;
            }
            bytes += text;
        }
        return bytes;
    }
    // Lines of module information, framed.
    static std::string modules_of(std::string_view lines) {
        const std::string frame(16, '\x30');
        return frame + std::string(lines) + frame;
    }

    // Where a part begins in the data segment: the order is build information, moduledata, pclntab.
    [[nodiscard]] std::uint64_t moduledata_vaddr() const { return at(aligned(build_info.size())); }
    [[nodiscard]] std::uint64_t pclntab_vaddr() const { return moduledata_vaddr() + aligned(moduledata.size()); }

    // The moduledata that agrees with the pclntab, as far as its header makes sense. Sized for all releases.
    void derive_moduledata() {
        constexpr std::size_t words = 48;
        std::array<std::uint64_t, words> data{};
        moduledata.assign(words * 8, '\0');
        std::array<std::uint64_t, 9> header{};
        std::memcpy(header.data(), pclntab.data(), std::min(pclntab.size(), sizeof(header)));
        const std::uint64_t table = pclntab_vaddr(), count = header[1], functions = header[8];
        data[0] = table;
        for (std::size_t i = 0; i < 5; ++i) data[1 + 3 * i] = table + header[4 + i];
        data[14] = pclntab.size() - std::min<std::uint64_t>(functions, pclntab.size());
        data[16] = table + functions;
        data[17] = count + 1;
        data[20] = ElfImage::text_vaddr + entry(functions, 0);
        data[21] = ElfImage::text_vaddr + entry(functions, count);
        data[22] = ElfImage::text_vaddr;
        data[23] = ElfImage::text_vaddr + text.size();
        data[38] = data[40] = data[43] = at(0);  // gofunc, see find_function_data()
        std::memcpy(moduledata.data(), data.data(), moduledata.size());
    }

    [[nodiscard]] std::string bytes() const {
        ElfImage image;
        if (is_pie) image.header.e_type = ET_DYN;
        image.text = text;
        for (const std::string* part : {&build_info, &moduledata, &pclntab}) {
            image.data += *part;
            image.data.resize(aligned(image.data.size()));
        }
        constexpr std::uint64_t in_text = SHF_ALLOC | SHF_EXECINSTR, in_data = SHF_ALLOC | SHF_WRITE;
        image.sections.push_back({".text", text, ElfImage::text_vaddr, SHT_PROGBITS, in_text});
        if (has_sections) {
            image.sections.push_back({".go.buildinfo", build_info, at(0), SHT_PROGBITS, in_data});
            image.sections.push_back({".go.module", moduledata, moduledata_vaddr(), SHT_PROGBITS, in_data});
            image.sections.push_back({".gopclntab", pclntab, pclntab_vaddr(), SHT_PROGBITS, in_data});
        }
        if (has_symbols) add_symbols(image);
        const std::uint64_t compressed = has_compressed_dwarf ? SHF_COMPRESSED : 0;
        if (!debug_info.empty()) {
            image.sections.push_back({".debug_abbrev", abbreviations});
            image.sections.push_back({".debug_info", debug_info, 0, SHT_PROGBITS, compressed});
            image.sections.push_back({".debug_str", debug_strings});
            image.sections.push_back({".debug_line_str", line_strings});
        }
        return image.bytes();
    }

private:
    static constexpr std::size_t aligned(std::size_t size) { return (size + 15) & ~std::size_t{15}; }

    [[nodiscard]] std::uint32_t entry(std::uint64_t functions, std::uint64_t index) const {
        std::uint32_t value = 0;
        if (index < pclntab.size() && functions < pclntab.size() && functions + index * 8 + 4 <= pclntab.size())
            std::memcpy(&value, pclntab.data() + functions + index * 8, sizeof(value));
        return value;
    }

    // A symbol table counts as whole when it has more symbols than the pclntab has functions.
    void add_symbols(ElfImage& image) const {
        Elf64_Sym symbol{};
        symbol.st_name = 1;
        symbol.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
        symbol.st_shndx = 1;
        symbol.st_value = ElfImage::text_vaddr;
        symbol.st_size = text.size();
        std::string symbols = ElfImage::raw_bytes(Elf64_Sym{});
        for (int i = 0; i < 16; ++i) symbols += ElfImage::raw_bytes(symbol);
        // The names follow as the next section; section 0 is the empty one.
        const auto names = static_cast<std::uint32_t>(image.sections.size() + 2);
        image.sections.push_back({".symtab", symbols, 0, SHT_SYMTAB, 0, names});
        image.sections.push_back({".strtab", std::string("\0main.main\0", 11), 0, SHT_STRTAB});
    }
};
