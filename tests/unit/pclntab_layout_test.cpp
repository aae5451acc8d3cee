// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Every layout of the Go function table since Go 1.16, built by hand: toolchains of the oldest are not to be had.
#include <cstdint>
#include <string>

#include <otel_ebpf/go/function_index.hpp>
#include <otel_ebpf/go/pclntab.hpp>
#include <otel_ebpf/go/text_start.hpp>

#include "../test.hpp"
#include "elf_image.hpp"

namespace {

using namespace otel_ebpf;

template <class T>
std::string word(T value) {
    return ElfImage::raw_bytes(value);
}

void pad(std::string& bytes, std::size_t multiple) {
    bytes.resize((bytes.size() + multiple - 1) / multiple * multiple, '\0');
}

constexpr std::uint64_t text_start = ElfImage::text_vaddr;
constexpr std::uint64_t stride = 32;  // between functions
const std::string code("\x55\x48\x89\xe5\x90\x5d\xc3", 7);  // push %rbp; mov %rsp,%rbp; nop; pop %rbp; ret
const std::vector<std::string> names{"main.one", "main.two", "example.com/vendor/lib.three", "main.four"};

struct GoImage : ElfImage {
    std::string table;
    std::uint64_t table_vaddr = 0;
    std::uint64_t module_vaddr = 0;

    // `before` lies in front of the table, as other data does.
    explicit GoImage(std::uint32_t magic, std::string before = std::string(64, 'x'), bool has_moduledata = true) {
        const bool is_old = magic == go::pclntab_magic_1_16;
        text.clear();
        for (std::size_t i = 0; i < names.size(); ++i) {
            std::string function = code;
            function.resize(stride, '\xcc');
            text += function;
        }
        std::string name_part, pc_values(1, '\0');
        std::vector<std::uint32_t> name_offsets;
        for (const std::string& name : names) {
            name_offsets.push_back(static_cast<std::uint32_t>(name_part.size()));
            name_part += name + '\0';
        }
        pad(name_part, 8);
        // The stack pointer is 0 bytes below for 1 byte, 8 for 5 and 0 for 1: {zigzag of the difference, length}.
        const auto pcsp = static_cast<std::uint32_t>(pc_values.size());
        pc_values += std::string("\x02\x01\x10\x05\x0f\x01\x00", 7);
        pad(pc_values, 8);
        std::string entries, records;
        const std::size_t entry_bytes = is_old ? 16 : 8;
        const std::size_t records_at = (names.size() + 1) * entry_bytes;
        for (std::size_t i = 0; i <= names.size(); ++i) {
            const std::uint64_t offset = i * stride;
            if (is_old) entries += word(text_start + offset) + word(std::uint64_t{records_at + records.size()});
            else entries += word(static_cast<std::uint32_t>(offset)) +
                            word(static_cast<std::uint32_t>(records_at + records.size()));
            if (i == names.size()) break;
            if (is_old) records += word(text_start + offset);
            else records += word(static_cast<std::uint32_t>(offset));
            records += word(name_offsets[i]) + std::string(8, '\0') + word(pcsp) + std::string(24, '\0');
        }
        const std::size_t header_bytes = is_old ? 64 : 72;
        const std::uint64_t at_units = header_bytes + name_part.size(), at_files = at_units + 8,
                            at_values = at_files + 8, at_functions = at_values + pc_values.size();
        table = word(magic) + std::string("\0\0\x01\x08", 4) + word(std::uint64_t{names.size()}) +
                word(std::uint64_t{1});
        if (!is_old) table += word(text_start);
        table += word(std::uint64_t{header_bytes}) + word(at_units) + word(at_files) + word(at_values) +
                 word(at_functions);
        table += name_part + std::string(16, '\0') + pc_values + entries + records;

        pad(before, 8);
        table_vaddr = data_vaddr + before.size();
        data = before + table;
        pad(data, 8);
        module_vaddr = data_vaddr + data.size();
        if (!has_moduledata) return;
        const auto slice = [&](std::uint64_t offset, std::uint64_t count) {
            data += word(table_vaddr + offset) + word(count) + word(count);
        };
        data += word(table_vaddr);
        slice(header_bytes, name_part.size());
        slice(at_units, 2);
        slice(at_files, 8);
        slice(at_values, pc_values.size());
        slice(at_functions, entries.size() + records.size());
        slice(at_functions, names.size() + 1);
        data += word(std::uint64_t{0});  // findfunctab
        data += word(text_start) + word(text_start + names.size() * stride);
        data += word(text_start) + word(text_start + names.size() * stride);
    }

