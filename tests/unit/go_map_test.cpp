// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The walk over Go maps (go_map.bpf.h) on the host, through maps as both runtimes lay them out, whole and damaged.
#include "test.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include "go_map_memory.hpp"

namespace {

// enum oe_go_map_layout
constexpr int buckets = 0, groups = 1, split_groups = 2;

HeaderFields fields(std::size_t count) {
    HeaderFields all;
    for (std::size_t i = 0; i < count; ++i) all.push_back({"X-Header-" + std::to_string(i), {"value"}});
    return all;
}

struct Found {
    bool whole = false;
    host_found first{}, second{};
};

Found find(std::uint64_t map, int kind, const char* first = "Traceparent", const char* second = "User-Agent") {
    host_found found[2] = {};
    const bool whole = host_go_map_find(map, kind, first, second, found) != 0;
    return {whole, found[0], found[1]};
}

// The first string of a found value.
std::string text_of(const HostKernel& kernel, const host_found& found) {
    REQUIRE(found.found == 1);
    std::uint64_t string[2] = {};
    if (!kernel.memory.read(found.ptr, string, sizeof(string))) return "unreadable";
    std::string text(string[1], '\0');
    REQUIRE(kernel.memory.read(string[0], text.data(), text.size()));
    return text;
}

// Every layout of a map with these fields; `visit` gets its address and its enum oe_go_map_layout.
template <class Visit>
void for_each_layout(HostKernel& kernel, const HeaderFields& all, std::uint32_t seed, Visit visit) {
    using Growth = GoMapBuilder::Growth;
    GoMapBuilder build(kernel.memory, seed);
    GoMapBuilder build_split(kernel.memory, seed, true);
    if (all.size() <= 8) {
        visit(build.swiss(all), groups, "one group");
        visit(build_split.swiss(all), split_groups, "one split group");
    }
    for (const std::size_t tables : {1U, 2U, 4U}) {
        visit(build.swiss(all, tables), groups, "directory");
        visit(build.swiss(all, tables, true), groups, "directory with tables named twice");
        visit(build_split.swiss(all, tables), split_groups, "directory of split groups");
    }
    for (const unsigned log2_buckets : {0U, 1U, 3U, 5U}) {
        visit(build.buckets(all, log2_buckets), buckets, "buckets");
        visit(build.buckets(all, log2_buckets, Growth::same_size), buckets, "buckets that grow at the same size");
        if (log2_buckets != 0)
            visit(build.buckets(all, log2_buckets, Growth::doubling), buckets, "buckets that double");
    }
}

}  // namespace

TEST_CASE("go map: finds what is there, in every layout") {
    for (const std::size_t others : {0U, 1U, 6U, 7U, 8U, 40U, 200U}) {
        HostKernel kernel;
        HeaderFields all = fields(others);
        all.insert(all.begin() + static_cast<std::ptrdiff_t>(others / 2), {"Traceparent", {"00-ab", "second"}});
        all.push_back({"User-Agent", {"curl"}});
        for (std::uint32_t seed = 0; seed < 5; ++seed)
            for_each_layout(kernel, all, seed, [&](std::uint64_t map, int kind, const char* layout) {
                INFO(layout << ", " << others << " other keys, seed " << seed);
                const Found found = find(map, kind);
                CHECK(found.whole);
                CHECK(text_of(kernel, found.first) == "00-ab");
                CHECK(found.first.len == 2);
                CHECK(text_of(kernel, found.second) == "curl");
                CHECK(host_stat(OE_STAT_READ_FAULT) == 0);
            });
    }
}

TEST_CASE("go map: does not find what is not there, nor what was deleted") {
    for (const std::size_t count : {0U, 1U, 8U, 40U}) {
        HostKernel kernel;
        HeaderFields all = fields(count);
        all.push_back({"traceparent", {"lower case"}});
        all.push_back({"Traceparent2", {"longer"}});
        all.push_back({"Traceparen", {"shorter"}});
        all.push_back({"", {"empty"}});
        all.push_back({std::string("Traceparen\0", 11), {"same length"}});
        for_each_layout(kernel, all, 1, [&](std::uint64_t map, int kind, const char* layout) {
            INFO(layout << ", " << count << " keys");
            const Found found = find(map, kind);
            CHECK(found.whole);
            CHECK(found.first.found == 0);
            CHECK(found.second.found == 0);
        });
    }
}

TEST_CASE("go map: keys of other lengths are told apart") {
    HostKernel kernel;
    for_each_layout(kernel, {{"B3", {"short"}}, {"Fifteen-Letters", {"long"}}}, 1,
                    [&](std::uint64_t map, int kind, const char* layout) {
                        INFO(layout);
                        const Found found = find(map, kind, "B3", "Fifteen-Letters");
                        CHECK(text_of(kernel, found.first) == "short");
                        CHECK(text_of(kernel, found.second) == "long");
                    });
}

TEST_CASE("go map: nil and empty maps have nothing") {
    HostKernel kernel;
    for (const int kind : {buckets, groups}) {
        CHECK(find(0, kind).first.found == 0);
        CHECK(find(kernel.memory.allocate(48), kind).first.found == 0);
    }
    CHECK(kernel.reads == 2);  // of the empty ones; nil costs nothing
    CHECK(host_stat(OE_STAT_READ_FAULT) == 0);
}

