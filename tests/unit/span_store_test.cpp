// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The store of live spans (span.bpf.h) on the host: pairing, nesting, capacity, dead processes; against a plain model.
#include "test.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "bpf_host.hpp"

namespace {

constexpr std::uint16_t kind_a = OE_KIND_FIRST_PROBE, kind_b = OE_KIND_FIRST_PROBE + 1;
constexpr std::size_t max_depth = 8;  // OE_MAX_DEPTH

// A kernel with one executable, and processes on request.
struct Store {
    HostKernel kernel;
    Goroutines goroutines{kernel};
    std::uint64_t last_number = 0;

    Store() {
        oe_f_g_goid = 0;
        oe_f_g_panic = 1;
        oe_exe exe{};
        std::fill(std::begin(exe.value), std::end(exe.value), std::uint16_t{OE_UNKNOWN});
        exe.value[0] = Goroutines::goid_offset;
        exe.value[1] = Goroutines::panic_offset;
        host_set_exe(0, &exe);
        start_process(1, 1);
    }

    void start_process(std::uint32_t tgid, std::uint32_t generation) {
        oe_process row{};
        row.generation = generation;
        row.probes = ~0ULL;
        host_set_process(tgid, &row);
    }

    // The number of the span, 0 when it was lost.
    std::uint64_t start(std::uint64_t goid, std::uint64_t frame, std::uint16_t kind = kind_a) {
        const host_hit hit = goroutines.hit(goid, frame);
        return host_op_start(&hit, kind, ++last_number) == HOST_OP_DONE ? last_number : 0;
    }
    bool end(std::uint64_t goid, std::uint16_t kind = kind_a) {
        const host_hit hit = goroutines.hit(goid, 0);
        return host_op_end(&hit, kind) == HOST_OP_DONE;
    }
    std::uint32_t depth(std::uint64_t goid) {
        const host_hit hit = goroutines.hit(goid, 0);
        return host_op_depth(&hit, kind_a);
    }
    [[nodiscard]] host_op_event record(std::size_t index) const {
        host_op_event event{};
        REQUIRE(kernel.records.at(index).size() == sizeof(event));
        std::memcpy(&event, kernel.records[index].data(), sizeof(event));
        return event;
    }
    [[nodiscard]] std::size_t records() const { return kernel.records.size(); }
};

bool same(const std::uint8_t* left, const std::uint8_t* right, std::size_t size) {
    return std::equal(left, left + size, right);
}
bool is_root(const host_op_event& event) {
    return std::all_of(std::begin(event.span.parent_id), std::end(event.span.parent_id),
                       [](int byte) { return byte == 0; });
}
bool is_child(const host_op_event& child, const host_op_event& parent) {
    return same(child.span.parent_id, parent.span.span_id, 8) && same(child.span.trace_id, parent.span.trace_id, 16);
}
bool is_abandoned(const host_op_event& event) {
    return (event.span.header.span_flags & OE_SPAN_ABANDONED) != 0;
}

// Goids whose spans of depth 0 share a slot.
std::uint64_t neighbour(std::uint64_t goid, std::uint64_t round) {
    return goid + OE_MAX_LIVE_SPANS * round;
}

}  // namespace

TEST_CASE("span store: a start and an end make one record") {
    Store store;
    const std::uint64_t number = store.start(7, 100);
    CHECK(store.records() == 0);
    CHECK(store.depth(7) == 1);
    REQUIRE(store.end(7));
    REQUIRE(store.records() == 1);
    const host_op_event event = store.record(0);
    CHECK(event.number == number);
    CHECK(event.span.goid == 7);
    CHECK(event.span.header.kind == kind_a);
    CHECK(event.span.header.size_bytes == sizeof(event));
    CHECK(event.span.header.tgid == 1);
    CHECK(event.span.header.generation == 1);
    CHECK(event.span.header.trace_flags == 1);
    CHECK(event.span.duration_ns > 0);
    CHECK(is_root(event));
    CHECK_FALSE(is_abandoned(event));
    CHECK(store.depth(7) == 0);
}

