// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// native-watch PID [OUTPUT]: traces of thread-pool-server and coroutine-server, as a tree on the terminal, or as
// OTLP/JSON lines in the file OUTPUT.
#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>

#include <coro.hpp>
#include <fmt/core.h>
#include <otel_ebpf/export/console.hpp>
#include <otel_ebpf/export/jsonl.hpp>
#include <otel_ebpf/otel_ebpf.hpp>
#include <otel_ebpf/plan_format.hpp>
#include <otel_ebpf/report_format.hpp>
#include <pool.hpp>

#include "native_watch.skel.h"

namespace oe = otel_ebpf;
using namespace std::chrono_literals;
using S = native_watch_bpf;

volatile std::sig_atomic_t interrupted = 0;

int give_up(const oe::Error& error) {
    fmt::print(stderr, "native-watch: {}\n", error.what);
    return 1;
}

oe::Result<std::shared_ptr<oe::Sink>> open_sink(const char* path) {
    const auto share = [](auto sink) { return std::shared_ptr<oe::Sink>(std::move(sink)); };
    if (path != nullptr) return oe::JsonLines::open(path).map(share);
    return oe::Console::open().map(share);
}

int main(int argc, char** argv) {
    const int pid = argc > 1 ? std::atoi(argv[1]) : 0;
    if (pid <= 0) {
        fmt::print(stderr, "usage: native-watch PID [OUTPUT]\n");
        return 2;
    }
    const auto sink = open_sink(argc > 2 ? argv[2] : nullptr);
    if (!sink) return give_up(sink.error());

    // Whichever server the process is: the Probes of the other one are not linked in, and skipped.
    const auto bundle =
        oe::bundle(pool::exchange<S>, pool::charge<S>, coro_pack::exchange<S>, coro_pack::step<S>);
    auto manager = oe::Manager::open({.bundles = {bundle}, .targets = oe::targets::pid(pid), .sink = *sink});
    if (!manager) return give_up(manager.error());
    for (const oe::ReportRow& row : (*manager)->report().rows)
        if (row.state == oe::RowState::attached || !row.plan.expected)
            fmt::print(stderr, "{} {}: {}, {}\n", to_string(row.state), row.plan.symbol,
                       oe::site::to_string(row.plan.cost), row.reason);
    for (const std::string& line : oe::publication_in((*manager)->report())) fmt::print(stderr, "{}\n", line);
    fmt::print(stderr, "attached to PID {}\n", pid);

    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { interrupted = 1; });
    while (interrupted == 0) (*manager)->poll(20ms);
    (*manager)->stop();
    const oe::Stats stats = (*manager)->stats();
    fmt::print(stderr, "{} spans, {} lost, {} unfinished\n", stats.spans, stats.dropped(), stats.unfinished);
    for (std::size_t i = 0; i < stats.kernel.size(); ++i)
        if (stats.kernel[i] != 0) fmt::print(stderr, "{} {}\n", oe::stat_names[i], stats.kernel[i]);
}
