// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Tracing: spans of the processes that are profiled, from the agent's Probes, collected for the report.
#pragma once

#include <chrono>
#include <cstdio>
#include <memory>
#include <utility>

#include <agent_bundle.hpp>
#include <otel_ebpf/otel_ebpf.hpp>
#include <otel_ebpf/profile/report.hpp>
#include <otel_ebpf/profile/span_log.hpp>

#include "options.hpp"

namespace profiler {

class Tracing {
public:
    [[nodiscard]] static otel_ebpf::Result<std::unique_ptr<Tracing>> start(const Options& options) {
        auto log = std::make_shared<otel_ebpf::profile::SpanLog>();
        std::vector<otel_ebpf::Target> targets;
        for (const pid_t pid : options.pids) targets.emplace_back(otel_ebpf::ProcessTarget{pid});
        auto manager = otel_ebpf::Manager::open({.bundles = {agent::bundle()},
                                                 .targets = std::move(targets),
                                                 .sink = log,
                                                 .bpffs_root = options.bpffs_root});
        if (!manager) return otel_ebpf::Failure(std::move(manager.error()).in("--spans"));
        return std::unique_ptr<Tracing>(new Tracing(std::move(log), std::move(*manager)));
    }

    [[nodiscard]] int fd() const { return manager_->fd(); }
    void poll() { manager_->poll(std::chrono::milliseconds(0)); }
    // Where current spans are published, private or not.
    [[nodiscard]] int context_map_fd() const { return manager_->context_map_fd(); }

    void print_warnings() const {
        for (const std::string& warning : otel_ebpf::warnings_in(manager_->report()))
            std::fprintf(stderr, "warning: %s\n", warning.c_str());
    }

    void stop() {
        manager_->stop();
        const std::string losses = otel_ebpf::losses_in(manager_->stats());
        std::fprintf(stderr, "%zu spans%s%s\n", spans().size(), losses.empty() ? ", nothing lost" : "; ",
                     losses.c_str());
    }

    [[nodiscard]] const std::vector<otel_ebpf::profile::SpanRecord>& spans() const { return log_->spans(); }
    // After stop().
    void add_to(otel_ebpf::profile::ReportOptions& options) const {
        options.lost_spans += manager_->stats().dropped();
        for (std::string& warning : otel_ebpf::warnings_in(manager_->report()))
            options.notes.push_back(std::move(warning));
    }

private:
    Tracing(std::shared_ptr<otel_ebpf::profile::SpanLog> log, std::unique_ptr<otel_ebpf::Manager> manager)
        : log_(std::move(log)), manager_(std::move(manager)) {}

    std::shared_ptr<otel_ebpf::profile::SpanLog> log_;
    std::unique_ptr<otel_ebpf::Manager> manager_;
};

}  // namespace profiler
