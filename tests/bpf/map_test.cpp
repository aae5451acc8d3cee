// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Typed map handles on real maps.
#include "test.hpp"

#include <cstdint>
#include <map>
#include <numeric>

#include <otel_ebpf/fd.hpp>
#include <otel_ebpf/map.hpp>

#include "privileges.hpp"

namespace {

namespace oe = otel_ebpf;

struct Value {
    std::uint64_t number;
    char text[4];  // 12 bytes: per-CPU values are padded to 16

    friend bool operator==(const Value&, const Value&) = default;
} __attribute__((packed));
static_assert(sizeof(Value) == 12);

constexpr std::uint32_t entries = 1000;

oe::Fd create(bpf_map_type type, std::uint32_t key_size, std::uint32_t value_size,
              std::uint32_t max_entries = entries) {
    return oe::Fd(::bpf_map_create(type, "oe_test", key_size, value_size, max_entries, nullptr));
}

oe::MapShape hash_shape() {
    return {"oe_test", BPF_MAP_TYPE_HASH, 4, sizeof(Value), entries, 0};
}

}  // namespace

TEST_CASE("map: look up, update, erase") {
    SKIP_UNLESS_LOADABLE();
    const oe::Fd fd = create(BPF_MAP_TYPE_HASH, 4, sizeof(Value));
    const auto map = oe::Map<std::uint32_t, Value>::open(fd.get(), hash_shape());
    REQUIRE(map);
    CHECK_FALSE(map->lookup(7).value().has_value());
    REQUIRE(map->update(7, {70, "abc"}));
    CHECK(map->lookup(7).value() == Value{70, "abc"});
    CHECK(map->update(7, {71, "abd"}, BPF_NOEXIST).error().code.value() == EEXIST);
    REQUIRE(map->update(7, {71, "abd"}, BPF_EXIST));
    CHECK(map->lookup(7).value()->number == 71);
    CHECK(map->erase(7).value());
    CHECK_FALSE(map->erase(7).value());
    CHECK_FALSE(map->lookup(7).value().has_value());
    const auto refused = map->update(7, {}, BPF_EXIST);
    CHECK(refused.error().code.value() == ENOENT);
    CHECK(refused.error().what.find("oe_test") != std::string::npos);
}

TEST_CASE("map: iterate, and dump in batches") {
    SKIP_UNLESS_LOADABLE();
    const oe::Fd fd = create(BPF_MAP_TYPE_HASH, 4, sizeof(Value));
    const auto map = oe::Map<std::uint32_t, Value>::open(fd.get(), hash_shape());
    REQUIRE(map);
    CHECK(map->dump().value().empty());
    for (std::uint32_t key = 0; key < 700; ++key) REQUIRE(map->update(key, {key * 2ULL, {}}));
    for (const std::uint32_t batch : {64U, 256U, 1000U, 4096U}) {
        const auto all = map->dump(batch);
        REQUIRE(all);
        CHECK(all->size() == 700);
        CHECK(std::map<std::uint32_t, Value>(all->begin(), all->end()).size() == 700);
        for (const auto& [key, value] : *all) REQUIRE(value.number == key * 2ULL);
    }
    std::size_t visited = 0;
    REQUIRE(map->for_each([&visited](std::uint32_t key, const Value& value) {
        REQUIRE(value.number == key * 2ULL);
        return ++visited < 100;
    }));
    CHECK(visited == 100);
    visited = 0;
    REQUIRE(map->for_each([&visited](std::uint32_t, const Value&) { return ++visited != 0; }));
    CHECK(visited == 700);
}

TEST_CASE("map: values of every CPU") {
    SKIP_UNLESS_LOADABLE();
    const oe::Fd fd = create(BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(std::uint32_t), 2);
    const auto map =
        oe::Map<std::uint32_t, std::uint32_t>::open(fd.get(), {"oe_test", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 4, 2, 0});
    REQUIRE(map);
    const auto cpus = static_cast<std::size_t>(::libbpf_num_possible_cpus());
    std::vector<std::uint64_t> raw(cpus);
    std::iota(raw.begin(), raw.end(), 5);
    const std::uint32_t key = 1;
    REQUIRE(::bpf_map_update_elem(fd.get(), &key, raw.data(), BPF_ANY) == 0);
    const auto values = map->lookup_per_cpu(1);
    REQUIRE(values);
    REQUIRE(values->size() == cpus);
    for (std::size_t cpu = 0; cpu < cpus; ++cpu) CHECK((*values)[cpu] == 5 + cpu);
    CHECK(map->sum_per_cpu(1).value() == std::accumulate(raw.begin(), raw.end(), 0U));
    CHECK(map->sum_per_cpu(0).value() == 0);
    CHECK_FALSE(map->lookup_per_cpu(2));
}

TEST_CASE("map: another shape is refused, every differing field named") {
    SKIP_UNLESS_LOADABLE();
    const oe::Fd fd = create(BPF_MAP_TYPE_HASH, 4, sizeof(Value));
    const auto refused = oe::Map<std::uint64_t, std::uint64_t>::open(
        fd.get(), {"oe_test", BPF_MAP_TYPE_ARRAY, 8, 8, 10, BPF_F_NO_PREALLOC});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().what ==
          "use map oe_test: type is 1, expected 2, key_size is 4, expected 8, value_size is 12, "
          "expected 8, max_entries is 1000, expected 10, map_flags is 0, expected 1");
    CHECK_FALSE(oe::Map<std::uint32_t, Value>::open(-1, hash_shape()));
    oe::MapShape any_size = hash_shape();
    any_size.max_entries = 0;
    CHECK(oe::Map<std::uint32_t, Value>::open(fd.get(), any_size));
}
