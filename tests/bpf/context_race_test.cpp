// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Two tools that start at the same moment end up with one map, whichever header they use.
#include "test.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <new>
#include <optional>
#include <string>
#include <thread>

#include <otel_ebpf/context_map.hpp>

#include "private_bpffs.hpp"
#include "privileges.hpp"

namespace {

namespace oe = otel_ebpf;

constexpr std::uint32_t process_rounds = 700, thread_rounds = 300;

struct Starter {
    std::atomic<std::uint32_t> round{0};  // 1, 2, ...: this one has opened the map and says what it got
    std::uint32_t map = 0;
    bool created = false, shared = false;
    std::uint32_t reads = 0;  // the number that the other one wrote into the map
};

// In memory that both processes see.
struct Race {
    std::atomic<std::uint32_t> ready{0}, written{0};
    std::atomic<bool> failed{false};
    Starter starters[2];
};

// Spins, so that both go on within a moment of each other; on a busy machine the other one gets its turn. Gives up when
// the other one did.
bool wait_for(const std::atomic<std::uint32_t>& number, std::uint32_t value, const std::atomic<bool>& failed) {
    for (int spins = 0; number.load() < value; ++spins) {
        if (failed.load()) return false;
        if (spins > 10'000) ::sched_yield();
    }
    return true;
}

// Nobody goes on before both are here, for the `round`th time.
bool meet(std::atomic<std::uint32_t>& here, std::uint32_t round, const std::atomic<bool>& failed) {
    here.fetch_add(1);
    return wait_for(here, 2 * round, failed);
}

oe::ContextKey key_of(int starter) { return {77, static_cast<std::uint32_t>(starter)}; }

oe::SpanContext context_of(std::uint32_t number) {
    oe::SpanContext context;
    std::memcpy(context.trace_id.bytes.data(), &number, sizeof(number));
    return context;
}

// The map by way of the C header or of the class.
void open_map(const std::string& root, bool by_c_header, Starter& result, oe::Fd& owner, int& fd,
              std::optional<oe::ContextMap>& map) {
    if (by_c_header) {
        char text[OE_PIN_TEXT_SIZE];
        oe_sharing sharing = OE_SHARING_NONE;
        owner = oe::Fd(::oe_traces_ctx_open(root.c_str(), &sharing, text, sizeof(text)));
        fd = owner.get();
        result.created = sharing == OE_SHARING_CREATED;
        result.shared = result.created || sharing == OE_SHARING_OPENED;
    } else if (auto opened = oe::ContextMap::open({.bpffs_root = root})) {
        map.emplace(std::move(*opened));
        fd = map->fd();
        result.created = map->sharing() == oe::MapSharing::created;
        result.shared = map->shared();
    }
    result.map = fd < 0 ? 0 : map_id(fd);
}

// One of the two: as many rounds, each in a fresh folder of the bpffs.
void run(Race& race, int self, const std::string& bpffs, const std::string& prefix, std::uint32_t rounds) {
    Starter& mine = race.starters[self];
    for (std::uint32_t round = 1; round <= rounds; ++round) {
        const std::string root = bpffs + "/" + prefix + std::to_string(round);
        if (self == 0) std::filesystem::create_directory(root);
        oe::Fd owner;
        std::optional<oe::ContextMap> map;
        int fd = -1;
        if (!meet(race.ready, 2 * round - 1, race.failed)) return;
        open_map(root, (round + static_cast<std::uint32_t>(self)) % 3 == 0, mine, owner, fd, map);
        std::uint64_t key = key_of(self).raw();
        oe_traces_ctx_v1 entry = oe::to_traces_ctx_v1(context_of(round * 2 + static_cast<std::uint32_t>(self)));
        ::bpf_map_update_elem(fd, &key, &entry, BPF_ANY);
        if (!meet(race.written, round, race.failed)) return;
        key = key_of(1 - self).raw();
        mine.reads = 0;
        if (::bpf_map_lookup_elem(fd, &key, &entry) == 0) std::memcpy(&mine.reads, entry.trace_id, sizeof(mine.reads));
        mine.round.store(round);
        // Starter 0 compares; both go on together.
        if (self == 0) {
            const Starter& other = race.starters[1];
            if (!wait_for(other.round, round, race.failed)) return;
            const bool one_map = mine.map != 0 && mine.map == other.map && mine.shared && other.shared &&
                                 mine.created != other.created && mine.reads == round * 2 + 1 &&
                                 other.reads == round * 2;
            std::filesystem::remove_all(root);
            if (!one_map) race.failed.store(true);
        }
        if (!meet(race.ready, 2 * round, race.failed)) return;
    }
}

std::string told(const Race& race) {
    std::string text;
    for (const Starter& starter : race.starters)
        text += "round " + std::to_string(starter.round.load()) + ": map " + std::to_string(starter.map) +
                (starter.shared ? " shared" : " private") + (starter.created ? " created" : " opened") + ", reads " +
                std::to_string(starter.reads) + "; ";
    return text;
}

}  // namespace

TEST_CASE("context map: two processes that start together share one map, every time") {
    SKIP_UNLESS_LOADABLE();
    const PrivateBpffs bpffs;
    if (!bpffs.why_not().empty()) SKIP_TEST(bpffs.why_not().c_str());
    void* const memory = ::mmap(nullptr, sizeof(Race), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    Race& race = *new (memory) Race;
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        run(race, 1, bpffs.root(), "p", process_rounds);
        ::_exit(0);
    }
    run(race, 0, bpffs.root(), "p", process_rounds);
    int status = 0;
    ::waitpid(child, &status, 0);
    INFO(told(race));
    CHECK_FALSE(race.failed.load());
    CHECK(race.starters[0].round.load() == process_rounds);
    CHECK(race.starters[1].round.load() == process_rounds);
    ::munmap(memory, sizeof(Race));
}

TEST_CASE("context map: so do two threads") {
    SKIP_UNLESS_LOADABLE();
    const PrivateBpffs bpffs;
    if (!bpffs.why_not().empty()) SKIP_TEST(bpffs.why_not().c_str());
    Race race;
    std::thread other([&] { run(race, 1, bpffs.root(), "t", thread_rounds); });
    run(race, 0, bpffs.root(), "t", thread_rounds);
    other.join();
    INFO(told(race));
    CHECK_FALSE(race.failed.load());
    CHECK(race.starters[0].round.load() == thread_rounds);
    CHECK(race.starters[1].round.load() == thread_rounds);
}
