// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// MapSpec: the shape of a map as constexpr data. Map: a typed handle on one that is open.
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/core.h>

#include <cstdint>
#include <cstring>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/probe.hpp>

namespace otel_ebpf {

// What a Probe or tool expects of a map. `map` names it in the skeleton S, checked at compile time; the rest is checked
// when the map is open.
template <Skeleton S, class K, class V>
struct MapSpec {
    using key_type = K;
    using value_type = V;
    static_assert(std::is_trivially_copyable_v<K> && std::is_trivially_copyable_v<V>,
                  "keys and values are copied to and from the kernel as bytes");

    bpf_map* Maps<S>::*map = nullptr;
    bpf_map_type type = BPF_MAP_TYPE_UNSPEC;
    std::uint32_t max_entries = 0;     // 0: any
    std::uint32_t flags = 0;
    std::string_view pin = {};  // path below /sys/fs/bpf, made when absent; empty: not pinned

    // For a Probe's list of maps.
    constexpr operator MapRequirement<S>() const {
        const bool plain = type != BPF_MAP_TYPE_RINGBUF;
        return {map,
                static_cast<std::uint32_t>(type),
                plain ? static_cast<std::uint32_t>(sizeof(K)) : 0,
                plain ? static_cast<std::uint32_t>(sizeof(V)) : 0,
                max_entries,
                flags,
                pin};
    }
};

// Type, sizes, entries and flags of a map, as the kernel tells them.
struct MapShape {
    std::string name;
    std::uint32_t type = 0;
    std::uint32_t key_size = 0;
    std::uint32_t value_size = 0;
    std::uint32_t max_entries = 0;
    std::uint32_t flags = 0;

    [[nodiscard]] static Result<MapShape> of(int fd) {
        bpf_map_info info{};
        std::uint32_t size = sizeof(info);
        if (::bpf_obj_get_info_by_fd(fd, &info, &size) != 0) return fail_errno(Stage::map, "read the shape of a map");
        return MapShape{info.name, info.type, info.key_size, info.value_size, info.max_entries, info.map_flags};
    }
    [[nodiscard]] static MapShape of(const bpf_map* map) {
        return {::bpf_map__name(map),       static_cast<std::uint32_t>(::bpf_map__type(map)),
                ::bpf_map__key_size(map),   ::bpf_map__value_size(map),
                ::bpf_map__max_entries(map), ::bpf_map__map_flags(map)};
    }
};

// "" when the shapes agree, else every field in which they differ: "value_size is 32, expected 24".
// A max_entries of 0 in `expected` accepts any.
inline std::string shape_difference(const MapShape& actual, const MapShape& expected) {
    std::string text;
    const auto compare = [&text](std::string_view field, std::uint32_t is, std::uint32_t should) {
        if (is == should) return;
        text += fmt::format("{}{} is {}, expected {}", text.empty() ? "" : ", ", field, is, should);
    };
    compare("type", actual.type, expected.type);
    compare("key_size", actual.key_size, expected.key_size);
    compare("value_size", actual.value_size, expected.value_size);
    if (expected.max_entries != 0) compare("max_entries", actual.max_entries, expected.max_entries);
    compare("map_flags", actual.flags, expected.flags);
    return text;
}

// Typed access to an open map. Owns nothing: valid while the object that holds the map is.
template <class K, class V>
class Map {
public:
    // Refuses a map whose shape differs, naming every differing field.
    [[nodiscard]] static Result<Map> open(int fd, const MapShape& expected) {
        auto actual = MapShape::of(fd);
        if (!actual) return Failure(actual.error());
        if (const std::string difference = shape_difference(*actual, expected); !difference.empty())
            return fail(Stage::map, fmt::format("use map {}: {}", expected.name, difference), EINVAL);
        return Map(fd, *actual);
    }
    template <Skeleton S>
    [[nodiscard]] static Result<Map> open(const S& skeleton, const MapSpec<S, K, V>& spec) {
        const MapRequirement<S> wanted = spec;
        const bpf_map* map = skeleton.maps.*spec.map;
        return open(::bpf_map__fd(map), {::bpf_map__name(map), wanted.type, wanted.key_size, wanted.value_size,
                                         wanted.max_entries, wanted.flags});
    }