TEST_CASE("span store: an end without a start is counted") {
    Store store;
    CHECK_FALSE(store.end(7));
    store.start(7, 100, kind_a);
    CHECK_FALSE(store.end(7, kind_b));
    CHECK(host_stat(OE_STAT_ORPHAN_END) == 2);
    CHECK(store.records() == 0);
    CHECK(store.end(7, kind_a));
    CHECK_FALSE(store.end(7, kind_a));
    CHECK(host_stat(OE_STAT_ORPHAN_END) == 3);
}

TEST_CASE("span store: spans nest, and goroutines don't mix") {
    Store store;
    store.start(7, 100, kind_a);
    store.start(8, 100, kind_a);
    store.start(7, 200, kind_b);
    store.start(7, 300, kind_b);
    for (const std::uint16_t kind : {kind_b, kind_b, kind_a}) REQUIRE(store.end(7, kind));
    REQUIRE(store.end(8, kind_a));
    const host_op_event inner = store.record(0), middle = store.record(1), outer = store.record(2),
                        other = store.record(3);
    CHECK(is_child(inner, middle));
    CHECK(is_child(middle, outer));
    CHECK(is_root(outer));
    CHECK(is_root(other));
    CHECK_FALSE(same(other.span.trace_id, outer.span.trace_id, 16));
}

TEST_CASE("span store: a function that calls itself ends from the inside out") {
    Store store;
    const std::uint64_t first = store.start(7, 100), second = store.start(7, 200), third = store.start(7, 300);
    for (int i = 0; i < 3; ++i) REQUIRE(store.end(7));
    CHECK(store.record(0).number == third);
    CHECK(store.record(1).number == second);
    CHECK(store.record(2).number == first);
}

TEST_CASE("span store: an end out of order abandons what is inside") {
    Store store;
    store.start(7, 100, kind_a);
    const std::uint64_t inner = store.start(7, 200, kind_b);
    REQUIRE(store.end(7, kind_a));
    REQUIRE(store.records() == 2);
    CHECK(store.record(0).number == inner);
    CHECK(is_abandoned(store.record(0)));
    CHECK_FALSE(is_abandoned(store.record(1)));
    CHECK(is_child(store.record(0), store.record(1)));
    CHECK(host_stat(OE_STAT_ABANDONED) == 1);
    CHECK_FALSE(store.end(7, kind_b));
    CHECK(store.depth(7) == 0);
}

TEST_CASE("span store: a span whose frame is gone is abandoned at the next start") {
    Store store;
    const std::uint64_t outer = store.start(7, 100);
    const std::uint64_t gone = store.start(7, 300);
    const std::uint64_t also_gone = store.start(7, 400);
    const std::uint64_t next = store.start(7, 300);  // the frame is used again: its first user has returned
    REQUIRE(store.records() == 2);
    CHECK(store.record(0).number == also_gone);
    CHECK(store.record(1).number == gone);
    CHECK(is_abandoned(store.record(0)));
    CHECK(is_abandoned(store.record(1)));
    REQUIRE(store.end(7));
    CHECK(store.record(2).number == next);
    REQUIRE(store.end(7));
    CHECK(store.record(3).number == outer);
    CHECK(is_child(store.record(2), store.record(3)));
}

TEST_CASE("span store: one at a time ends its predecessor") {
    Store store;
    const host_hit hit = store.goroutines.hit(7, 100);
    __u64 before = 0;
    REQUIRE(host_op_start_only(&hit, kind_a, 1, 0, &before) == HOST_OP_DONE);
    store.start(7, 200, kind_b);
    REQUIRE(host_op_start_only(&hit, kind_a, 2, 0, &before) == HOST_OP_DONE);
    CHECK(store.records() == 2);
    CHECK(is_abandoned(store.record(0)));
    CHECK(is_abandoned(store.record(1)));
    CHECK(store.depth(7) == 1);
    CHECK(store.end(7, kind_a));
    CHECK(is_root(store.record(2)));
}

