// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Functions, lines and inlined calls of Go code, with and without symbols, and from damaged tables.
#include <otel_ebpf/go/line_table.hpp>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <otel_ebpf/executable.hpp>

#include "../test.hpp"

namespace {

using namespace otel_ebpf;

struct Lines {
    std::shared_ptr<const Executable> executable;
    go::LineTable table;
};

Lines open_lines(const std::string& path) {
    auto executable = Executable::open(path);
    if (!executable) FAIL(executable.error().what);
    const ElfFile& elf = (*executable)->elf();
    const auto header = go::read_pclntab_header(elf);
    REQUIRE(header);
    auto functions = go::Pclntab::open(elf, *header);
    REQUIRE(functions);
    const auto start = go::find_text_start(elf, *header, *functions);
    REQUIRE(start);
    const auto data = go::find_function_data(elf, *header, (*executable)->go_version());
    REQUIRE(data);
    auto table = go::LineTable::open(elf, std::move(*functions), *start, data);
    REQUIRE(table);
    return {*executable, std::move(*table)};
}

std::vector<std::string> burn_targets() {
    std::vector<std::string> paths;
    for (const std::string release : {"1.19", "1.24", "1.26", "1.27"})
        for (const std::string suffix : {"", "-stripped"})
            if (std::string path = test_target("burn-go" + release + suffix); !path.empty()) paths.push_back(path);
    return paths;
}

// The line of tests/targets/burn/main.go that ends with "// line: NAME".
std::int64_t line_of(const std::string& name) {
    std::ifstream source(OTEL_EBPF_SOURCE_DIR "/tests/targets/burn/main.go");
    std::string line;
    for (std::int64_t number = 1; std::getline(source, line); ++number)
        if (line.ends_with("// line: " + name)) return number;
    FAIL("no line of " << name);
    return 0;
}

Function function_of(const Executable& executable, std::string_view name) {
    const auto found = executable.find_functions(std::vector<std::string_view>{name});
    REQUIRE(found.size() == 1);
    return found.front();
}

// "inlined:30 < middle:37" for one address, innermost first.
std::string text_of(const std::vector<go::SourcePlace>& places) {
    std::string text;
    for (const go::SourcePlace& place : places)
        text += (text.empty() ? "" : " < ") + std::string(place.function) + ":" + std::to_string(place.line);
    return text;
}

TEST_CASE("line table: functions and lines of known code, inlined calls with theirs") {
    const auto targets = burn_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const std::string& path : targets) {
        CAPTURE(path);
        const Lines lines = open_lines(path);
        const auto seen_in = [&](std::string_view name) {
            std::set<std::string> seen;
            const Function function = function_of(*lines.executable, name);
            for (std::uint64_t offset = 0; offset < function.size; ++offset) {
                const auto places = lines.table.places_at(function.vaddr + offset);
                REQUIRE_FALSE(places.empty());
                CHECK(places.back().function == name);
                CHECK(places.front().file.ends_with("/main.go"));
                seen.insert(text_of(places));
            }
            return seen;
        };
        CHECK(seen_in("main.leaf").contains("main.leaf:" + std::to_string(line_of("leaf"))));
        CHECK(seen_in("main.outer").contains("main.outer:" + std::to_string(line_of("outer"))));
        CHECK(seen_in("main.middle").contains("main.inlined:" + std::to_string(line_of("inlined")) +
                                              " < main.middle:" + std::to_string(line_of("middle"))));
    }
}

TEST_CASE("line table: main.leaf has no frame, main.middle has one") {
    const auto targets = burn_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const std::string& path : targets) {
        CAPTURE(path);
        const Lines lines = open_lines(path);
        const Function leaf = function_of(*lines.executable, "main.leaf");
        for (std::uint64_t offset = 0; offset < leaf.size; ++offset)
            CHECK(lines.table.stack_delta_at(leaf.vaddr + offset) == 0);
        const Function middle = function_of(*lines.executable, "main.middle");
        CHECK(lines.table.stack_delta_at(middle.vaddr) == 0);
        std::uint32_t largest = 0;
        for (std::uint64_t offset = 0; offset < middle.size; ++offset)
            largest = std::max(largest, lines.table.stack_delta_at(middle.vaddr + offset).value_or(0));
        CHECK(largest >= 16);
    }
}

TEST_CASE("line table: every function of a server is found wherever it is asked for, stripped or not") {
    const std::string plain = test_target("server-go1.26"), stripped = test_target("server-go1.26-stripped");
    if (plain.empty() || stripped.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    const Lines with_symbols = open_lines(plain), without = open_lines(stripped);
    std::size_t functions = 0, inlined = 0;
    without.executable->for_each_function([&](std::string_view name, std::uint64_t vaddr, std::uint64_t size) {
        ++functions;
        for (std::uint64_t offset = 0; offset < size; offset += 31) {
            const std::uint64_t at = vaddr + offset;
            const auto places = without.table.places_at(at);
            if (places.empty() || places.back().function != name) FAIL("not found: " << name);
            if (text_of(places) != text_of(with_symbols.table.places_at(at))) FAIL("differs: " << name);
            inlined += places.size() > 1 ? 1 : 0;
        }
        return true;
    });
    CHECK(functions > 4000);
    CHECK(inlined > 1000);
    CHECK(without.table.places_at(0).empty());
    CHECK(without.table.places_at(UINT64_MAX).empty());
}

TEST_CASE("line table: random damage never leads outside the file, and ends") {
    const std::string path = test_target("burn-go1.27-stripped");
    if (path.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    std::ifstream file(path, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    const auto view = std::as_bytes(std::span(bytes));
    const auto good = ElfFile::open(ByteSource::from_memory(view));
    REQUIRE(good);
    const auto header = go::read_pclntab_header(*good);
    REQUIRE(header);
    auto whole = go::Pclntab::open(*good, *header);
    REQUIRE(whole);
    const auto start = go::find_text_start(*good, *header, *whole);
    REQUIRE(start);
    const std::uint64_t end = *start + whole->entry(whole->size());
    const auto data = go::find_function_data(*good, *header, Version::parse("go1.27.3"));
    const ElfSection* section = good->section(".gopclntab");
    REQUIRE(section != nullptr);
    std::uint64_t random = 0x452821e638d01377u;
    const auto next = [&random] {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        return random;
    };
    // Behind the order of functions, without which a table is refused.
    const std::uint64_t order = header->functions, order_end = order + 8 * (whole->size() + 1);
    std::size_t answers = 0;
    for (int round = 0; round < 40; ++round) {
        std::map<std::size_t, char> undo;
        for (int flip = 0; flip < 2000; ++flip) {
            const std::uint64_t in_table = header->names + next() % (section->size - header->names);
            if (in_table >= order && in_table < order_end) continue;
            const std::size_t at = section->offset + in_table;
            undo.try_emplace(at, bytes[at]);
            bytes[at] = static_cast<char>(next() >> 32);
        }
        auto functions = go::Pclntab::open(*good, *header);
        REQUIRE(functions);
        const auto lines = go::LineTable::open(*good, std::move(*functions), *start, data);
        REQUIRE(lines);
        for (int lookup = 0; lookup < 3000; ++lookup) {
            const std::uint64_t vaddr = *start + next() % (end - *start);
            answers += lines->places_at(vaddr).size();
            answers += lines->stack_delta_at(vaddr) ? 1 : 0;
        }
        for (const auto& [at, byte] : undo) bytes[at] = byte;
    }
    CHECK(answers > 0);
}

}  // namespace
