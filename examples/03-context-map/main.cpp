// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// otel-ebpf-ctx show|watch|drain: the map in which tools tell which span each thread works for.
#include <cerrno>
#include <cstdio>
#include <optional>
#include <variant>

#include <fmt/core.h>
#include <otel_ebpf/context_map.hpp>
#include <otel_ebpf/context_owned.hpp>
#include <otel_ebpf/kernel.hpp>

#include "commands.hpp"
#include "options.hpp"

namespace oe = otel_ebpf;

namespace {

int give_up(const oe::Error& error) {
    fmt::print(stderr, "otel-ebpf-ctx: {}\n", error.what);
    const int code = error.code.value();
    return code == ENOENT || code == ENOTSUP ? ctx::exit_no_map : ctx::exit_refused;
}

// The notes of which entries are ours; none where no tool of ours has made any.
std::optional<oe::OwnedContexts> open_notes(const std::string& bpffs_root) {
    auto owned = oe::OwnedContexts::open_existing(bpffs_root);
    if (owned) return std::move(*owned);
    if (owned.error().code.value() != ENOENT)
        fmt::print(stderr, "otel-ebpf-ctx: {}; entries of ours are shown as of other tools\n", owned.error().what);
    return std::nullopt;
}

oe::Result<void> run(const oe::ContextMap& map, const ctx::Options& options) {
    if (options.command == ctx::Command::drain_all) return ctx::drain(map, true);
    if (!oe::in_initial_pid_namespace())
        return oe::fail(oe::Stage::unsupported,
                        "find the threads: not in the initial PID namespace, whose ids the map holds: run on the host "
                        "or with its PID namespace (docker run --pid=host, hostPID: true)",
                        EINVAL);
    if (options.command == ctx::Command::drain_dead) return ctx::drain(map, false);
    const auto owned = open_notes(options.bpffs_root);
    if (options.command == ctx::Command::watch) return ctx::watch(map, owned, options.interval, options.count);
    return ctx::show(map, owned);
}

}  // namespace

int main(int argc, char** argv) {
    const auto parsed = ctx::parse_options(argc, argv);
    if (const int* code = std::get_if<int>(&parsed)) return *code;
    const auto& options = std::get<ctx::Options>(parsed);
    const auto map = oe::ContextMap::open_existing(options.bpffs_root);
    if (!map) return give_up(map.error());
    const auto done = run(*map, options);
    return done ? ctx::exit_ok : give_up(done.error());
}
