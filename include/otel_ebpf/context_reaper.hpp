// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ContextReaper: takes back entries of the shared context map whose thread or whose writer, a tool of ours, is dead.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include <cstdint>
#include <cstring>
#include <fmt/core.h>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include <otel_ebpf/context_map.hpp>
#include <otel_ebpf/context_owned.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/fd.hpp>
#include <otel_ebpf/kernel.hpp>
#include <otel_ebpf/process.hpp>

namespace otel_ebpf {

// A run of a tool, as in oe_ctx_owned.owner.
struct ContextOwner {
    std::uint32_t tgid = 0;
    std::uint32_t start_ticks = 0;  // low half: tells a reused PID from its predecessor

    friend constexpr bool operator==(const ContextOwner&, const ContextOwner&) = default;

    [[nodiscard]] static constexpr ContextOwner from_raw(std::uint64_t raw) {
        return {static_cast<std::uint32_t>(raw >> 32), static_cast<std::uint32_t>(raw)};
    }
    // For the rodata variable oe_ctx_owner.
    [[nodiscard]] constexpr std::uint64_t raw() const { return std::uint64_t{tgid} << 32 | start_ticks; }

    // The process that runs now.
    [[nodiscard]] static Result<ContextOwner> self() {
        const auto stat = parse_task_stat(detail::read_whole("/proc/self/stat"));
        if (!stat)
            return fail(Stage::map, "read the start time of this tool from /proc/self/stat: mount /proc", ENOENT);
        return ContextOwner{static_cast<std::uint32_t>(::getpid()), static_cast<std::uint32_t>(stat->start_ticks)};
    }
    // False where /proc hides the process (hidepid).
    [[nodiscard]] bool has_ended() const {
        const auto pid = static_cast<pid_t>(tgid);
        if (pid <= 0) return true;  // no process; kill(2) would take it for a group
        const auto stat = parse_task_stat(detail::read_whole(fmt::format("/proc/{}/stat", tgid)));
        if (!stat) return ::kill(pid, 0) != 0 && errno == ESRCH;
        // A first thread that ended before the others is a zombie, too.
        return static_cast<std::uint32_t>(stat->start_ticks) != start_ticks || (stat->ended() && stat->threads <= 1);
    }
};

struct Reaped {
    std::uint64_t notes = 0;         // that were taken down
    std::uint64_t dead_tools = 0;    // entries removed, since their tool is gone
    std::uint64_t dead_threads = 0;  // entries removed, since their thread is gone
    std::uint64_t own = 0;           // entries removed by erase_own()
    std::uint64_t replaced = 0;      // entries left: what is there now is another tool's

    friend bool operator==(const Reaped&, const Reaped&) = default;
};

class ContextReaper {
public:
    // The maps stay open as long as this object lives. Needs the initial PID namespace: elsewhere the ids in the map
    // mean other threads. No capability beyond what opening the maps takes; /proc/PID of others may be hidden, and then
    // nothing of theirs is taken for dead.
    [[nodiscard]] static Result<ContextReaper> open(const ContextMap& contexts) {
        if (!in_initial_pid_namespace())
            return fail(Stage::unsupported,
                        "reap entries of dead threads: not in the initial PID namespace, whose ids the context map "
                        "holds: run on the host or with its PID namespace (docker run --pid=host, hostPID: true)",
                        EINVAL);
        auto owner = ContextOwner::self();
        if (!owner) return Failure(std::move(owner).error());
        auto owned = OwnedContexts::open(contexts);
        if (!owned) return Failure(std::move(owned).error());
        Fd copy(::fcntl(contexts.fd(), F_DUPFD_CLOEXEC, 0));
        if (!copy) return fail_errno(Stage::map, "keep the context map open");
        return ContextReaper(std::move(copy), std::move(*owned), *owner);
    }

    // This tool, for the notes that its BPF programs make.
    [[nodiscard]] ContextOwner owner() const { return owner_; }
    [[nodiscard]] const OwnedContexts& owned() const { return owned_; }

