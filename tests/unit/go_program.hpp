// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A Go program as the tests of the site selector see it: by its symbol table, and without the library's own readers.
#pragma once

#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <otel_ebpf/site/select.hpp>

#include "test.hpp"

namespace go_program {

namespace site = otel_ebpf::site;

struct Symbol {
    std::uint64_t vaddr;
    std::uint64_t size;
    std::string name;
};

// Text, data and symbol table of a Go program.
class Program {
public:
    explicit Program(const std::string& path) {
        std::ifstream file(path, std::ios::binary);
        content_.assign(std::istreambuf_iterator<char>(file), {});
        elf_version(EV_CURRENT);
        const std::unique_ptr<Elf, int (*)(Elf*)> elf(elf_memory(content_.data(), content_.size()), elf_end);
        REQUIRE(elf != nullptr);
        std::size_t names = 0;
        REQUIRE(elf_getshdrstrndx(elf.get(), &names) == 0);
        for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf.get(), section)) != nullptr;) {
            GElf_Shdr header;
            REQUIRE(gelf_getshdr(section, &header) != nullptr);
            if (header.sh_type == SHT_SYMTAB) read_symbols(elf.get(), section, header);
            if (header.sh_type != SHT_PROGBITS || (header.sh_flags & SHF_ALLOC) == 0) continue;
            const Elf_Data* const data = elf_rawdata(section, nullptr);
            const site::Section part{header.sh_addr, {static_cast<const std::byte*>(data->d_buf), data->d_size}};
            const std::string name = elf_strptr(elf.get(), names, header.sh_name);
            if ((header.sh_flags & SHF_EXECINSTR) != 0) text_.push_back(part);
            else if (name != ".gopclntab") data_.push_back(part);
            if (name == ".rodata" || name == ".go.type") method_tables_.push_back(part);
        }
        std::sort(symbols_.begin(), symbols_.end(), [](const Symbol& a, const Symbol& b) { return a.vaddr < b.vaddr; });
        for (const Symbol& symbol : symbols_) by_vaddr_.emplace(symbol.vaddr, &symbol);
        for (const Symbol& symbol : symbols_) by_name_.emplace(symbol.name, &symbol);
    }

    [[nodiscard]] const std::vector<Symbol>& symbols() const { return symbols_; }
    [[nodiscard]] const Symbol* find(const std::string& name) const {
        const auto found = by_name_.find(name);
        return found == by_name_.end() ? nullptr : found->second;
    }
    [[nodiscard]] std::optional<site::Code> code(const Symbol& symbol) const {
        for (const site::Section& part : text_)
            if (symbol.vaddr >= part.vaddr && symbol.vaddr - part.vaddr < part.bytes.size() &&
                symbol.size <= part.bytes.size() - (symbol.vaddr - part.vaddr))
                return site::Code{symbol.vaddr, part.bytes.subspan(symbol.vaddr - part.vaddr, symbol.size),
                                  symbol.name};
        return std::nullopt;
    }
    [[nodiscard]] bool is_morestack(std::uint64_t vaddr) const {
        const auto found = by_vaddr_.find(vaddr);
        return found != by_vaddr_.end() && found->second->name.rfind("runtime.morestack", 0) == 0;
    }
    [[nodiscard]] site::MorestackQuery morestack_query() const {
        return [this](std::uint64_t vaddr) { return is_morestack(vaddr); };
    }
    [[nodiscard]] site::Image image() const {
        site::Image image;
        image.text = text_;
        image.data = data_;
        image.method_tables = method_tables_;
        image.go_text_start = text_start_;
        image.function_at = [this](std::uint64_t vaddr) -> std::optional<site::Code> {
            const auto after = std::upper_bound(symbols_.begin(), symbols_.end(), vaddr,
                                                [](std::uint64_t v, const Symbol& s) { return v < s.vaddr; });
            return after == symbols_.begin() ? std::nullopt : code(*std::prev(after));
        };
        return image;
    }
    [[nodiscard]] std::size_t text_size() const {
        std::size_t size = 0;
        for (const site::Section& part : text_) size += part.bytes.size();
        return size;
    }

private:
    void read_symbols(Elf* elf, Elf_Scn* section, const GElf_Shdr& header) {
        Elf_Data* const data = elf_getdata(section, nullptr);
        for (int i = 0; i < static_cast<int>(header.sh_size / header.sh_entsize); ++i) {
            GElf_Sym symbol;
            REQUIRE(gelf_getsym(data, i, &symbol) != nullptr);
            const std::string name = elf_strptr(elf, header.sh_link, symbol.st_name);
            if (name == "runtime.text") text_start_ = symbol.st_value;
            if (GELF_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_size != 0)
                symbols_.push_back({symbol.st_value, symbol.st_size, name});
        }
    }

    std::string content_;
    std::vector<site::Section> text_, data_, method_tables_;
    std::vector<Symbol> symbols_;
    std::map<std::uint64_t, const Symbol*> by_vaddr_;
    std::map<std::string, const Symbol*> by_name_;
    std::uint64_t text_start_ = 0;
};

}  // namespace go_program