    [[nodiscard]] std::string without_sections() const {
        std::string file = bytes();
        auto start = load<Elf64_Ehdr>(as_bytes(file), 0);
        start.e_shoff = 0;
        start.e_shnum = start.e_shstrndx = 0;
        return file.replace(0, sizeof(start), raw_bytes(start));
    }
};

void check_functions(const std::string& file) {
    const auto elf = ElfFile::open(ByteSource::from_memory(as_bytes(file)));
    REQUIRE(elf);
    const auto header = go::read_pclntab_header(*elf);
    if (!header) FAIL(header.error().what);
    const auto start = go::find_text_start(*elf, *header);
    if (!start) FAIL(start.error().what);
    CHECK(*start == text_start);
    const auto table = go::Pclntab::open(*elf, *header);
    REQUIRE(table);
    const auto index = go::FunctionIndex::open(*elf, *header);
    REQUIRE(index);
    REQUIRE(table->size() == names.size());
    REQUIRE(index->size() == names.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
        const auto entry = index->entry(i);
        REQUIRE(entry);
        CHECK(table->name(i) == names[i]);
        CHECK(index->name(*entry) == names[i]);
        CHECK(table->entry(i) == i * stride);
        CHECK(entry->offset == i * stride);
        CHECK(table->code_size(i) == code.size());
        CHECK(index->code_size(*entry) == code.size());
        CHECK(table->index_at(i * stride + 3) == i);
        CHECK(index->at(i * stride + 3)->value().index == i);
    }
    CHECK_FALSE(index->entry(names.size()));
    CHECK_FALSE(index->at(names.size() * stride)->has_value());
    std::vector<std::string> found;
    const std::vector<std::string_view> wanted{"main.four", "lib.three", "ain.one"};
    REQUIRE(index->find(go::NameSet(wanted), [&](const go::FunctionIndex::Entry&, std::string_view name) {
        found.emplace_back(name);
        return true;
    }));
    CHECK(found == std::vector<std::string>{"example.com/vendor/lib.three", "main.four"});
}

TEST_CASE("pclntab layout: each since Go 1.16 is read, with and without section headers") {
    for (const std::uint32_t magic : {go::pclntab_magic_1_16, go::pclntab_magic_1_18, go::pclntab_magic_1_20}) {
        CAPTURE(magic);
        GoImage image(magic);
        check_functions(image.without_sections());
        for (const std::string name : {".gopclntab", ".data.rel.ro.gopclntab"}) {
            GoImage with_section(magic);
            with_section.sections.push_back({name, with_section.table, with_section.table_vaddr});
            check_functions(with_section.bytes());
        }
    }
}

TEST_CASE("pclntab layout: of several tables in the data, the one that moduledata names is taken") {
    const GoImage decoy(go::pclntab_magic_1_20, "", false);
    check_functions(GoImage(go::pclntab_magic_1_18, decoy.table).without_sections());
    std::string many;
    for (int i = 0; i < 12; ++i) many += decoy.table, pad(many, 8);
    check_functions(GoImage(go::pclntab_magic_1_20, many).without_sections());
}

TEST_CASE("pclntab layout: without moduledata, or of a layout that nobody knows, it is refused") {
    const auto is_refused = [](const std::string& file, std::string_view reason) {
        const auto elf = ElfFile::open(ByteSource::from_memory(as_bytes(file)));
        REQUIRE(elf);
        const auto header = go::read_pclntab_header(*elf);
        return !header && header.error().what.find(reason) != std::string::npos;
    };
    CHECK(is_refused(GoImage(go::pclntab_magic_1_20, "", false).without_sections(), "has no Go function table"));
    for (const std::uint32_t magic : {0xfffffffbu, 0xffffffefu, 0u}) {  // Go 1.2 to 1.15; none; none
        GoImage image(magic);
        CHECK(is_refused(image.without_sections(), "has no Go function table"));
        image.sections.push_back({".gopclntab", image.table, image.table_vaddr});
        CHECK(is_refused(image.bytes(), "of unknown format"));
    }
}

}  // namespace
