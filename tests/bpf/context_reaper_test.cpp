// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What is taken out of the shared context map, and what is not.
#include "test.hpp"

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

#include <otel_ebpf/context_reaper.hpp>

#include "child_process.hpp"
#include "private_bpffs.hpp"
#include "privileges.hpp"

namespace {

namespace oe = otel_ebpf;

oe::SpanContext context_of(std::uint8_t seed) {
    oe::SpanContext context;
    std::fill(context.trace_id.bytes.begin(), context.trace_id.bytes.end(), seed);
    std::fill(context.span_id.bytes.begin(), context.span_id.bytes.end(), static_cast<std::uint8_t>(seed + 100));
    return context;
}

oe_ctx_owned note_of(std::uint8_t seed, oe::ContextOwner owner) {
    oe_ctx_owned note{};
    context_of(seed).span_id.copy_to(note.span_id);
    note.owner = owner.raw();
    return note;
}

// A process that only waits, until it is killed. A zombie is left until the object goes.
class Sleeper {
public:
    Sleeper() : pid_(::fork()) {
        if (pid_ == 0)
            for (;;) ::pause();
    }
    ~Sleeper() {
        kill();
        ::waitpid(pid_, nullptr, 0);
    }
    void kill() const {
        ::kill(pid_, SIGKILL);
        siginfo_t info;
        ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
    }
    [[nodiscard]] std::uint32_t pid() const { return static_cast<std::uint32_t>(pid_); }
    // As the tool that this process would be.
    [[nodiscard]] oe::ContextOwner owner() const {
        const auto stat = oe::parse_task_stat(oe::detail::read_whole("/proc/" + std::to_string(pid_) + "/stat"));
        return {pid(), static_cast<std::uint32_t>(stat.value().start_ticks)};
    }

private:
    pid_t pid_;
};

// PIDs of no process: above the largest that the kernel gives.
constexpr std::uint32_t no_process = 0x7ff00000;

struct Fixture {
    PrivateBpffs bpffs;
    std::optional<oe::ContextMap> map;
    std::optional<oe::ContextReaper> reaper;

    // "" or what went wrong.
    std::string open() {
        auto contexts = oe::ContextMap::open({.bpffs_root = bpffs.root()});
        if (!contexts) return contexts.error().what;
        map.emplace(std::move(*contexts));
        auto opened = oe::ContextReaper::open(*map);
        if (!opened) return opened.error().what;
        reaper.emplace(std::move(*opened));
        return reaper->owned().shared() ? "" : reaper->owned().message();
    }
    // An entry as eager publication leaves it.
    void publish(oe::ContextKey key, std::uint8_t seed, oe::ContextOwner owner) const {
        REQUIRE(map->set(key, context_of(seed)));
        REQUIRE(reaper->owned().notes().update(key.raw(), note_of(seed, owner)));
    }
    void publish_foreign(oe::ContextKey key, std::uint8_t seed) const { REQUIRE(map->set(key, context_of(seed))); }
    [[nodiscard]] bool has(oe::ContextKey key, std::uint8_t seed) const {
        return map->lookup(key).value() == context_of(seed);
    }
    [[nodiscard]] bool gone(oe::ContextKey key) const { return !map->lookup(key).value(); }
    [[nodiscard]] bool noted(oe::ContextKey key) const {
        return reaper->owned().notes().lookup(key.raw()).value().has_value();
    }
};

#define OPEN(fixture)                                                              \
    SKIP_UNLESS_LOADABLE();                                                        \
    Fixture fixture;                                                               \
    if (!fixture.bpffs.why_not().empty()) SKIP_TEST(fixture.bpffs.why_not().c_str()); \
    REQUIRE(fixture.open() == "")

// Within a fraction of a microsecond, unless the machine is busy.
void spin_until(const std::atomic<std::uint32_t>& number, std::uint32_t value) {
    for (int spins = 0; number < value; ++spins)
        if (spins > 100'000) ::sched_yield();
}

// This thread, the `number`th of this process' CPUs, if there are so many.
void use_only_cpu(int number) {
    cpu_set_t all, one;
    CPU_ZERO(&one);
    if (::sched_getaffinity(0, sizeof(all), &all) != 0) return;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(cpu, &all) && number-- == 0) CPU_SET(cpu, &one);
    if (CPU_COUNT(&one) == 1) ::sched_setaffinity(0, sizeof(one), &one);
}

oe::ContextKey main_thread_of(const Sleeper& sleeper) { return {sleeper.pid(), sleeper.pid()}; }

}  // namespace

