// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// pprof labels of a goroutine, as every Go release lays them out, read by go_labels.bpf.h and decoded.
#include "test.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <otel_ebpf/go/labels.hpp>

#include "bpf_host.hpp"
#include "sdk_under_test.h"

namespace {

namespace oe = otel_ebpf;
using Pairs = std::vector<std::pair<std::string, std::string>>;

constexpr std::uint16_t labels_offset = 352;

struct Goroutine {
    HostKernel kernel;
    TargetMemory& memory = kernel.memory;
    std::uint64_t g = memory.allocate(labels_offset + 8);

    // runtime/pprof since go1.24: LabelSet{list []label}, label{key, value string}.
    void set_list(const Pairs& labels) {
        const std::uint64_t set = memory.allocate(24), list = memory.allocate(labels.size() * 32 + 1);
        memory.put(set, list);
        memory.put(set + 8, std::uint64_t{labels.size()});
        memory.put(set + 16, std::uint64_t{labels.size()});
        for (std::size_t i = 0; i < labels.size(); ++i) {
            memory.put_string(list + i * 32, labels[i].first);
            memory.put_string(list + i * 32 + 16, labels[i].second);
        }
        memory.put(g + labels_offset, set);
    }
    // A map[string]string up to go1.23; `old` is what a growing map has not moved yet.
    void set_map(const Pairs& labels, unsigned log2_buckets, const Pairs& old = {}) {
        const std::uint64_t holder = memory.allocate(8), map = memory.allocate(48);
        memory.put(holder, map);
        memory.put(map, std::uint64_t{labels.size() + old.size()});
        memory.put(map + 9, std::uint8_t(log2_buckets));
        memory.put(map + 16, buckets(labels, log2_buckets, false));
        if (!old.empty()) memory.put(map + 24, buckets(old, log2_buckets - 1, true));
        memory.put(g + labels_offset, holder);
    }
    oe::go::Labels read(std::uint32_t format) {
        oe_go_labels raw;
        std::memset(&raw, 0xee, sizeof(raw));
        const int count = host_go_labels_read(g, labels_offset, format, &raw);
        CHECK(count == raw.count);
        auto labels = oe::go::decode_labels(raw);
        std::ranges::sort(labels.pairs);
        return labels;
    }

private:
    static constexpr std::uint64_t bucket_bytes = 8 + 8 * 32 + 8;

    // Fills buckets one after the other; more than fit go to overflow buckets of the last.
    std::uint64_t buckets(const Pairs& labels, unsigned log2_buckets, bool with_moved) {
        const std::size_t count = std::size_t{1} << log2_buckets;
        const std::uint64_t array = memory.allocate(count * bucket_bytes);
        std::size_t bucket = 0, slot = 0;
        std::uint64_t at = array;
        for (const auto& [key, value] : labels) {
            if (slot == 8) {
                slot = 0;
                if (++bucket < count) {
                    at = array + bucket * bucket_bytes;
                } else {
                    const std::uint64_t more = memory.allocate(bucket_bytes);
                    memory.put(at + bucket_bytes - 8, more);
                    at = more;
                }
            }
            memory.put(at + slot, std::uint8_t{77});
            memory.put_string(at + 8 + slot * 16, key);
            memory.put_string(at + 8 + 8 * 16 + slot * 16, value);
            ++slot;
        }
        // Moved to the new array, but still here: evacuatedX.
        if (with_moved && slot < 8) {
            memory.put(at + slot, std::uint8_t{2});
            memory.put_string(at + 8 + slot * 16, "moved");
            memory.put_string(at + 8 + 8 * 16 + slot * 16, "away");
        }
        return array;
    }
};

Pairs numbered(std::size_t from, std::size_t to) {
    Pairs labels;
    for (std::size_t i = from; i < to; ++i) labels.emplace_back("key" + std::to_string(i), "value" + std::to_string(i));
    return labels;
}

}  // namespace

