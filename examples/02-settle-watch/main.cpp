// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// settle-watch PID [SECONDS]: who settles what in a Go program's ledger, every second.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include <fmt/core.h>
#include <ledger.hpp>
#include <otel_ebpf/otel_ebpf.hpp>

#include "settle_watch.skel.h"

namespace oe = otel_ebpf;
using namespace std::chrono_literals;

// A map of our own BPF program: its name is checked at compile time, its shape when it is opened.
constexpr oe::MapSpec<settle_watch_bpf, std::uint32_t, std::uint64_t> switches_spec{
    .map = &oe::Maps<settle_watch_bpf>::switches, .type = BPF_MAP_TYPE_PERCPU_ARRAY, .max_entries = 2};

// Receives the spans that the pack makes, and adds them up by account.
class Accounts final : public oe::Sink {
public:
    void write(const oe::SpanBatch& batch) override {
        for (const oe::Span& span : batch.spans) {
            Account& account = accounts_[std::string(span.get<std::string_view>("ledger.account").value_or(""))];
            const double ms = static_cast<double>(span.duration().count()) / 1e6;
            account.calls += 1;
            account.failed += span.status == oe::StatusCode::error ? 1 : 0;
            account.sum_ms += ms;
            account.max_ms = std::max(account.max_ms, ms);
        }
    }

    void print_and_forget() {
        fmt::print("\n{:16}{:>8}{:>8}{:>10}{:>10}\n", "account", "calls", "failed", "mean ms", "max ms");
        for (const auto& [name, account] : accounts_)
            fmt::print("{:16}{:8}{:8}{:10.1f}{:10.1f}  {:=<{}}\n", name, account.calls, account.failed,
                       account.sum_ms / account.calls, account.max_ms, "", std::min(account.calls, 40));
        accounts_.clear();
    }

private:
    struct Account {
        int calls = 0, failed = 0;
        double sum_ms = 0, max_ms = 0;
    };
    std::map<std::string, Account> accounts_;
};

int give_up(const oe::Error& error) {
    fmt::print(stderr, "settle-watch: {}\n", error.what);
    return 1;
}

int main(int argc, char** argv) {
    const int pid = argc > 1 ? std::atoi(argv[1]) : 0, seconds = argc > 2 ? std::atoi(argv[2]) : 0;
    if (pid <= 0) {
        fmt::print(stderr, "usage: settle-watch PID [SECONDS]\n");
        return 2;
    }

    const auto accounts = std::make_shared<Accounts>();
    const auto bundle = oe::bundle(ledger::settle<settle_watch_bpf>);
    auto manager = oe::Manager::open({.bundles = {bundle}, .targets = oe::targets::pid(pid), .sink = accounts});
    if (!manager) return give_up(manager.error());

    settle_watch_bpf& bpf = bundle.skeleton();
    const auto link = oe::Link::raw_tracepoint(bpf.progs.count_switch, "sched_switch");
    if (!link) return give_up(link.error());
    const auto switches = oe::open_map(bpf, switches_spec);
    if (!switches) return give_up(switches.error());

    fmt::print(stderr, "attached to PID {}\n", pid);
    for (int second = 0; seconds == 0 || second < seconds; ++second) {
        (*manager)->run_for(1s);
        accounts->print_and_forget();
        fmt::print("off the CPU: {} times to wait, {} times preempted\n", switches->sum_per_cpu(0).value_or(0),
                   switches->sum_per_cpu(1).value_or(0));
        std::fflush(stdout);
    }
    (*manager)->stop();
    const oe::Stats stats = (*manager)->stats();
    fmt::print("{} calls, {} lost\n", stats.spans, stats.dropped());
}