TEST_CASE("context reaper: the owner id is the PID and the start time in clock ticks") {
    OPEN(all);
    std::uint64_t ticks = 0;
    // Independent of the parser: the process name of a test binary has neither blanks nor parentheses.
    std::FILE* const file = std::fopen("/proc/self/stat", "r");
    REQUIRE(file != nullptr);
    CHECK(std::fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %lu",
                      &ticks) == 1);
    std::fclose(file);
    CHECK(all.reaper->owner().raw() == (static_cast<std::uint64_t>(::getpid()) << 32 | (ticks & 0xffffffff)));
    CHECK_FALSE(all.reaper->owner().has_ended());
    CHECK(oe::ContextOwner::from_raw(all.reaper->owner().raw()) == all.reaper->owner());
}

TEST_CASE("context reaper: entries of a tool that was killed go, zombie or not; those of living ones stay") {
    OPEN(all);
    const Sleeper target, living_tool, zombie_tool;
    const oe::ContextKey thread = main_thread_of(target);
    const oe::ContextKey of_zombie{thread.tgid, thread.tid}, of_living = main_thread_of(living_tool);
    const oe::ContextKey of_own{static_cast<std::uint32_t>(::getpid()), static_cast<std::uint32_t>(::gettid())};
    all.publish(of_zombie, 1, zombie_tool.owner());
    all.publish(of_living, 2, living_tool.owner());
    all.publish(of_own, 3, all.reaper->owner());
    CHECK(all.reaper->reap().value() == oe::Reaped{});

    zombie_tool.kill();
    CHECK(all.reaper->reap().value() == oe::Reaped{.notes = 1, .dead_tools = 1});
    CHECK(all.gone(of_zombie));
    CHECK_FALSE(all.noted(of_zombie));
    CHECK(all.has(of_living, 2));
    CHECK(all.noted(of_living));
    CHECK(all.has(of_own, 3));

    all.publish(of_zombie, 4, {no_process, 1});
    CHECK(all.reaper->reap().value() == oe::Reaped{.notes = 1, .dead_tools = 1});
    CHECK(all.gone(of_zombie));
    CHECK(all.reaper->reap().value() == oe::Reaped{});
}

TEST_CASE("context reaper: a tool whose PID was taken by another process is dead") {
    OPEN(all);
    const Sleeper target, successor;
    const oe::ContextOwner now = successor.owner();
    all.publish(main_thread_of(target), 1, {now.tgid, now.start_ticks - 1});
    CHECK(all.reaper->reap().value() == oe::Reaped{.notes = 1, .dead_tools = 1});
    CHECK(all.gone(main_thread_of(target)));
}