TEST_CASE("span store: more than the greatest depth is refused and counted") {
    Store store;
    for (std::uint64_t i = 1; i <= max_depth; ++i) REQUIRE(store.start(7, i * 100) != 0);
    CHECK(store.start(7, 900) == 0);
    CHECK(store.start(7, 1000) == 0);
    CHECK(host_stat(OE_STAT_DEPTH_EXCEEDED) == 2);
    CHECK(store.depth(7) == max_depth);
    for (std::uint64_t i = max_depth; i > 0; --i) {
        REQUIRE(store.end(7));
        CHECK(store.record(store.records() - 1).number == i);
    }
    CHECK_FALSE(store.end(7));
}

TEST_CASE("span store: goroutines that share a slot keep their spans") {
    Store store;
    constexpr std::uint64_t count = 20;
    for (std::uint64_t i = 0; i < count; ++i) REQUIRE(store.start(neighbour(7, i), 100) != 0);
    CHECK(host_stat(OE_STAT_STORE_OVERFLOW) == count - 1);
    REQUIRE(store.end(neighbour(7, 0)));  // the slot is free now, the others must be found all the same
    for (std::uint64_t i = 1; i < count; ++i) {
        REQUIRE(store.end(neighbour(7, i)));
        CHECK(store.record(store.records() - 1).number == i + 1);
    }
    CHECK(host_stat(OE_STAT_ORPHAN_END) == 0);
    REQUIRE(store.start(neighbour(7, 3), 100) != 0);
    CHECK(host_stat(OE_STAT_STORE_OVERFLOW) == count - 1);  // back in the slot
}

TEST_CASE("span store: a full overflow hash costs new spans only") {
    Store store;
    constexpr std::uint64_t capacity = OE_MAX_OVERFLOW_SPANS + 1;  // and the slot
    for (std::uint64_t i = 0; i < capacity; ++i) REQUIRE(store.start(neighbour(7, i), 100) != 0);
    CHECK(store.start(neighbour(7, capacity), 100) == 0);
    CHECK(host_stat(OE_STAT_STORE_FULL) == 1);
    for (std::uint64_t i = 0; i < capacity; ++i) REQUIRE(store.end(neighbour(7, i)));
    CHECK(store.records() == capacity);
    CHECK(store.start(neighbour(7, capacity), 100) != 0);
}

TEST_CASE("span store: a new process with the tgid and the goids of a dead one inherits nothing") {
    Store store;
    for (std::uint64_t goid : {7ULL, 8ULL, 9ULL, 7ULL + OE_MAX_LIVE_SPANS}) {
        store.start(goid, 100);
        store.start(goid, 200);
    }
    store.start_process(1, 2);
    for (std::uint64_t goid : {7ULL, 8ULL, 9ULL, 7ULL + OE_MAX_LIVE_SPANS}) {
        CHECK(store.depth(goid) == 0);
        CHECK_FALSE(store.end(goid));
        REQUIRE(store.start(goid, 300) != 0);
        CHECK(store.depth(goid) == 1);
        REQUIRE(store.end(goid));
        const host_op_event event = store.record(store.records() - 1);
        CHECK(is_root(event));
        CHECK(event.span.header.generation == 2);
    }
    CHECK(store.records() == 4);
    CHECK(host_stat(OE_STAT_RECLAIMED) >= 3);
}

TEST_CASE("span store: slots of dead processes are taken over") {
    Store store;
    for (std::uint64_t goid = 1; goid <= OE_MAX_LIVE_SPANS; ++goid) store.start(goid, 100);
    host_erase_process(1);
    store.start_process(2, 2);
    store.kernel.tgid = 2;
    for (std::uint64_t goid = 1; goid <= OE_MAX_LIVE_SPANS; ++goid) REQUIRE(store.start(goid, 100) != 0);
    CHECK(host_stat(OE_STAT_RECLAIMED) == OE_MAX_LIVE_SPANS);
    CHECK(host_stat(OE_STAT_STORE_OVERFLOW) == 0);
}

