// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Compares the offset tables with the DWARF of an executable.
#pragma once

#include <otel_ebpf/executable.hpp>

#include <map>
#include <span>
#include <string>
#include <vector>

struct OffsetAgreement {
    std::map<std::string, std::size_t> compared;  // "std go1.26.8", "google.golang.org/grpc v1.60.0": values in both
    std::vector<std::string> differences;
};

// Of every module that is linked into the executable and has a table with its version. Values that only one of the two
// knows count as differences, but for types that are not linked.
inline otel_ebpf::Result<OffsetAgreement> compare_with_dwarf(
    const otel_ebpf::Executable& executable,
    std::span<const otel_ebpf::go::OffsetModule> tables = otel_ebpf::go::offset_modules) {
    using namespace otel_ebpf;
    const auto dwarf = go::DwarfTypes::open(executable.elf());
    if (!dwarf) return tl::unexpected(dwarf.error());
    OffsetAgreement result;
    const auto compare = [&](const go::OffsetModule& table, const Version& version, const std::string& label) {
        for (const go::OffsetEntry& entry : table.entries) {
            const std::string type = go::escape_path(entry.package) + "." + std::string(entry.type);
            const auto actual =
                entry.member.empty() ? dwarf->size_of(type) : dwarf->member_offset(type, entry.member);
            if (actual.state == go::DwarfState::no_type) continue;
            const auto listed = go::find_offset(table, version, entry.package, entry.type, entry.member);
            if (listed.state == go::OffsetState::unknown) continue;
            ++result.compared[label];
            const bool is_found = actual.state == go::DwarfState::found;
            if (is_found != (listed.state == go::OffsetState::known) || (is_found && actual.value != listed.value))
                result.differences.push_back(label + ": " + type + "." + std::string(entry.member) + ": table " +
                                             std::to_string(listed.value) + ", DWARF " +
                                             (is_found ? std::to_string(actual.value) : "none"));
        }
    };
    const auto go_version = executable.go_version();
    for (const go::OffsetModule& table : tables) {
        if (!go_version || !table.go.contains(*go_version)) continue;
        if (table.path == "std") {
            compare(table, *go_version, "std " + std::string(executable.go_version_text()));
            continue;
        }
        for (const go::Dependency& dependency : executable.modules()) {
            const go::Module& code = dependency.effective();
            const auto version = table.is_by_date() ? go::version_by_date(code.version) : code.known_version();
            if (code.path == table.path && version) compare(table, *version, code.path + " " + code.version);
        }
    }
    return result;
}
