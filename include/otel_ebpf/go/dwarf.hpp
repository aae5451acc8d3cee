// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// DwarfTypes: struct layouts from the debug information that an unstripped Go executable carries.
#pragma once

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <libelf.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>

namespace otel_ebpf::go {

enum class DwarfState : std::uint8_t { found, no_type, no_member };

struct DwarfAnswer {
    DwarfState state = DwarfState::no_type;
    std::uint64_t value = 0;
};

// Opening reads and indexes all debug information: tens of milliseconds. Not thread-safe. The descriptor behind the
// ElfFile must stay open.
class DwarfTypes {
public:
    static Result<DwarfTypes> open(const ElfFile& elf) {
        if (auto sized = check_sizes(elf); !sized) return tl::unexpected(std::move(sized).error());
        if (elf_version(EV_CURRENT) == EV_NONE)
            return fail(Stage::unsupported, "can't be read by this libelf: " + std::string(elf_errmsg(-1)));
        DwarfTypes types;
        const ByteSource& source = elf.source();
        if (source.fd() < 0) {
            // A copy: libdw changes the section headers of what it decompresses where they are.
            auto copy = source.read(0, source.size());
            if (!copy) return tl::unexpected(std::move(copy).error());
            types.copy_ = std::move(*copy);
        }
        types.elf_.reset(source.fd() >= 0 ? elf_begin(source.fd(), ELF_C_READ, nullptr)
                                          : elf_memory(reinterpret_cast<char*>(types.copy_.bytes().data()),
                                                       types.copy_.size()));
        if (!types.elf_) return fail(Stage::target, "can't be read by libelf: " + std::string(elf_errmsg(-1)));
        types.dwarf_.reset(dwarf_begin_elf(types.elf_.get(), DWARF_C_READ, nullptr));
        if (!types.dwarf_) return fail(Stage::target, "has no usable DWARF: " + std::string(dwarf_errmsg(-1)));
        if (auto indexed = types.index_structs(); !indexed) return tl::unexpected(std::move(indexed).error());
        return types;
    }

    // `type` as the linker spells it: "net/http.Request". `member` may lead through embedded structs: "stack.hi".
    [[nodiscard]] DwarfAnswer member_offset(std::string_view type, std::string_view member) const {
        auto die = find(type);
        if (!die) return {DwarfState::no_type};
        std::uint64_t offset = 0;
        while (true) {
            const std::size_t dot = member.find('.');
            auto field = field_of(*die, member.substr(0, dot));
            const auto at = field ? constant_location(*field) : std::nullopt;
            if (!at) return {DwarfState::no_member};
            offset += *at;
            if (dot == std::string_view::npos) return {DwarfState::found, offset};
            member.remove_prefix(dot + 1);
            die = struct_type_of(*field);
            if (!die) return {DwarfState::no_member};
        }
    }

    [[nodiscard]] DwarfAnswer size_of(std::string_view type) const {
        auto die = find(type);
        Dwarf_Word size = 0;
        if (!die || dwarf_aggregate_size(&*die, &size) != 0) return {DwarfState::no_type};
        return {DwarfState::found, size};
    }

private:
    struct EndElf {
        void operator()(Elf* elf) const { elf_end(elf); }
    };
    struct EndDwarf {
        void operator()(Dwarf* dwarf) const { dwarf_end(dwarf); }
    };

    // libdw decompresses every debug section when it opens the file: bound the sum of their sizes first.
    static Result<void> check_sizes(const ElfFile& elf) {
        constexpr std::uint64_t max_bytes = 192 << 20;  // a 100 MB Go executable has about 40 MB
        constexpr std::uint64_t max_zlib_ratio = 1032;   // what deflate can do at best
        std::uint64_t total = 0;
        bool has_info = false;
        for (const ElfSection& section : elf.sections()) {
            if (section.name == ".gnu_debugaltlink" || section.name == ".debug_sup")
                return fail(Stage::unsupported, "keeps a part of its DWARF in another file (" + section.name +
                                                    "): a file that it names is not opened");
            const bool is_old_style = section.name.starts_with(".zdebug_");
            if (!is_old_style && !section.name.starts_with(".debug_")) continue;
            has_info = has_info || section.name.ends_with("debug_info");
            std::uint64_t size = section.size;
            bool is_zlib = is_old_style;
            if ((section.flags & SHF_COMPRESSED) != 0 && section.size >= sizeof(Elf64_Chdr)) {
                auto header = elf.source().read(section.offset, sizeof(Elf64_Chdr));
                if (!header) return tl::unexpected(std::move(header).error());
                const auto compressed = load<Elf64_Chdr>(std::as_const(*header).bytes(), 0);
                size = compressed.ch_size;
                is_zlib = compressed.ch_type == ELFCOMPRESS_ZLIB;
            } else if (is_old_style && section.size >= 12) {  // "ZLIB", then the size, most significant byte first
                auto header = elf.source().read(section.offset, 12);
                if (!header) return tl::unexpected(std::move(header).error());
                size = __builtin_bswap64(load<std::uint64_t>(std::as_const(*header).bytes(), 4));
            }
            if (is_zlib && size / max_zlib_ratio > section.size)
                return fail(Stage::target, "has damaged DWARF: " + std::to_string(section.size) + " bytes of " +
                                               section.name + " claim to hold " + std::to_string(size));
            if (size > max_bytes || (total += size) > max_bytes)
                return fail(Stage::unsupported, "has more than 192 MiB of DWARF: too much to read");
        }
        if (!has_info) return fail(Stage::target, "has no DWARF (built with -w, or stripped)");
        return {};
    }