TEST_CASE("span store: what sticks to a slot sticks to one goroutine of one process") {
    Store store;
    const auto run = [&store](std::uint64_t goid, std::uint64_t sticky) {
        const host_hit hit = store.goroutines.hit(goid, 100);
        __u64 before = 99;
        REQUIRE(host_op_start_only(&hit, kind_a, 1, sticky, &before) == HOST_OP_DONE);
        REQUIRE(host_op_end(&hit, kind_a) == HOST_OP_DONE);
        return before;
    };
    CHECK(run(7, 11) == 0);
    CHECK(run(7, 12) == 11);
    CHECK(run(neighbour(7, 1), 13) == 0);
    CHECK(run(7, 14) == 0);
    store.start_process(1, 2);
    CHECK(run(7, 15) == 0);
    CHECK(run(7, 16) == 15);
    const std::uint32_t other = 1 + OE_MAX_LIVE_SPANS;  // its goroutines share our slots
    store.start_process(other, 3);
    store.kernel.tgid = other;
    CHECK(run(7, 17) == 0);
}

TEST_CASE("span store: a span that is given up leaves nothing") {
    Store store;
    const host_hit hit = store.goroutines.hit(7, 200);
    CHECK(host_op_start_and_discard(&hit, kind_b) == HOST_OP_DONE);
    CHECK(store.depth(7) == 0);
    store.start(7, 100);
    CHECK(host_op_start_and_discard(&hit, kind_b) == HOST_OP_DONE);
    CHECK(store.depth(7) == 1);
    CHECK(store.records() == 0);
    CHECK(host_stat(OE_STAT_DISCARDED) == 2);
    CHECK(store.end(7));
    CHECK(store.records() == 1);
}

TEST_CASE("span store: hits that don't count open nothing") {
    Store store;
    host_hit hit = store.goroutines.hit(7, 100);
    SECTION("the stack is about to grow") {
        store.kernel.cookie = OE_COOKIE(0, OE_SITE_DESCRIPTOR(OE_SITE_ENTRY, OE_FILTER_STACK_CHECK, 0, 0));
#if defined(__x86_64__)
        for (const std::uint64_t flags : {0x1ULL, 0x40ULL, 0x41ULL}) {
            hit.flags = flags;
            CHECK(host_op_start(&hit, kind_a, 1) == HOST_OP_NO_HIT);
        }
        CHECK(host_stat(OE_STAT_STACK_CHECK) == 3);
        hit.flags = 0x80;
#else
        hit.flags = 0x40000000;
        CHECK(host_op_start(&hit, kind_a, 1) == HOST_OP_NO_HIT);
        CHECK(host_stat(OE_STAT_STACK_CHECK) == 1);
        hit.flags = 0x20000000;
#endif
        CHECK(host_op_start(&hit, kind_a, 1) == HOST_OP_DONE);
    }
    SECTION("not a target") {
        store.kernel.tgid = 5;
        CHECK(host_op_start(&hit, kind_a, 1) == HOST_OP_NO_HIT);
        CHECK(host_stat(OE_STAT_OTHER_PROCESS) == 1);
    }
    SECTION("a target, but of another executable") {
        store.kernel.cookie = OE_COOKIE(1, 0);
        oe_exe exe{};
        host_set_exe(1, &exe);
        CHECK(host_op_start(&hit, kind_a, 1) == HOST_OP_NO_HIT);
        CHECK(host_stat(OE_STAT_OTHER_PROCESS) == 1);
    }
    SECTION("a row that doesn't exist") {
        store.kernel.cookie = OE_COOKIE(4096, 0);
        CHECK(host_op_start(&hit, kind_a, 1) == HOST_OP_NO_HIT);
    }
    SECTION("the Probe is not enabled for the process") {
        oe_process row{};
        row.generation = 1;
        row.probes = 1;
        host_set_process(1, &row);
        CHECK(host_op_start(&hit, kind_b, 1) == HOST_OP_NO_HIT);
        CHECK(host_op_start(&hit, kind_a, 1) == HOST_OP_DONE);
    }
    SECTION("not a goroutine") {
        hit.g_addr = 0;
        CHECK(host_op_start(&hit, kind_a, 1) == HOST_OP_NO_HIT);
        CHECK(host_stat(OE_STAT_READ_FAULT) == 1);
    }
    SECTION("the offset of goid is unknown") {
        oe_f_g_goid = OE_NO_SLOT;
        CHECK(host_op_start(&hit, kind_a, 1) == HOST_OP_NO_HIT);
        CHECK(host_stat(OE_STAT_FACT_MISSING) == 1);
    }
}

