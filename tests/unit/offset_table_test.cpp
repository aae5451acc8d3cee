// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The generated offset table: its shape, its rules for unmeasured releases, and its agreement with DWARF.
#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/go/offset_table.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "../offset_agreement.hpp"
#include "../test.hpp"
#include "go_targets.hpp"

namespace {

using namespace otel_ebpf;
using go::OffsetBasis;
using go::OffsetState;

constexpr std::array<go::OffsetRelease, 7> releases{{{{1, 19, 0}, true},
                                                     {{1, 19, 3}, false},
                                                     {{1, 19, 9}, true},
                                                     {{1, 21, 0}, true},
                                                     {{1, 21, 5}, true},
                                                     {{1, 21, 9}, true},
                                                     {{1, 22, 1}, true}}};
constexpr std::array<go::OffsetRun, 8> runs{
    {{0, 8}, {3, 16}, {5, 24}, {0, go::absent_offset}, {3, 0}, {0, 40}, {0, 8}, {5, go::unstable_offset}}};
constexpr std::array<go::OffsetEntry, 4> entries{
    {{"p", "T", "fixed", 5, 1}, {"p", "T", "moved", 0, 3}, {"p", "T", "new", 3, 2}, {"p", "T", "shaky", 6, 2}}};
constexpr go::OffsetModule module{"std", releases, runs, entries};

constexpr go::OffsetAnswer moved(Version version, bool assume_unmoved = false) {
    return go::find_offset(module, version, "p", "T", "moved", assume_unmoved);
}
constexpr go::OffsetAnswer added(Version version) {
    return go::find_offset(module, version, "p", "T", "new");
}
constexpr go::OffsetAnswer fixed(Version version, bool assume_unmoved = false) {
    return go::find_offset(module, version, "p", "T", "fixed", assume_unmoved);
}
constexpr bool knows(go::OffsetAnswer answer, std::uint16_t value, OffsetBasis basis) {
    return answer.state == OffsetState::known && answer.value == value && answer.basis == basis;
}
constexpr bool is_unknown(go::OffsetAnswer answer) {
    return answer.state == OffsetState::unknown && !answer.is_assumed();
}

TEST_CASE("offset_table: measured releases, inferred ones, and those that are not in the table") {
    STATIC_REQUIRE(knows(moved({1, 19, 0}), 8, OffsetBasis::measured));
    STATIC_REQUIRE(knows(moved({1, 19, 3}), 8, OffsetBasis::inferred));
    STATIC_REQUIRE(knows(moved({1, 19, 5}), 8, OffsetBasis::inferred));  // between two that agree
    STATIC_REQUIRE_FALSE(moved({1, 19, 5}).is_assumed());
    STATIC_REQUIRE(knows(moved({1, 21, 3}), 16, OffsetBasis::inferred));
    STATIC_REQUIRE(is_unknown(moved({1, 21, 7})));  // between two that differ
    STATIC_REQUIRE(is_unknown(moved({1, 18, 0})));  // before the first
    STATIC_REQUIRE(knows(moved({1, 22, 0}), 24, OffsetBasis::inferred));  // the first of its minor, like its neighbours
    STATIC_REQUIRE(added({1, 19, 0}).state == OffsetState::absent);
    STATIC_REQUIRE(knows(added({1, 21, 0}), 0, OffsetBasis::measured));  // 0 is an offset, not "missing"
    STATIC_REQUIRE(is_unknown(go::find_offset(module, {1, 19, 0}, "p", "T", "other")));
    STATIC_REQUIRE(go::find_offset(module, {1, 21, 5}, "p", "T", "shaky").state == OffsetState::known);
    STATIC_REQUIRE(is_unknown(go::find_offset(module, {1, 21, 9}, "p", "T", "shaky")));  // depends on the Go release
    SUCCEED();
}

TEST_CASE("offset_table: what a newer patch, a pre-release and a new minor may assume") {
    STATIC_REQUIRE(knows(moved({1, 19, 12}), 8, OffsetBasis::newer_patch));
    STATIC_REQUIRE(knows(moved({1, 22, 7}), 24, OffsetBasis::newer_patch));
    STATIC_REQUIRE(moved({1, 22, 7}).is_assumed());
    STATIC_REQUIRE(knows(moved({1, 19, 3, false}), 8, OffsetBasis::pre_release));
    STATIC_REQUIRE(knows(moved({1, 22, 0, false}), 24, OffsetBasis::pre_release));
    STATIC_REQUIRE(is_unknown(moved({1, 21, 0, false})));  // the minor in which it moved
    STATIC_REQUIRE(knows(fixed({1, 21, 0, false}), 40, OffsetBasis::pre_release));
    for (const Version minor : {Version{1, 23, 0}, Version{1, 20, 4}, Version{2, 0, 0}}) {
        CHECK(is_unknown(fixed(minor)));
        CHECK(knows(fixed(minor, true), 40, OffsetBasis::new_minor));
        CHECK(is_unknown(moved(minor)));
        CHECK(is_unknown(moved(minor, true)));  // it has moved before
    }
    STATIC_REQUIRE(is_unknown(fixed({1, 18, 0}, true)));  // older than the table
}

TEST_CASE("offset_table: modules without tags go by the date of their pseudo-version") {
    STATIC_REQUIRE(go::version_by_date("v0.0.0-20240102030405-0123456789ab") == Version{2024, 102, 30405});
    STATIC_REQUIRE_FALSE(go::version_by_date("v1.2.3"));
    STATIC_REQUIRE_FALSE(go::version_by_date("v0.0.0-2024010203040-0123456789ab"));
    STATIC_REQUIRE_FALSE(go::version_by_date("v0.0.0-2024010203040x-0123456789ab"));
    STATIC_REQUIRE_FALSE(go::version_by_date("v1.60.1-0.20240102030405-0123456789ab"));
    STATIC_REQUIRE_FALSE(go::version_by_date(""));
    static constexpr std::array<go::OffsetRelease, 3> dates{
        {{{2023, 530, 1}, true}, {{2024, 102, 30405}, true}, {{2025, 101, 0}, true}}};
    static constexpr std::array<go::OffsetRun, 3> values{{{0, 40}, {2, 8}, {0, 24}}};
    static constexpr std::array<go::OffsetEntry, 2> rows{{{"p", "T", "moved", 0, 2}, {"p", "T", "still", 2, 1}}};
    constexpr go::OffsetModule dated{"example.com/dated", dates, values, rows};
    STATIC_REQUIRE(dated.is_by_date());
    STATIC_REQUIRE_FALSE(module.is_by_date());
    STATIC_REQUIRE(knows(go::find_offset(dated, {2024, 102, 30405}, "p", "T", "moved"), 40, OffsetBasis::measured));
    STATIC_REQUIRE(knows(go::find_offset(dated, {2023, 1101, 0}, "p", "T", "moved"), 40, OffsetBasis::inferred));
    STATIC_REQUIRE(is_unknown(go::find_offset(dated, {2024, 601, 0}, "p", "T", "moved")));
    STATIC_REQUIRE(is_unknown(go::find_offset(dated, {2025, 102, 0}, "p", "T", "still")));  // newer than all
    STATIC_REQUIRE(
        knows(go::find_offset(dated, {2026, 102, 0}, "p", "T", "still", true), 24, OffsetBasis::new_minor));
    SUCCEED();
}

TEST_CASE("offset_table: sorted, and every run and release in range") {
    for (const go::OffsetModule& rows : go::offset_modules) {
        CHECK(std::ranges::is_sorted(rows.releases, {}, &go::OffsetRelease::version));
        CHECK(rows.releases.front().is_measured);
        CHECK(rows.releases.back().is_measured);
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
    const char* folder = std::getenv("OTEL_EBPF_TEST_TARGETS");
    if (folder == nullptr) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    std::map<std::string, std::size_t> compared;
    unsigned arm64_programs = 0;  // layouts are the same there: the table, measured on amd64, serves both
    for (const auto& file : std::filesystem::directory_iterator(folder)) {
        const auto executable = Executable::open(file.path());
        if (!executable || !(*executable)->is_go()) continue;
        const auto agreement = compare_with_dwarf(**executable);
        if (!agreement) continue;  // built without DWARF
        arm64_programs += (*executable)->arch() == Arch::aarch64;
        CAPTURE(file.path());
        for (const std::string& difference : agreement->differences) FAIL_CHECK(difference);
        for (const auto& [module_version, count] : agreement->compared)
            compared[module_version] = std::max(compared[module_version], count);
    }
    if (compared.empty()) SKIP_TEST("no Go programs with DWARF (OTEL_EBPF_TEST_TARGETS)");
    std::size_t values = 0;
    for (const auto& [module_version, count] : compared) values += count;
    std::printf("offset tables: %zu values of %zu module versions agree with DWARF, in %u programs for arm64 too\n",
                values, compared.size(), arm64_programs);
    CHECK((arm64_programs > 0) == !test_target("server-arm64-go1.26").empty());
    CHECK(values > 100 * go_targets().size());
}

TEST_CASE("offset_table: a table that is wrong does not agree with DWARF") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    const auto executable = Executable::open(targets.back().plain);
    REQUIRE(executable);
    const go::OffsetModule& std_table = go::offset_modules.front();
    REQUIRE(std_table.path == "std");
    std::vector<go::OffsetRun> doctored(std_table.runs.begin(), std_table.runs.end());
    for (go::OffsetRun& run : doctored)
        if (run.value < go::unstable_offset) ++run.value;
    const std::array<go::OffsetModule, 1> wrong{
        {{std_table.path, std_table.releases, doctored, std_table.entries, std_table.go}}};
    const auto agreement = compare_with_dwarf(**executable, wrong);
    REQUIRE(agreement);
    CHECK(agreement->differences.size() > 100);
}

}  // namespace
