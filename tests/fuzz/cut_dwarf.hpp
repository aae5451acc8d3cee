// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The debug information of a few structs, cut out of that of a real Go executable: one unit, references between the
// structs kept.
#pragma once

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <libelf.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <string_view>

struct DwarfCut {
    std::string abbreviations;
    std::string info;
    std::string strings;

    // Empty when the file has no such structs.
    static DwarfCut of(const std::string& path, const std::set<std::string_view>& names) {
        DwarfCut cut;
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (Dwarf* const dwarf = dwarf_begin(fd, DWARF_C_READ)) {
            Dwarf_CU* unit = nullptr;
            Dwarf_Die unit_die{};
            while (cut.info.empty() &&
                   dwarf_get_units(dwarf, unit, &unit, nullptr, nullptr, &unit_die, nullptr) == 0)
                cut.cut_unit(unit_die, names);
            cut.abbreviations = section(dwarf, ".debug_abbrev", 8192);
            cut.strings = section(dwarf, ".debug_str", 256);
            dwarf_end(dwarf);
        }
        if (fd >= 0) ::close(fd);
        return cut;
    }

private:
    static std::string section(Dwarf* dwarf, std::string_view name, std::size_t most) {
        Elf* const elf = dwarf_getelf(dwarf);
        std::size_t names = 0;
        elf_getshdrstrndx(elf, &names);
        for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
            const Elf64_Shdr* const header = elf64_getshdr(section);
            if (header == nullptr || name != elf_strptr(elf, names, header->sh_name)) continue;
            const Elf_Data* const data = elf_getdata(section, nullptr);
            if (data != nullptr) return {static_cast<const char*>(data->d_buf), std::min(most, data->d_size)};
        }
        return {};
    }

    void cut_unit(Dwarf_Die unit_die, const std::set<std::string_view>& names) {
        Dwarf_Die die{}, next{};
        if (dwarf_child(&unit_die, &die) != 0) return;
        const auto begin_of = [](const Dwarf_Die& entry) { return static_cast<const char*>(entry.addr); };
        const std::size_t header_bytes = dwarf_cuoffset(&unit_die);
        const char* const section = begin_of(unit_die) - dwarf_dieoffset(&unit_die);
        std::string bytes(begin_of(unit_die) - header_bytes, begin_of(die));
        std::map<Dwarf_Off, std::uint32_t> moved;        // old offset of a struct -> new one
        std::map<std::uint32_t, Dwarf_Off> references;   // place in `bytes` -> old offset
        for (; dwarf_siblingof(&die, &next) == 0; die = next) {
            const char* const name = dwarf_tag(&die) == DW_TAG_structure_type ? dwarf_diename(&die) : nullptr;
            if (name == nullptr || !names.contains(name)) continue;
            const auto at = static_cast<std::uint32_t>(bytes.size());
            moved[dwarf_dieoffset(&die)] = at;
            Dwarf_Die member{};
            for (int more = dwarf_child(&die, &member); more == 0; more = dwarf_siblingof(&member, &member)) {
                Dwarf_Attribute attribute{};
                Dwarf_Die type{};
                if (dwarf_attr(&member, DW_AT_type, &attribute) == nullptr || attribute.form != DW_FORM_ref_addr ||
                    dwarf_formref_die(&attribute, &type) == nullptr)
                    continue;
                const auto* const place = reinterpret_cast<const char*>(attribute.valp);
                references[at + static_cast<std::uint32_t>(place - begin_of(die))] = dwarf_dieoffset(&type);
            }
            bytes.append(section + dwarf_dieoffset(&die), section + dwarf_dieoffset(&next));
        }
        if (moved.size() != names.size()) return;
        for (const auto& [place, old] : references) {
            const std::uint32_t target = moved.contains(old) ? moved[old] : static_cast<std::uint32_t>(header_bytes);
            std::memcpy(bytes.data() + place, &target, sizeof(target));
        }
        bytes += '\0';
        const auto length = static_cast<std::uint32_t>(bytes.size() - sizeof(std::uint32_t));
        std::memcpy(bytes.data(), &length, sizeof(length));
        info = std::move(bytes);
    }
};