    // Removes the noted entries of dead tools and of dead threads, and their notes. An entry that is not as it was
    // noted is another tool's and stays. Reads a file of /proc per note.
    [[nodiscard]] Result<Reaped> reap() const {
        std::map<std::uint64_t, bool> dead_tools;  // several notes each
        dead_tools[owner_.raw()] = false;
        return sweep([&](ContextKey key, const oe_ctx_owned& note) -> std::uint64_t Reaped::* {
            auto tool = dead_tools.find(note.owner);
            if (tool == dead_tools.end())
                tool = dead_tools.emplace(note.owner, ContextOwner::from_raw(note.owner).has_ended()).first;
            if (tool->second) return &Reaped::dead_tools;
            return thread_has_ended(key.tgid, key.tid) ? &Reaped::dead_threads : nullptr;
        });
    }
    // Removes what this tool itself has written, after its BPF programs are detached; of one process, when they write
    // nothing for it any more.
    [[nodiscard]] Result<Reaped> erase_own(std::optional<std::uint32_t> only_tgid = std::nullopt) const {
        return sweep([&](ContextKey key, const oe_ctx_owned& note) -> std::uint64_t Reaped::* {
            return note.owner == owner_.raw() && key.tgid == only_tgid.value_or(key.tgid) ? &Reaped::own : nullptr;
        });
    }

private:
    ContextReaper(Fd contexts, OwnedContexts owned, ContextOwner owner)
        : contexts_(std::move(contexts)), owned_(std::move(owned)), owner_(owner) {}

    // Takes back every noted entry for which reason(key, note) names a counter.
    template <class Reason>
    Result<Reaped> sweep(Reason reason) const {
        auto notes = owned_.notes().dump();
        if (!notes) return Failure(std::move(notes).error());
        Reaped reaped;
        for (const auto& [key, note] : *notes) {
            std::uint64_t Reaped::* const counter = reason(ContextKey::from_raw(key), note);
            if (counter == nullptr) continue;
            // The entry goes first: a note without an entry does no harm, should this tool end in between.
            const auto entry = erase_if<oe_traces_ctx_v1>(contexts_.get(), key, [&note](const oe_traces_ctx_v1& value) {
                return std::memcmp(value.span_id, note.span_id, sizeof(note.span_id)) == 0;
            });
            if (!entry) return Failure(entry.error());
            if (*entry == Erased::yes) ++(reaped.*counter);
            if (*entry == Erased::differs) ++reaped.replaced;
            const auto taken_down = erase_if<oe_ctx_owned>(owned_.fd(), key, [&note](const oe_ctx_owned& value) {
                return std::memcmp(&value, &note, sizeof(note)) == 0;
            });
            if (!taken_down) return Failure(taken_down.error());
            if (*taken_down == Erased::yes) ++reaped.notes;
        }
        return reaped;
    }

    enum class Erased { no, yes, differs };

    // Deletes `key` while its value satisfies `is_it`. What a writer puts there at this very moment goes back.
    template <class Value, class Predicate>
    static Result<Erased> erase_if(int map, std::uint64_t key, Predicate is_it) {
        Value value;
        if (::bpf_map_lookup_elem(map, &key, &value) != 0) {
            if (errno == ENOENT) return Erased::no;
            return fail_errno(Stage::map, "reap: look up an entry");
        }
        if (!is_it(value)) return Erased::differs;
        if (::bpf_map_lookup_and_delete_elem(map, &key, &value) != 0) {  // Linux 5.14
            if (errno == ENOENT) return Erased::no;
            return fail_errno(Stage::map, "reap: take an entry out");
        }
        if (is_it(value)) return Erased::yes;
        if (::bpf_map_update_elem(map, &key, &value, BPF_NOEXIST) != 0 && errno != EEXIST)
            return fail_errno(Stage::map, "reap: put back an entry that another tool has just written");
        return Erased::differs;
    }

    Fd contexts_;
    OwnedContexts owned_;
    ContextOwner owner_;
};

}  // namespace otel_ebpf
