// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// otel-ebpf-profile: samples the CPU and links the samples to spans.
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include <fmt/core.h>

#include <otel_ebpf/context_map.hpp>
#include <otel_ebpf/otel_ebpf.hpp>
#include <otel_ebpf/profile/go_labels.hpp>
#include <otel_ebpf/profile/recorder.hpp>
#include <otel_ebpf/profile/sampler.hpp>
#include <otel_ebpf/profile/sampler_object.hpp>

#include "options.hpp"
#include "outputs.hpp"
#include "profile.skel.h"
#include "tracing.hpp"

namespace profiler {
namespace {

namespace oe = otel_ebpf;

int report_error(const oe::Error& error, int code) {
    std::fprintf(stderr, "otel-ebpf-profile: %s\n", error.what.c_str());
    return code;
}

int exit_code_of(const oe::Error& error) {
    return error.where == oe::Stage::target ? exit_target : exit_privilege;
}

// SIGINT and SIGTERM as a readable descriptor.
oe::Fd catch_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    return oe::Fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

// What the loop waits for: whoever has a descriptor and something to do when it is readable.
struct Source {
    int fd = -1;
    std::function<void()> run;
};

// Until the time is over, a signal comes or nobody is left to sample.
void run(oe::profile::Sampler& sampler, const std::vector<Source>& sources, const Options& options, int signals) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<pollfd> descriptors;
    for (const Source& source : sources) descriptors.push_back({source.fd, POLLIN, 0});
    descriptors.push_back({signals, POLLIN, 0});
    while (sampler.has_live_target()) {
        if (::poll(descriptors.data(), descriptors.size(), 1000) < 0 && errno != EINTR) return;
        if (descriptors.back().revents != 0) return;
        for (std::size_t i = 0; i < sources.size(); ++i)
            if (descriptors[i].revents != 0) sources[i].run();
        if (options.duration && std::chrono::steady_clock::now() - begin >= *options.duration) return;
    }
}

void print_start(const Options& options, const oe::profile::SamplerStats& stats) {
    std::string who = options.all ? "every process" : "";
    for (const pid_t pid : options.pids) who += fmt::format("{}PID {}", who.empty() ? "" : ", ", pid);
    std::string until;
    if (options.duration) until = fmt::format(" for {} s", static_cast<double>(options.duration->count()) / 1e3);
    fmt::print(stderr, "profiling {} at {} Hz on {} CPUs{}\n", who, options.hz, stats.cpus, until);
}

void print_summary(const oe::profile::Recorder& recorder, const oe::profile::SamplerStats& taken) {
    const oe::profile::RecorderStats& stats = recorder.stats();
    std::string text = fmt::format("{} samples, {} with a trace context ({} sdk, {} ebpf), {} lost, {} unsymbolised",
                                   stats.samples, stats.with_context(), stats.from_sdk, stats.from_ebpf, taken.lost,
                                   stats.unknown_leaves);
    const auto add = [&text](std::uint64_t count, std::string_view what) {
        if (count != 0) text += fmt::format(", {} {}", count, what);
    };
    add(taken.short_records, "records of another layout");
    add(stats.cut_stacks, "stacks cut");
    add(stats.astray_stacks, "stacks that ended outside of code");
    add(stats.failed_stacks, "stacks not walked");
    add(stats.cut_labels, "with labels cut");
    add(stats.gone_processes, "processes gone before they were read");
    std::fprintf(stderr, "%s\n", text.c_str());
}

void print_differences(const oe::profile::Recorder& recorder, const oe::profile::Profile& profile) {
    const auto counts = recorder.counts();
    for (std::size_t i = 0; i < counts.size(); ++i) {
        if (counts[i].trace_differs == 0 && counts[i].span_differs == 0) continue;
        std::fprintf(stderr, "process %u (%s): SDK and eBPF name different traces in %llu samples, different spans of "
                             "one trace in %llu\n", profile.processes[i].tgid, profile.processes[i].name.c_str(),
                     static_cast<unsigned long long>(counts[i].trace_differs),
                     static_cast<unsigned long long>(counts[i].span_differs));
    }
}

int profile(const Options& options) {
    const oe::Fd signals = catch_signals();
    if (auto allowed = oe::check_prerequisites(oe::Kernel::detect()); !allowed)
        return report_error(allowed.error(), exit_privilege);
    std::unique_ptr<Tracing> tracing;
    if (options.spans) {
        auto started = Tracing::start(options);
        if (!started) return report_error(started.error(), exit_code_of(started.error()));
        tracing = std::move(*started);
        tracing->print_warnings();
    }
    auto contexts = oe::ContextMap::open({.bpffs_root = options.bpffs_root});
    if (!contexts) return report_error(contexts.error(), exit_privilege);
    if (!contexts->shared()) std::fprintf(stderr, "warning: %s\n", contexts->message().c_str());
    // Where the map can't be shared, this program's own two halves share one all the same.
    auto object = oe::profile::SamplerObject<profile_bpf>::load(tracing ? tracing->context_map_fd() : contexts->fd());
    if (!object) return report_error(object.error(), exit_code_of(object.error()));
    auto labels = oe::profile::GoLabels::open(object->object());
    if (!labels) return report_error(labels.error(), exit_code_of(labels.error()));
    for (const pid_t pid : options.pids) labels->add(static_cast<std::uint32_t>(pid));
    oe::profile::Recorder recorder(options.hz, [&labels](std::uint32_t tgid) { labels->add(tgid); });
    auto started = oe::profile::Sampler::start(object->object(),
                                               {.hz = options.hz, .pids = options.pids, .all = options.all},
                                               [&recorder](const oe_sample& sample) { recorder.add(sample); });
    if (!started) return report_error(started.error(), exit_code_of(started.error()));
    oe::profile::Sampler& sampler = **started;
    print_start(options, sampler.stats());
    std::vector<Source> sources{{sampler.fd(), [&sampler] { sampler.poll(std::chrono::milliseconds(0)); }}};
    if (tracing) sources.push_back({tracing->fd(), [&tracing] { tracing->poll(); }});
    run(sampler, sources, options, signals.get());
    sampler.stop();
    if (tracing) tracing->stop();

    const oe::profile::Profile& profile = recorder.profile();
    print_summary(recorder, sampler.stats());
    print_differences(recorder, profile);
    oe::profile::ReportOptions report;
    report.lost_samples = sampler.stats().lost;
    if (tracing) tracing->add_to(report);
    const std::span<const oe::profile::SpanRecord> spans =
        tracing ? tracing->spans() : std::span<const oe::profile::SpanRecord>();
    if (auto written = write_outputs(options, {profile, spans, report}); !written)
        return report_error(written.error(), exit_output);
    if (profile.samples.empty()) {
        std::fprintf(stderr, "otel-ebpf-profile: no samples: nothing that was chosen used the CPU\n");
        return exit_no_samples;
    }
    return exit_ok;
}

}  // namespace
}  // namespace profiler

int main(int argc, char** argv) {
    const auto parsed = profiler::parse_options(argc, argv);
    if (const int* code = std::get_if<int>(&parsed)) return *code;
    const auto& options = std::get<profiler::Options>(parsed);
    if (options.verbose)
        profiler::oe::set_log([](profiler::oe::LogLevel, std::string_view text) {
            std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
        });
    return profiler::profile(options);
}