TEST_CASE("context reaper: a tool whose first thread has ended lives on in the others") {
    OPEN(all);
    int ready[2], hold[2];
    REQUIRE(::pipe(ready) == 0);
    REQUIRE(::pipe(hold) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(hold[1]);
        std::thread([&] {
            ::usleep(20'000);
            char byte = 'x';
            if (::write(ready[1], &byte, 1) != 1 || ::read(hold[0], &byte, 1) != 0) ::_exit(1);
            ::_exit(0);
        }).detach();
        ::syscall(SYS_exit, 0);  // this thread only
    }
    ::close(ready[1]);
    char byte;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    const auto pid = static_cast<std::uint32_t>(child);
    const auto stat = oe::parse_task_stat(oe::detail::read_whole("/proc/" + std::to_string(child) + "/stat"));
    REQUIRE(stat);
    CHECK(stat->state == 'Z');
    CHECK_FALSE(oe::ContextOwner{pid, static_cast<std::uint32_t>(stat->start_ticks)}.has_ended());
    // But that thread itself has.
    CHECK(oe::thread_has_ended(pid, pid));
    for (const int fd : {ready[0], hold[0], hold[1]}) ::close(fd);
    ::waitpid(child, nullptr, 0);
}

TEST_CASE("context reaper: the entry of a thread that has ended goes, and of a process that has") {
    OPEN(all);
    const auto self = static_cast<std::uint32_t>(::getpid());
    std::atomic<std::uint32_t> tid{0};
    std::atomic<bool> end{false};
    std::thread thread([&] {
        tid = static_cast<std::uint32_t>(::gettid());
        while (!end) ::usleep(1000);
    });
    while (tid == 0) ::usleep(1000);
    const oe::ContextKey key{self, tid};
    const Sleeper target, other;
    all.publish(key, 1, all.reaper->owner());
    all.publish(main_thread_of(target), 2, all.reaper->owner());
    all.publish(main_thread_of(other), 3, all.reaper->owner());
    CHECK(all.reaper->reap().value() == oe::Reaped{});
    end = true;
    thread.join();
    // The kernel takes a moment to forget a thread that was joined.
    for (int i = 0; i < 1000 && !oe::thread_has_ended(self, tid); ++i) ::usleep(1000);
    CHECK(all.reaper->reap().value() == oe::Reaped{.notes = 1, .dead_threads = 1});
    CHECK(all.gone(key));
    target.kill();
    CHECK(all.reaper->reap().value() == oe::Reaped{.notes = 1, .dead_threads = 1});
    CHECK(all.gone(main_thread_of(target)));
    CHECK(all.has(main_thread_of(other), 3));

    // A TID that is now in another process.
    all.publish({self, other.pid()}, 4, all.reaper->owner());
    CHECK(all.reaper->reap().value() == oe::Reaped{.notes = 1, .dead_threads = 1});
    CHECK(all.gone({self, other.pid()}));
}

TEST_CASE("context reaper: what another tool has put in place of our entry stays") {
    OPEN(all);
    const Sleeper target;
    const oe::ContextKey key = main_thread_of(target);
    all.publish(key, 1, {no_process, 1});
    all.publish_foreign(key, 9);
    CHECK(all.reaper->reap().value() == oe::Reaped{.notes = 1, .replaced = 1});
    CHECK(all.has(key, 9));
    CHECK_FALSE(all.noted(key));
    all.publish(key, 2, all.reaper->owner());
    all.publish_foreign(key, 9);
    CHECK(all.reaper->erase_own().value() == oe::Reaped{.notes = 1, .replaced = 1});
    CHECK(all.has(key, 9));
}

TEST_CASE("context reaper: nor is an entry lost that another tool writes at the moment of reaping") {
    OPEN(all);
    constexpr std::uint32_t rounds = 3000, step = 32;
    const Sleeper target;
    const oe::ContextKey key = main_thread_of(target);
    std::atomic<std::uint32_t> begun{0}, written{0}, delay{0};
    std::thread foreign([&] {
        use_only_cpu(1);
        std::uint64_t raw = key.raw();
        const oe_traces_ctx_v1 entry = oe::to_traces_ctx_v1(context_of(9));
        for (std::uint32_t round = 1; round <= rounds; ++round) {
            spin_until(begun, round);
            for (volatile std::uint32_t waited = 0; waited < delay;) waited = waited + 1;
            ::bpf_map_update_elem(all.map->fd(), &raw, &entry, BPF_ANY);
            written = round;
        }
    });
    std::uint32_t lost = 0, before = 0, after = 0;
    std::thread reaping([&] {
        use_only_cpu(0);
        for (std::uint32_t round = 1; round <= rounds; ++round) {
            if (!all.map->set(key, context_of(1)) ||
                !all.reaper->owned().notes().update(key.raw(), note_of(1, {no_process, 1})))
                break;
            begun = round;
            const auto reaped = all.reaper->reap();
            spin_until(written, round);
            lost += all.has(key, 9) ? 0 : 1;
            if (!reaped) break;
            // Later next time when it came before the reaper's look, else earlier: both come within a microsecond.
            ++(reaped->replaced == 1 ? before : after);
            delay = reaped->replaced == 1 ? delay + step : delay - std::min(delay.load(), step);
        }
        begun = rounds;
    });
    reaping.join();
    foreign.join();
    INFO(before << " were written before, " << after << " after");
    CHECK(before + after == rounds);
    CHECK(lost == 0);
}

TEST_CASE("context reaper: a note without an entry goes with its tool") {
    OPEN(all);
    const Sleeper target;
    const oe::ContextKey key = main_thread_of(target);
    all.publish(key, 1, {no_process, 1});
    REQUIRE(all.map->erase(key));
    CHECK(all.reaper->reap().value() == oe::Reaped{.notes = 1});
    CHECK_FALSE(all.noted(key));
}

TEST_CASE("context reaper: foreign entries survive open, reap, erase_own and shutdown") {
    SKIP_UNLESS_LOADABLE();
    const PrivateBpffs bpffs;
    if (!bpffs.why_not().empty()) SKIP_TEST(bpffs.why_not().c_str());
    const Sleeper living, dead;
    dead.kill();
    const auto foreign_tool = oe::ContextMap::open({.bpffs_root = bpffs.root()});
    REQUIRE(foreign_tool);
    const oe::ContextKey keys[] = {main_thread_of(living), main_thread_of(dead), {no_process, 5}, {1, 1}};
    for (const oe::ContextKey key : keys) REQUIRE(foreign_tool->set(key, context_of(42)));
    {
        auto map = oe::ContextMap::open({.bpffs_root = bpffs.root()});
        REQUIRE(map);
        auto reaper = oe::ContextReaper::open(*map);
        REQUIRE(reaper);
        const oe::ContextKey own{static_cast<std::uint32_t>(::getpid()), static_cast<std::uint32_t>(::gettid())};
        REQUIRE(map->set(own, context_of(1)));
        REQUIRE(reaper->owned().notes().update(own.raw(), note_of(1, reaper->owner())));
        CHECK(reaper->reap().value() == oe::Reaped{});
        CHECK(reaper->erase_own().value() == oe::Reaped{.notes = 1, .own = 1});
        CHECK(reaper->erase_own().value() == oe::Reaped{});
        CHECK_FALSE(map->lookup(own).value());
    }
    for (const oe::ContextKey key : keys) CHECK(foreign_tool->lookup(key).value() == context_of(42));
    CHECK(foreign_tool->dump().value().size() == 4);
    CHECK(map_id(foreign_tool->fd()) == pinned_map_id(bpffs.path("otel/traces_ctx_v1")));
}

TEST_CASE("context reaper: erase_own takes this tool's entries only") {
    OPEN(all);
    const Sleeper target, other_tool;
    const oe::ContextKey ours{target.pid(), target.pid()}, theirs{target.pid(), target.pid() + 1};
    all.publish(ours, 1, all.reaper->owner());
    all.publish(theirs, 2, other_tool.owner());
    CHECK(all.reaper->erase_own().value() == oe::Reaped{.notes = 1, .own = 1});
    CHECK(all.gone(ours));
    CHECK(all.has(theirs, 2));
    CHECK(all.noted(theirs));
}

TEST_CASE("context reaper: after a crash, the next run finds what the last one wrote") {
    SKIP_UNLESS_LOADABLE();
    const PrivateBpffs bpffs;
    if (!bpffs.why_not().empty()) SKIP_TEST(bpffs.why_not().c_str());
    const std::string root = bpffs.root();
    const Sleeper target;
    const oe::ContextKey key = main_thread_of(target);
    const std::string crashed = in_child([&]() -> std::string {
        const auto map = oe::ContextMap::open({.bpffs_root = root});
        if (!map) return map.error().what;
        const auto reaper = oe::ContextReaper::open(*map);
        if (!reaper) return reaper.error().what;
        if (!reaper->owned().notes().update(key.raw(), note_of(1, reaper->owner())) || !map->set(key, context_of(1)))
            return "not written";
        ::kill(::getpid(), SIGKILL);
        return "alive";
    });
    CHECK(crashed == "died: status 9");
    const auto map = oe::ContextMap::open({.bpffs_root = root});
    REQUIRE(map);
    CHECK(map->lookup(key).value() == context_of(1));
    const auto reaper = oe::ContextReaper::open(*map);
    REQUIRE(reaper);
    CHECK(reaper->owned().sharing() == oe::MapSharing::opened);
    CHECK(reaper->reap().value() == oe::Reaped{.notes = 1, .dead_tools = 1});
    CHECK_FALSE(map->lookup(key).value());
}

TEST_CASE("context reaper: without the pin of its notes it keeps them to itself, and says so") {
    SKIP_UNLESS_LOADABLE();
    // No bpffs: the context map has said it already.
    const auto alone = oe::ContextMap::open({.bpffs_root = "/tmp"});
    REQUIRE(alone);
    const auto quiet = oe::ContextReaper::open(*alone);
    REQUIRE(quiet);
    CHECK_FALSE(quiet->owned().shared());
    CHECK(quiet->owned().message().empty());
    CHECK(quiet->reap().value() == oe::Reaped{});

    // Another version's notes.
    const PrivateBpffs bpffs;
    if (!bpffs.why_not().empty()) SKIP_TEST(bpffs.why_not().c_str());
    const oe::Fd other(::bpf_map_create(BPF_MAP_TYPE_HASH, "ctx_owned_v1", 8, 32, OE_TRACES_CTX_ENTRIES, nullptr));
    std::filesystem::create_directory(bpffs.path("otel_ebpf"));
    REQUIRE(::bpf_obj_pin(other.get(), bpffs.path("otel_ebpf/ctx_owned_v1").c_str()) == 0);
    const auto shared = oe::ContextMap::open({.bpffs_root = bpffs.root()});
    REQUIRE(shared);
    CHECK(shared->shared());
    const auto reaper = oe::ContextReaper::open(*shared);
    REQUIRE(reaper);
    CHECK_FALSE(reaper->owned().shared());
    INFO(reaper->owned().message());
    CHECK(reaper->owned().message().find("value_size is 32, expected 16;") != std::string::npos);
    CHECK(reaper->owned().message().find("; going on with a private map: entries of the shared context map that this "
                                         "tool leaves behind in a crash are not found again") != std::string::npos);
    CHECK(reaper->erase_own().value() == oe::Reaped{});
    CHECK(pinned_map_id(bpffs.path("otel_ebpf/ctx_owned_v1")) == map_id(other.get()));
}