TEST_CASE("go map: a map of up to 8 keys costs one read beside those of matching keys") {
    HostKernel kernel;
    const std::uint64_t map =
        GoMapBuilder(kernel.memory, 1).swiss({{"A", {"1"}}, {"Traceparent", {"2"}}, {"Bcd", {"3"}}});
    kernel.reads = 0;
    find(map, groups, "Traceparent", "Cookie");
    CHECK(kernel.reads == 3);  // the map, its group, the key of the right length
}

TEST_CASE("go map: what was never written may be missing") {
    HostKernel kernel;
    const std::uint64_t value = kernel.memory.allocate(16);
    kernel.memory.put_string(value, "00-ab");
    const std::uint64_t key = kernel.memory.text("Traceparent");
    const std::uint64_t words[] = {key, 11, value, 1, 1};
    const std::uint64_t map = kernel.memory.allocate(48);
    kernel.memory.put(map, std::uint64_t{1});
    SECTION("a group") {
        const std::uint64_t group = kernel.memory.allocate(8 + 40);  // the control word and the first slot
        kernel.memory.put(group, 0x8080808080808011ULL);
        kernel.memory.put(group + 8, words);
        kernel.memory.put(map + 16, group);
        CHECK(text_of(kernel, find(map, groups).first) == "00-ab");
    }
    SECTION("a split group") {
        const std::uint64_t group = kernel.memory.allocate(8 + 8 * 16 + 24);  // up to the first elem
        kernel.memory.put(group, 0x8080808080808011ULL);
        kernel.memory.put(group + 8, key);
        kernel.memory.put(group + 16, std::uint64_t{11});
        kernel.memory.put(group + 8 + 8 * 16, value);
        kernel.memory.put(group + 8 + 8 * 16 + 8, std::uint64_t{1});
        kernel.memory.put(map + 16, group);
        CHECK(text_of(kernel, find(map, split_groups).first) == "00-ab");
    }
    SECTION("a bucket") {
        const std::uint64_t bucket = kernel.memory.allocate(8 + 8 * 16 + 24);  // up to the first value
        kernel.memory.put(bucket, std::uint64_t{0x55});
        kernel.memory.put(bucket + 8, key);
        kernel.memory.put(bucket + 16, std::uint64_t{11});
        kernel.memory.put(bucket + 8 + 8 * 16, value);
        kernel.memory.put(bucket + 8 + 8 * 16 + 8, std::uint64_t{1});
        kernel.memory.put(map + 16, bucket);
        CHECK(text_of(kernel, find(map, buckets).first) == "00-ab");
    }
    CHECK(host_stat(OE_STAT_READ_FAULT) == 0);
}

TEST_CASE("go map: the walk of a huge map ends, and says that it did not see all") {
    HostKernel kernel;
    GoMapBuilder build(kernel.memory, 1);
    const HeaderFields all = fields(12'000);
    for (const auto& [map, kind] : {std::pair{build.swiss(all, 4), groups}, {build.buckets(all, 11), buckets}}) {
        kernel.reads = 0;
        const Found found = find(map, kind);
        CHECK_FALSE(found.whole);
        CHECK(found.first.found == 0);
        CHECK(kernel.reads < 20'000);
    }
}

TEST_CASE("go map: a chain that loops ends") {
    HostKernel kernel;
    const std::uint64_t map = GoMapBuilder(kernel.memory, 1).buckets(fields(3), 0);
    std::uint64_t bucket = 0;
    REQUIRE(kernel.memory.read(map + 16, &bucket, sizeof(bucket)));
    kernel.memory.put(bucket + 8 + 8 * 16 + 8 * 24, bucket);
    CHECK_FALSE(find(map, buckets).whole);
}

TEST_CASE("go map: damaged words neither crash the walk nor keep it") {
    std::mt19937 random(7);
    for (int round = 0; round < 300; ++round) {
        HostKernel kernel;
        HeaderFields all = fields(random() % 30);
        all.push_back({"Traceparent", {"00-ab"}});
        for_each_layout(kernel, all, static_cast<std::uint32_t>(round),
                        [&](std::uint64_t map, int kind, const char*) {
                            const std::uint64_t word = random() % 3 == 0   ? ~0ULL
                                                       : random() % 2 == 0 ? std::uint64_t{random()} << 32 | random()
                                                                           : random() % 64;
                            kernel.memory.put(map + 8 * (random() % 4), word);
                            kernel.reads = 0;
                            find(map, kind);
                            CHECK(kernel.reads < 20'000);
                        });
    }
}

TEST_CASE("go map: what is found under read faults is true") {
    std::mt19937 random(7);
    std::size_t found_some = 0;
    for (int round = 0; round < 300; ++round) {
        HostKernel kernel;
        HeaderFields all = fields(random() % 30);
        all.push_back({"Traceparent", {"00-ab"}});
        all.push_back({"User-Agent", {"curl"}});
        kernel.read_fails = [&random, often = 1 + random() % 30] { return random() % often == 0; };
        for_each_layout(kernel, all, static_cast<std::uint32_t>(round),
                        [&](std::uint64_t map, int kind, const char* layout) {
                            INFO(layout << ", round " << round);
                            const Found found = find(map, kind);
                            if (found.first.found != 0) CHECK(text_of(kernel, found.first) == "00-ab");
                            if (found.second.found != 0) CHECK(text_of(kernel, found.second) == "curl");
                            found_some += found.first.found;
                        });
    }
    CHECK(found_some > 1000);
}