TEST_CASE("span store: processes of a followed executable join at their first hit") {
    Store store;
    oe_exe exe{};
    exe.value[0] = Goroutines::goid_offset;
    exe.any_process = 1;
    exe.tls_g_offset = -8;
    host_set_exe(0, &exe);
    for (std::uint32_t tgid = 10; tgid < 10 + OE_MAX_PROCESSES - 1; ++tgid) {
        store.kernel.tgid = tgid;
        REQUIRE(store.start(7, 100) != 0);
        oe_process row{};
        REQUIRE(host_get_process(tgid, &row));
        CHECK(row.generation == tgid - 9);
        CHECK(row.generation < 0x80000000);
        CHECK(row.tls_g_offset == -8);
    }
    store.kernel.tgid = 100;
    CHECK(store.start(7, 100) == 0);
    CHECK(host_stat(OE_STAT_PROCESSES_FULL) == 1);
}

TEST_CASE("span store: a full ring buffer loses records, and counts them") {
    Store store;
    store.kernel.records_max = 3;
    for (int i = 0; i < 10; ++i) {
        store.start(7, 100);
        REQUIRE(store.end(7));
    }
    CHECK(store.records() == 3);
    CHECK(host_stat(OE_STAT_RINGBUF_FULL) == 7);
    CHECK(store.depth(7) == 0);
}

namespace {

// What the store promises, with vectors in place of slots.
class Model {
public:
    struct Open {
        std::uint64_t number;
        std::uint16_t kind;
        std::uint64_t frame;
        std::uint64_t parent;  // 0: root
    };
    struct Done {
        std::uint64_t parent;
        bool abandoned;
    };
    struct Key {
        std::uint32_t tgid, generation;
        std::uint64_t goid;
        auto operator<=>(const Key&) const = default;
    };

    std::map<Key, std::vector<Open>> stacks;
    std::map<std::uint64_t, Done> done;  // by number
    std::uint64_t orphans = 0, abandoned = 0, too_deep = 0;