    // nullopt when there is no such key.
    [[nodiscard]] Result<std::optional<V>> lookup(const K& key) const {
        V value;
        if (::bpf_map_lookup_elem(fd_, &key, &value) == 0) return std::optional<V>(value);
        if (errno == ENOENT) return std::optional<V>();
        return fail_errno(Stage::map, "look up in map " + shape_.name);
    }
    // flags: BPF_ANY, BPF_NOEXIST or BPF_EXIST.
    [[nodiscard]] Result<void> update(const K& key, const V& value, std::uint64_t flags = BPF_ANY) const {
        if (::bpf_map_update_elem(fd_, &key, &value, flags) == 0) return {};
        return fail_errno(Stage::map, "update map " + shape_.name);
    }
    // True when the key was there.
    [[nodiscard]] Result<bool> erase(const K& key) const {
        if (::bpf_map_delete_elem(fd_, &key) == 0) return true;
        if (errno == ENOENT) return false;
        return fail_errno(Stage::map, "delete from map " + shape_.name);
    }
    // Values of every possible CPU, for the per-CPU map types.
    [[nodiscard]] Result<std::vector<V>> lookup_per_cpu(const K& key) const {
        const int cpus = ::libbpf_num_possible_cpus();
        if (cpus < 0) return fail(Stage::map, "count the possible CPUs", -cpus);
        constexpr std::size_t stride = (sizeof(V) + 7) / 8 * 8;  // the kernel rounds each value up to 8 bytes
        std::vector<std::byte> raw(stride * static_cast<std::size_t>(cpus));
        if (::bpf_map_lookup_elem(fd_, &key, raw.data()) != 0)
            return fail_errno(Stage::map, "look up in map " + shape_.name);
        std::vector<V> values(static_cast<std::size_t>(cpus));
        for (std::size_t i = 0; i < values.size(); ++i) std::memcpy(&values[i], &raw[i * stride], sizeof(V));
        return values;
    }
    // The sum over all CPUs, for per-CPU counters.
    [[nodiscard]] Result<V> sum_per_cpu(const K& key) const {
        return lookup_per_cpu(key).map([](const std::vector<V>& values) {
            return std::accumulate(values.begin(), values.end(), V{});
        });
    }
    // Calls visit(key, value) for every entry until it returns false. Entries may come and go meanwhile; a key that is
    // deleted under the walk may restart it.
    template <class Visit>
    [[nodiscard]] Result<void> for_each(Visit visit) const {
        K key, next;
        const K* previous = nullptr;
        while (::bpf_map_get_next_key(fd_, previous, &next) == 0) {
            V value;
            if (::bpf_map_lookup_elem(fd_, &next, &value) == 0 && !visit(next, value)) return {};
            key = next;
            previous = &key;
        }
        if (errno != ENOENT) return fail_errno(Stage::map, "iterate over map " + shape_.name);
        return {};
    }
    // All entries, `batch` at a time (Linux 5.6), falling back to one by one.
    [[nodiscard]] Result<std::vector<std::pair<K, V>>> dump(std::uint32_t batch = 256) const {
        std::vector<std::pair<K, V>> all;
        std::vector<K> keys(batch);
        std::vector<V> values(batch);
        std::vector<std::byte> position(std::max(sizeof(K), sizeof(std::uint64_t)));
        void* in = nullptr;
        for (;;) {
            std::uint32_t count = batch;
            const int error =
                ::bpf_map_lookup_batch(fd_, in, position.data(), keys.data(), values.data(), &count, nullptr);
            const int reason = errno;
            if (error != 0 && reason != ENOENT) break;
            for (std::uint32_t i = 0; i < count; ++i) all.emplace_back(keys[i], values[i]);
            if (error != 0) return all;
            in = position.data();
        }
        all.clear();
        auto walked = for_each([&all](const K& key, const V& value) {
            all.emplace_back(key, value);
            return true;
        });
        if (!walked) return Failure(walked.error());
        return all;
    }

    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] const MapShape& shape() const { return shape_; }

private:
    Map(int fd, MapShape shape) : fd_(fd), shape_(std::move(shape)) {}
    int fd_;
    MapShape shape_;
};

// The map that a spec describes, in a loaded skeleton.
template <Skeleton S, class K, class V>
[[nodiscard]] Result<Map<K, V>> open_map(const S& skeleton, const MapSpec<S, K, V>& spec) {
    return Map<K, V>::open(skeleton, spec);
}

}  // namespace otel_ebpf
