// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
#include "commands.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdio>

#include <fmt/core.h>
#include <otel_ebpf/fd.hpp>

#include "table.hpp"

namespace ctx {
namespace {

// Readable at SIGINT and SIGTERM.
oe::Fd catch_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    return oe::Fd(::signalfd(-1, &signals, SFD_CLOEXEC));
}

}  // namespace

oe::Result<void> show(const oe::ContextMap& map, const std::optional<oe::OwnedContexts>& owned) {
    const auto rows = read_rows(map, owned);
    if (!rows) return oe::Failure(rows.error());
    fmt::print("{}", format_rows(*rows));
    std::fflush(stdout);
    return {};
}

oe::Result<void> watch(const oe::ContextMap& map, const std::optional<oe::OwnedContexts>& owned,
                       std::chrono::milliseconds interval, std::uint64_t count) {
    const oe::Fd signals = catch_signals();
    const bool terminal = ::isatty(STDOUT_FILENO) == 1;
    for (std::uint64_t printed = 1;; ++printed) {
        fmt::print("{}", terminal ? "\x1b[H\x1b[2J" : printed > 1 ? "\n" : "");
        if (auto shown = show(map, owned); !shown) return shown;
        pollfd descriptor{signals.get(), POLLIN, 0};
        if (printed == count || ::poll(&descriptor, 1, static_cast<int>(interval.count())) > 0) return {};
    }
}

oe::Result<void> drain(const oe::ContextMap& map, bool all) {
    const auto entries = map.dump();
    if (!entries) return oe::Failure(entries.error());
    std::size_t removed = 0;
    for (const auto& [key, context] : *entries) {
        if (!all && !oe::thread_has_ended(key.tgid, key.tid)) continue;
        const auto erased = map.erase(key);
        if (!erased) return oe::Failure(erased.error());
        removed += *erased ? 1 : 0;
    }
    fmt::print("removed {} of {} entries\n", removed, entries->size());
    return {};
}

}  // namespace ctx