    // False: refused for its depth.
    bool prepare_start(const Key& key, std::uint64_t frame) {
        auto& stack = stacks[key];
        while (!stack.empty() && stack.back().frame >= frame) pop(stack, true);
        if (stack.size() < max_depth) return true;
        ++too_deep;
        return false;
    }
    void start(const Key& key, std::uint64_t number, std::uint16_t kind, std::uint64_t frame) {
        auto& stack = stacks[key];
        stack.push_back({number, kind, frame, stack.empty() ? 0 : stack.back().number});
    }
    bool end(const Key& key, std::uint16_t kind) {
        auto& stack = stacks[key];
        const auto innermost =
            std::find_if(stack.rbegin(), stack.rend(), [kind](const Open& open) { return open.kind == kind; });
        if (innermost == stack.rend()) {
            ++orphans;
            return false;
        }
        const auto left = static_cast<std::size_t>(stack.rend() - innermost);
        while (stack.size() > left) pop(stack, true);
        pop(stack, false);
        return true;
    }
    void forget_process(std::uint32_t tgid, std::uint32_t generation) {
        std::erase_if(stacks, [=](const auto& entry) {
            return entry.first.tgid == tgid && entry.first.generation == generation;
        });
    }

private:
    void pop(std::vector<Open>& stack, bool is_abandoned) {
        done[stack.back().number] = {stack.back().parent, is_abandoned};
        abandoned += is_abandoned;
        stack.pop_back();
    }
};

void play(std::uint32_t seed, std::uint64_t goroutine_count, int steps) {
    INFO("seed " << seed << ", " << goroutine_count << " goroutines");
    Store store;
    Model model;
    std::mt19937 random(seed);
    const auto below = [&random](std::uint64_t limit) { return random() % limit; };
    std::array<std::uint32_t, 4> generations{};  // of tgids 1 to 4
    std::uint32_t last_generation = 0;
    const auto restart = [&](std::uint32_t tgid) {
        model.forget_process(tgid, generations[tgid - 1]);
        generations[tgid - 1] = ++last_generation;
        store.start_process(tgid, last_generation);
    };
    for (std::uint32_t tgid = 1; tgid <= 4; ++tgid) restart(tgid);
    std::uint64_t lost = 0;
    std::set<std::uint64_t> parents_lost;

    for (int step = 0; step < steps; ++step) {
        const auto tgid = static_cast<std::uint32_t>(1 + below(4));
        if (below(5000) == 0) restart(tgid);
        store.kernel.tgid = tgid;
        const Model::Key key{tgid, generations[tgid - 1], 1 + below(goroutine_count)};
        const std::uint16_t kind = below(2) == 0 ? kind_a : kind_b;
        if (below(2) == 0) {
            const std::uint64_t frame = 100 * (1 + below(12));
            const bool fits = model.prepare_start(key, frame);
            const std::uint64_t number = store.start(key.goid, frame, kind);
            if (number != 0) {
                REQUIRE(fits);
                model.start(key, number, kind, frame);
            } else if (fits) {
                ++lost;
            }
        } else {
            REQUIRE(store.end(key.goid, kind) == model.end(key, kind));
        }
        REQUIRE(store.depth(key.goid) == model.stacks[key].size());
    }

    CHECK(host_stat(OE_STAT_STORE_FULL) == lost);
    CHECK(host_stat(OE_STAT_DEPTH_EXCEEDED) == model.too_deep);
    CHECK(host_stat(OE_STAT_ORPHAN_END) == model.orphans);
    CHECK(host_stat(OE_STAT_ABANDONED) == model.abandoned);
    CHECK(host_stat(OE_STAT_RINGBUF_FULL) == 0);
    CHECK(host_stat(OE_STAT_READ_FAULT) == 0);

    std::map<std::uint64_t, host_op_event> records;
    for (std::size_t i = 0; i < store.records(); ++i) {
        const host_op_event event = store.record(i);
        REQUIRE(records.emplace(event.number, event).second);
    }
    REQUIRE(records.size() == model.done.size());
    for (const auto& [number, expected] : model.done) {
        REQUIRE(records.contains(number));
        const host_op_event& event = records.at(number);
        REQUIRE(is_abandoned(event) == expected.abandoned);
        REQUIRE(is_root(event) == (expected.parent == 0));
        if (const auto parent = records.find(expected.parent); parent != records.end())
            REQUIRE(is_child(event, parent->second));
    }
}

}  // namespace

TEST_CASE("span store: behaves as a plain model, few goroutines") {
    for (std::uint32_t seed = 1; seed <= 10; ++seed) play(seed, 20, 20'000);
}

TEST_CASE("span store: behaves as a plain model, thousands of goroutines and a full store") {
    for (std::uint32_t seed = 11; seed <= 13; ++seed) play(seed, 3000, 60'000);
}
