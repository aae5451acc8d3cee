// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The generated offset table: its shape, its rules for unmeasured releases, and its agreement with DWARF.
#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/go/offset_table.hpp>

#include <algorithm>
#include <array>
#include <string>
#include <tuple>

#include "../test.hpp"
#include "go_targets.hpp"

namespace {

using namespace otel_ebpf;
using go::OffsetState;

constexpr std::array<Version, 5> releases{{{1, 19, 0}, {1, 19, 9}, {1, 21, 0}, {1, 21, 5}, {1, 21, 9}}};
constexpr std::array<go::OffsetRun, 5> runs{{{0, 8}, {2, 16}, {4, 24}, {0, go::absent_offset}, {2, 0}}};
constexpr std::array<go::OffsetEntry, 2> entries{{{"p", "T", "moved", 0, 3}, {"p", "T", "new", 3, 2}}};
constexpr go::OffsetModule module{"std", releases, runs, entries};

constexpr go::OffsetAnswer moved(Version version) {
    return go::find_offset(module, version, "p", "T", "moved");
}
constexpr go::OffsetAnswer added(Version version) {
    return go::find_offset(module, version, "p", "T", "new");
}

TEST_CASE("offset_table: measured releases, those between, and those outside") {
    STATIC_REQUIRE(moved({1, 19, 0}).value == 8);
    STATIC_REQUIRE(moved({1, 19, 5}).state == OffsetState::known);  // between two that agree
    STATIC_REQUIRE_FALSE(moved({1, 19, 5}).assumed);
    STATIC_REQUIRE(moved({1, 19, 12}).value == 8);  // newer than the last
    STATIC_REQUIRE(moved({1, 19, 12}).assumed);
    STATIC_REQUIRE(moved({1, 18, 0}).state == OffsetState::unknown);
    STATIC_REQUIRE(moved({1, 20, 0}).state == OffsetState::unknown);  // a minor that was not measured
    STATIC_REQUIRE(moved({1, 22, 0}).state == OffsetState::unknown);
    STATIC_REQUIRE(moved({1, 21, 3}).value == 16);
    STATIC_REQUIRE(moved({1, 21, 7}).state == OffsetState::unknown);         // between two that differ
    STATIC_REQUIRE(moved({1, 21, 0, false}).state == OffsetState::unknown);  // before the first
    STATIC_REQUIRE(added({1, 19, 0}).state == OffsetState::absent);
    STATIC_REQUIRE(added({1, 21, 0}).state == OffsetState::known);  // 0 is an offset, not "missing"
    STATIC_REQUIRE(added({1, 21, 0}).value == 0);
    STATIC_REQUIRE(go::find_offset(module, {1, 19, 0}, "p", "T", "other").state == OffsetState::unknown);
    SUCCEED();
}

TEST_CASE("offset_table: sorted, and every run and release in range") {
    for (const go::OffsetModule& rows : go::offset_modules) {
        CHECK(std::ranges::is_sorted(rows.releases));
        CHECK(std::ranges::is_sorted(rows.entries, [](const auto& a, const auto& b) {
            return std::tie(a.package, a.type, a.member) < std::tie(b.package, b.type, b.member);
        }));
        for (const go::OffsetEntry& entry : rows.entries) {
            CAPTURE(entry.package, entry.type, entry.member);
            REQUIRE(entry.run_count > 0);
            REQUIRE(std::size_t{entry.first_run} + entry.run_count <= rows.runs.size());
            CHECK(rows.runs[entry.first_run].release == 0);
            bool is_known = false;
            for (const go::OffsetRun& run : rows.runs.subspan(entry.first_run, entry.run_count)) {
                CHECK(run.release < rows.releases.size());
                is_known = is_known || run.value != go::absent_offset;
            }
            CHECK(is_known);  // else the spec of tools/offsets has a misspelled name
        }
    }
}

TEST_CASE("offset_table: agrees with the DWARF of every Go program at hand") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const GoTarget& target : targets) {
        const auto executable = Executable::open(target.plain);
        REQUIRE(executable);
        const auto version = (*executable)->go_version();
        REQUIRE(version);
        const auto dwarf = go::DwarfTypes::open((*executable)->elf());
        REQUIRE(dwarf);
        std::size_t compared = 0;
        for (const go::OffsetEntry& entry : go::offset_modules[0].entries) {
            CAPTURE(target.release, entry.package, entry.type, entry.member);
            const auto answer =
                go::find_offset(go::offset_modules[0], *version, entry.package, entry.type, entry.member);
            CHECK(answer.state != OffsetState::unknown);
            const std::string type = std::string(entry.package) + "." + std::string(entry.type);
            const auto measured =
                entry.member.empty() ? dwarf->size_of(type) : dwarf->member_offset(type, entry.member);
            if (measured.state == go::DwarfState::no_type) continue;  // not linked in, or not of this release
            ++compared;
            CHECK((measured.state == go::DwarfState::found) == (answer.state == OffsetState::known));
            if (measured.state == go::DwarfState::found) CHECK(measured.value == answer.value);
        }
        CHECK(compared > 100);
    }
}

}  // namespace
