// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Compares the offset tables with the DWARF of executables: offset_agreement FILE...
//
// Prints one line "N MODULE VERSION" per module version in them, N the values that were compared, and a line per
// difference, with which the exit code is 1. Without a file it prints "MODULE VERSION" for all releases of the tables.
#include <cstdio>
#include <string>

#include "../offset_agreement.hpp"

namespace {

namespace oe = otel_ebpf;

void print_releases() {
    for (const oe::go::OffsetModule& table : oe::go::offset_modules)
        for (const oe::go::OffsetRelease& release : table.releases) {
            const oe::Version& version = release.version;
            if (table.is_by_date())
                std::printf("%s %04u%04u%06u\n", std::string(table.path).c_str(), version.major, version.minor,
                            version.patch);
            else std::printf("%s v%s\n", std::string(table.path).c_str(), version.to_string().c_str());
        }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) print_releases();
    bool all_agree = true;
    for (int i = 1; i < argc; ++i) {
        const auto executable = oe::Executable::open(argv[i]);
        const auto agreement = executable ? compare_with_dwarf(**executable) : tl::unexpected(executable.error());
        if (!agreement) {
            std::fprintf(stderr, "%s\n", agreement.error().what.c_str());
            return 2;
        }
        for (const auto& [module_version, count] : agreement->compared)
            std::printf("%zu %s\n", count, module_version.c_str());
        for (const std::string& difference : agreement->differences)
            std::printf("%s: %s\n", argv[i], difference.c_str());
        all_agree = all_agree && agreement->differences.empty();
    }
    return all_agree ? 0 : 1;
}
