// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Thousands of damaged executables are inspected: none of them crashes the library, holds it up or takes its memory.
#include "test.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../unit/elf_image.hpp"
#include "harness.hpp"
#include "mutation.hpp"
#include "promise.hpp"

namespace {

using hostile::Depth;
using hostile::Kind;

constexpr std::size_t workers = 2, kinds = hostile::kind_names.size();

std::uint64_t number_of_environment(const char* name, std::uint64_t otherwise) {
    const char* const text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

// A real executable, undamaged.
struct Base {
    std::string name;
    std::string file;
    std::vector<hostile::Region> regions;

    [[nodiscard]] bool has(Kind kind) const {
        return kind == Kind::bits || kind == Kind::truncation ||
               std::any_of(regions.begin(), regions.end(),
                           [&](const hostile::Region& region) { return region.kind == kind; });
    }
};

std::vector<Base> read_bases() {
    std::vector<Base> bases;
    for (const char* const name :
         {"burn-go1.19", "burn-go1.19-stripped", "burn-go1.24-stripped", "burn-go1.26", "burn-go1.26-pie",
          "burn-go1.26-stripped", "burn-go1.27", "burn-go1.27-stripped", "server-go1.24-stripped", "server-go1.26",
          "server-go1.27-stripped", "burn-cpp", "burn-cpp-dynsym", "burn-cpp-pie", "burn-cpp-stripped"}) {
        const std::string path = test_target(name);
        if (path.empty()) continue;
        Base base{name, read_file(path), {}};
        const auto executable = otel_ebpf::Executable::from_memory(as_bytes(base.file));
        INFO(name << ": " << (executable ? "" : executable.error().what));
        REQUIRE(executable);
        base.regions = hostile::Regions::of(**executable);
        bases.push_back(std::move(base));
    }
    return bases;
}

// Every kind gets as many cases as others; its executables take turns.
class Cases {
public:
    Cases(std::vector<Base> bases, std::uint64_t seed) : bases_(std::move(bases)), seed_(seed) {
        for (std::size_t kind = 0; kind < kinds; ++kind)
            for (Base& base : bases_)
                if (base.has(static_cast<Kind>(kind))) of_kind_[kind].push_back(&base);
    }

    static Kind kind(std::size_t index) { return static_cast<Kind>(index % kinds); }
    [[nodiscard]] bool has(Kind kind) const { return !of_kind_[static_cast<std::size_t>(kind)].empty(); }
    [[nodiscard]] Base& base(std::size_t index) {
        const auto& bases = of_kind_[index % kinds];
        return *bases[index / kinds % bases.size()];
    }
    template <class Use>
    auto with(std::size_t index, Use&& use) {
        Base& base = this->base(index);
        const hostile::Mutation mutation(base.file, base.regions, kind(index), seed_ ^ index * 0x9e3779b97f4a7c15);
        return use(mutation.bytes());
    }

private:
    std::vector<Base> bases_;
    std::uint64_t seed_;
    std::vector<Base*> of_kind_[kinds];
};

struct Tally {
    std::size_t cases = 0, opened = 0, go = 0, planned = 0, layouts = 0;
    std::uint64_t slowest_ns = 0;

    void add(const hostile::CaseResult& result) {
        if (!result.done) return;
        ++cases;
        opened += result.depth.opened ? 1 : 0;
        go += result.depth.is_go ? 1 : 0;
        planned += result.depth.attached != 0 ? 1 : 0;
        layouts += result.depth.layouts != 0 ? 1 : 0;
        slowest_ns = std::max(slowest_ns, result.cpu_ns);
    }
    void print(std::string_view name) const {
        std::printf("%-15.*s %6zu cases %6zu accepted %6zu refused %6zu of Go %6zu with sites %6zu with layouts, "
                    "slowest %4llu ms\n",
                    static_cast<int>(name.size()), name.data(), cases, opened, cases - opened, go, planned, layouts,
                    static_cast<unsigned long long>(slowest_ns / 1'000'000));
    }
};

std::string describe(Cases& cases, const hostile::Finding& finding) {
    const std::string path = OTEL_EBPF_BINARY_DIR "/hostile-" + std::to_string(finding.index) + ".bin";
    cases.with(finding.index, [&](std::span<const std::byte> bytes) {
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    });
    return finding.what + " in case " + std::to_string(finding.index) + ": " + cases.base(finding.index).name + ", " +
           std::string(hostile::kind_names[static_cast<std::size_t>(Cases::kind(finding.index))]) + "; its file is " +
           path;
}

}  // namespace

TEST_CASE("damaged executables are inspected without crash, hang or much memory") {
    // Others find other things: OTEL_EBPF_HOSTILE_SEED=N OTEL_EBPF_HOSTILE_CASES=N.
    const std::uint64_t seed = number_of_environment("OTEL_EBPF_HOSTILE_SEED", 1);
    const std::size_t count = number_of_environment("OTEL_EBPF_HOSTILE_CASES", 10'000);
    std::vector<Base> bases = read_bases();
    if (bases.empty()) SKIP_TEST("no test programs (scripts/build-targets.sh, OTEL_EBPF_TEST_TARGETS)");
    Cases cases(std::move(bases), seed);
    for (std::size_t kind = 0; kind < kinds; ++kind) {
        INFO(hostile::kind_names[kind]);
        REQUIRE(cases.has(static_cast<Kind>(kind)));
    }

    hostile::Harness harness(count, [&](std::size_t index) {
        return cases.with(index, [](std::span<const std::byte> bytes) { return hostile::inspect(bytes); });
    });
    harness.run(workers);

    Tally all, of_kind[kinds];
    for (std::size_t i = 0; i < harness.results().size(); ++i) {
        all.add(harness.results()[i]);
        of_kind[i % kinds].add(harness.results()[i]);
    }
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    for (std::size_t kind = 0; kind < kinds; ++kind) of_kind[kind].print(hostile::kind_names[kind]);
    all.print("all");
    std::printf("most memory: %llu MiB\n", static_cast<unsigned long long>(harness.peak_bytes() >> 20));

    for (const hostile::Finding& finding : harness.findings()) {
        const std::string text = describe(cases, finding);
        std::printf("%s\n", text.c_str());
        UNSCOPED_INFO(text);
    }
    CHECK(harness.findings().empty());
    CHECK(all.cases + harness.findings().size() == count);
    REQUIRE(all.cases != 0);
    for (std::size_t kind = 0; kind < kinds; ++kind) {
        INFO(hostile::kind_names[kind]);
        CHECK(of_kind[kind].cases != 0);
        if (static_cast<Kind>(kind) == Kind::truncation) continue;  // all but that of trailing bytes is refused
        CHECK(of_kind[kind].opened != 0);                           // some damage is not seen at the door,
        CHECK(of_kind[kind].planned != 0);                          // and leaves sites to choose
    }
    CHECK(all.opened != all.cases);
    // Damage of DWARF is not seen before it is read, which changes nothing for the cases behind.
    const Tally& dwarf = of_kind[static_cast<std::size_t>(Kind::dwarf)];
    CHECK(dwarf.opened == dwarf.cases);
    CHECK(dwarf.layouts > dwarf.cases / 10);
}

TEST_CASE("what crashes, hangs or takes memory is found, and the cases behind it still run") {
    constexpr std::size_t count = 20;
    hostile::Limits limits;
    limits.wall_ns = 8'000'000'000;
    hostile::Harness harness(
        count,
        [](std::size_t index) {
            switch (index) {
                case 3: hostile::promise(false, "this test breaks its promise"); break;
                case 4: ::raise(SIGSEGV); break;
                case 7:
                    for (volatile int spin = 1; spin != 0;) {}
                    break;
                case 8: ::sleep(60); break;
                case 10: {  // resident
                    std::vector<char> bytes(320 << 20, '\1');
                    volatile char last = bytes.back();
                    static_cast<void>(last);
                    break;
                }
                case 11: {  // more than the worker may address
                    const std::vector<char> bytes(std::size_t{8} << 30);
                    break;
                }
                case 19: ::_exit(0);  // an early end is no success
                default: break;
            }
            return Depth{.opened = true};
        },
        limits);
    harness.run(workers);
    std::map<std::size_t, std::string> found;
    for (const hostile::Finding& finding : harness.findings()) CHECK(found.emplace(finding.index, finding.what).second);
    const std::map<std::size_t, std::string> expected = {
        {3, "crash: signal 6"}, {4, "crash: signal 11"}, {7, "hang"},           {8, "hang: waits"},
        {10, "memory"},         {11, "memory"},          {19, "crash: exit code 0"}};
    for (std::size_t i = 0; i < count; ++i) {
        INFO("case " << i);
        CHECK(found[i] == (expected.contains(i) ? expected.at(i) : std::string()));
        CHECK(harness.results()[i].done != expected.contains(i));
    }
}

TEST_CASE("damage is the same each time, and goes with its mutation") {
    std::vector<Base> bases = read_bases();
    if (bases.empty()) SKIP_TEST("no test programs (scripts/build-targets.sh, OTEL_EBPF_TEST_TARGETS)");
    Base& base = bases.front();
    const std::string whole = base.file;
    for (std::size_t kind = 0; kind < kinds; ++kind) {
        if (!base.has(static_cast<Kind>(kind))) continue;
        std::string damaged[2];
        bool is_damaged = false;
        for (std::uint64_t seed = 0; seed < 8; ++seed) {
            for (std::string& copy : damaged) {
                const hostile::Mutation mutation(base.file, base.regions, static_cast<Kind>(kind), seed);
                copy.assign(reinterpret_cast<const char*>(mutation.bytes().data()), mutation.bytes().size());
            }
            CHECK((damaged[0] == damaged[1]));
            CHECK((base.file == whole));
            is_damaged = is_damaged || damaged[0] != whole;
        }
        INFO(hostile::kind_names[kind]);
        CHECK(is_damaged);
    }
}