    Result<void> index_structs() {
        constexpr std::size_t max_entries = 4 << 20;  // top-level ones; a 100 MB Go executable has some 100,000
        std::size_t entries = 0;
        Dwarf_CU* unit = nullptr;
        Dwarf_Die unit_die{};
        while (dwarf_get_units(dwarf_.get(), unit, &unit, nullptr, nullptr, &unit_die, nullptr) == 0) {
            Dwarf_Die die{};
            if (dwarf_child(&unit_die, &die) != 0) continue;
            while (true) {
                if (++entries > max_entries)
                    return fail(Stage::unsupported, "has more than 4,194,304 top-level entries of DWARF: too many");
                const Dwarf_Off offset = dwarf_dieoffset(&die);
                const char* name = dwarf_tag(&die) == DW_TAG_structure_type ? dwarf_diename(&die) : nullptr;
                if (name != nullptr) structs_.emplace(name, offset);
                // Damaged sibling references may lead back.
                if (dwarf_siblingof(&die, &die) != 0 || dwarf_dieoffset(&die) <= offset) break;
            }
        }
        return {};
    }

    [[nodiscard]] std::optional<Dwarf_Die> find(std::string_view type) const {
        const auto found = structs_.find(type);
        Dwarf_Die die{};
        if (found == structs_.end() || dwarf_offdie(dwarf_.get(), found->second, &die) == nullptr) return std::nullopt;
        return die;
    }

    static std::optional<Dwarf_Die> field_of(Dwarf_Die type, std::string_view name) {
        Dwarf_Die die{};
        if (dwarf_child(&type, &die) != 0) return std::nullopt;
        while (true) {
            const Dwarf_Off offset = dwarf_dieoffset(&die);
            const char* own_name = dwarf_tag(&die) == DW_TAG_member ? dwarf_diename(&die) : nullptr;
            if (own_name != nullptr && own_name == name) return die;
            if (dwarf_siblingof(&die, &die) != 0 || dwarf_dieoffset(&die) <= offset) return std::nullopt;
        }
    }

    // Go writes constants; a location expression is not evaluated.
    static std::optional<std::uint64_t> constant_location(Dwarf_Die member) {
        Dwarf_Attribute attribute{};
        Dwarf_Word value = 0;
        if (dwarf_attr(&member, DW_AT_data_member_location, &attribute) == nullptr) return std::nullopt;
        if (dwarf_formudata(&attribute, &value) == 0 && value <= UINT32_MAX) return value;
        return std::nullopt;
    }

    static std::optional<Dwarf_Die> struct_type_of(Dwarf_Die die) {
        constexpr int max_typedefs = 8;
        for (int i = 0; i < max_typedefs; ++i) {
            Dwarf_Attribute attribute{};
            Dwarf_Die type{};
            if (dwarf_attr(&die, DW_AT_type, &attribute) == nullptr || dwarf_formref_die(&attribute, &type) == nullptr)
                return std::nullopt;
            if (dwarf_tag(&type) == DW_TAG_structure_type) return type;
            if (dwarf_tag(&type) != DW_TAG_typedef) return std::nullopt;
            die = type;
        }
        return std::nullopt;
    }

    ByteBuffer copy_;  // of a file in memory; outlives elf_
    std::unique_ptr<Elf, EndElf> elf_;
    std::unique_ptr<Dwarf, EndDwarf> dwarf_;                   // after elf_: closed before it
    std::unordered_map<std::string_view, Dwarf_Off> structs_;  // names live in dwarf_
};

}  // namespace otel_ebpf::go