TEST_CASE("go labels: a list, since go1.24") {
    for (const std::size_t count : {0U, 1U, 2U, 10U}) {
        Goroutine goroutine;
        goroutine.set_list(numbered(0, count));
        const auto labels = goroutine.read(OE_GO_LABELS_SLICE);
        CHECK(labels.pairs == numbered(0, count));
        CHECK(labels.dropped == 0);
        CHECK_FALSE(labels.cut);
    }
    Goroutine many;
    many.set_list(numbered(0, 14));
    CHECK(many.read(OE_GO_LABELS_SLICE).pairs.size() == OE_GO_LABELS);
    CHECK(many.read(OE_GO_LABELS_SLICE).dropped == 4);
}

TEST_CASE("go labels: a map, up to go1.23: overflow buckets, and while it grows") {
    const auto read = [](const Pairs& labels, unsigned log2_buckets, const Pairs& old = {}) {
        Goroutine goroutine;
        goroutine.set_map(labels, log2_buckets, old);
        return goroutine.read(OE_GO_LABELS_MAP);
    };
    CHECK(read(numbered(0, 3), 0).pairs == numbered(0, 3));
    CHECK(read(numbered(0, 10), 0).pairs == numbered(0, 10));  // 8 and an overflow bucket
    CHECK(read(numbered(0, 10), 1).pairs == numbered(0, 10));
    CHECK(read(numbered(0, 4), 1, numbered(4, 9)).pairs == numbered(0, 9));
    CHECK(read(numbered(0, 20), 2).pairs.size() == OE_GO_LABELS);
    CHECK(read(numbered(0, 20), 2).dropped == 10);
}

TEST_CASE("go labels: long texts are cut and say so, also inside a character") {
    Goroutine goroutine;
    goroutine.set_list({{std::string(15, 'k'), std::string(47, 'v')}});
    CHECK_FALSE(goroutine.read(OE_GO_LABELS_SLICE).cut);
    goroutine.set_list({{std::string(16, 'k'), std::string(48, 'v')}});
    auto labels = goroutine.read(OE_GO_LABELS_SLICE);
    CHECK(labels.cut);
    CHECK(labels.pairs == Pairs{{std::string(15, 'k'), std::string(47, 'v')}});
    goroutine.set_list({{"k", std::string(46, 'v') + "ü"}});
    labels = goroutine.read(OE_GO_LABELS_SLICE);
    CHECK(labels.pairs == Pairs{{"k", std::string(46, 'v')}});
    goroutine.set_list({{"bad", "\xff"}, {"good", "é"}});
    labels = goroutine.read(OE_GO_LABELS_SLICE);
    CHECK(labels.pairs == Pairs{{"good", "é"}});
    CHECK(labels.dropped == 1);
}

TEST_CASE("go labels: no labels, no offset, and memory that is not there") {
    Goroutine goroutine;
    for (const std::uint32_t format : {OE_GO_LABELS_MAP, OE_GO_LABELS_SLICE})
        CHECK(goroutine.read(format).pairs.empty());
    CHECK(host_stat(OE_STAT_READ_FAULT) == 0);
    oe_go_labels raw;
    CHECK(host_go_labels_read(goroutine.g, OE_UNKNOWN, OE_GO_LABELS_SLICE, &raw) == 0);
    CHECK(host_go_labels_read(0, labels_offset, OE_GO_LABELS_SLICE, &raw) == 0);
    goroutine.memory.put(goroutine.g + labels_offset, std::uint64_t{0x1000});
    for (const std::uint32_t format : {OE_GO_LABELS_MAP, OE_GO_LABELS_SLICE})
        CHECK(goroutine.read(format).pairs.empty());
    CHECK(host_stat(OE_STAT_READ_FAULT) == 2);
    // A length that no one would believe.
    goroutine.set_list(numbered(0, 2));
    std::uint64_t set = 0;
    REQUIRE(goroutine.memory.read(goroutine.g + labels_offset, &set, sizeof(set)));
    goroutine.memory.put(set + 8, ~std::uint64_t{0});
    CHECK(goroutine.read(OE_GO_LABELS_SLICE).pairs == numbered(0, 2));
}

TEST_CASE("go labels: UTF-8") {
    for (const char* good : {"", "a", "ü", "€", "😀", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) CHECK(oe::go::is_utf8(good));
    for (const char* bad : {"\x80", "\xc1\x81", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80",
                            "\xf5\x80\x80\x80", "a\xe2\x82"})
        CHECK_FALSE(oe::go::is_utf8(bad));
}
