// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// otel-ebpf-trace: traces Go programs and sends the spans somewhere.
#include <signal.h>
#include <sys/signalfd.h>

#include <cstdio>
#include <fstream>

#include <agent_bundle.hpp>
#include <otel_ebpf/export/otlp_http.hpp>
#include <otel_ebpf/otel_ebpf.hpp>

#include "live_view.hpp"
#include "options.hpp"

namespace agent {
namespace {

int report_error(const oe::Error& error, int code) {
    std::fprintf(stderr, "otel-ebpf-trace: %s\n", error.what.c_str());
    return code;
}

int exit_code_of(const oe::Error& error) {
    const bool privilege = error.where == oe::Stage::load || error.where == oe::Stage::unsupported ||
                           error.where == oe::Stage::map || error.code.value() == EPERM || error.code.value() == EACCES;
    return privilege ? exit_privilege : exit_target;
}

// Plans every target without touching the kernel: needs no privilege beyond reading the files.
int print_plans(const Options& options) {
    const auto agent_bundle = bundle();
    if (auto opened = agent_bundle->open(); !opened) return report_error(opened.error(), exit_privilege);
    const auto& probes = agent_bundle->probes();
    if (const auto unknown = oe::unknown_option(probes, options.probe_options)) {
        std::fprintf(stderr, "otel-ebpf-trace: --set: %s\n", unknown->c_str());
        return exit_usage;
    }
    oe::Assignment assignment;
    const auto slots = assignment.add(probes, options.probe_options);
    if (!slots) return report_error(slots.error(), exit_usage);

    std::vector<std::string> paths = options.executables;
    for (const pid_t pid : options.pids) {
        const auto process = oe::read_process(pid);
        if (!process) return report_error(process.error(), exit_target);
        paths.push_back("/proc/" + std::to_string(pid) + "/exe");
    }
    for (const std::string& path : paths) {
        const auto executable = oe::Executable::open(path);
        if (!executable) return report_error(executable.error(), exit_target);
        if (!(*executable)->is_go())
            return report_error(
                {oe::Stage::target, {}, path + ": no Probe fits: not a Go program (no Go build information)", {}},
                exit_target);
        const auto plan = oe::plan(**executable, probes, assignment, options.probe_options,
                                   options.kernel.value_or(oe::running_kernel_release()));
        std::fputs((options.plan_as_json ? oe::to_json(plan, *slots) : oe::to_table(plan)).c_str(), stdout);
    }
    return exit_ok;
}

struct Output {
    std::shared_ptr<oe::Sink> sink;
    LiveView* live_view = nullptr;  // the sink, when it is one
};

oe::Result<Output> open_output(const Options& options) {
    const auto shared = [](auto sink) -> oe::Result<Output> {
        if (!sink) return oe::Failure(sink.error());
        return Output{std::move(*sink), nullptr};
    };
    const std::string kind = options.output_kind(), where = options.output_where();
    if (kind == "none") return Output{};
    if (kind == "jsonl") return shared(oe::JsonLines::open(where.empty() ? "-" : where));
    if (kind == "otlp") {
        auto settings = oe::otlp_http_options_from_environment();
        if (!where.empty()) settings.url = oe::otlp_traces_url(where);
        return shared(oe::OtlpHttp::open(std::move(settings)));
    }
    if (::isatty(STDOUT_FILENO) == 0) return shared(oe::Console::open());
    auto live_view = LiveView::open(STDOUT_FILENO);
    if (!live_view) return oe::Failure(live_view.error());
    LiveView* const view = live_view->get();
    return Output{std::move(*live_view), view};
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

bool all_targets_exited(const oe::Report& report) {
    return std::all_of(report.targets.begin(), report.targets.end(),
                       [](const oe::TargetRow& row) { return row.exited; });
}

void run(oe::Manager& manager, const Options& options, int signals) {
    const auto begin = std::chrono::steady_clock::now();
    while (!all_targets_exited(manager.report())) {
        pollfd descriptors[] = {{manager.fd(), POLLIN, 0}, {signals, POLLIN, 0}};
        if (::poll(descriptors, 2, 1000) < 0 && errno != EINTR) return;
        if (descriptors[1].revents != 0) return;
        manager.poll(std::chrono::milliseconds(0));
        if (options.duration && std::chrono::steady_clock::now() - begin >= *options.duration) return;
    }
}

void print_attached(const oe::Manager& manager) {
    const oe::Report& report = manager.report();
    for (const std::string& warning : oe::warnings_in(report)) std::fprintf(stderr, "warning: %s\n", warning.c_str());
    std::string targets;
    for (const oe::TargetRow& row : report.targets) {
        targets += targets.empty() ? "" : ", ";
        targets += row.pid == 0 ? row.executable : std::to_string(row.pid) + " (" + row.service_name + ")";
    }
    std::fprintf(stderr, "attached %zu sites to %s\n", report.attached(), targets.c_str());
    for (const std::string& line : oe::publication_in(report)) std::fprintf(stderr, "%s\n", line.c_str());
}

int finish(oe::Manager& manager, const Options& options) {
    manager.stop();
    const oe::Stats stats = manager.stats();
    std::fprintf(stderr, "%llu spans, %.0f bytes each", static_cast<unsigned long long>(stats.spans),
                 stats.bytes_per_span());
    const std::string losses = oe::losses_in(stats);
    std::fprintf(stderr, "%s%s\n", losses.empty() ? ", nothing lost" : "; ", losses.c_str());
    if (!stats.sink.last_error.empty()) std::fprintf(stderr, "output: %s\n", stats.sink.last_error.c_str());
    if (options.stats_file.empty()) return exit_ok;
    std::ofstream file(options.stats_file);
    file << oe::to_json(stats, manager.report());
    if (file.flush()) return exit_ok;
    std::fprintf(stderr, "otel-ebpf-trace: write %s: failed\n", options.stats_file.c_str());
    return exit_output;
}

int trace(const Options& options) {
    const oe::Fd signals = catch_signals();
    auto output = open_output(options);
    if (!output) return report_error(output.error(), exit_output);
    std::vector<oe::Target> targets;
    for (const pid_t pid : options.pids) targets.emplace_back(oe::ProcessTarget{pid, {}});
    for (const std::string& path : options.executables) targets.emplace_back(oe::ExecutableTarget{path, {}});
    auto opened = oe::Manager::open({.bundles = {bundle()},
                                     .targets = std::move(targets),
                                     .sink = output->sink,
                                     .options = options.probe_options,
                                     .publication = options.publication,
                                     .bpffs_root = options.bpffs_root});
    if (!opened) return report_error(opened.error(), exit_code_of(opened.error()));
    oe::Manager& manager = **opened;
    print_attached(manager);
    if (output->live_view != nullptr)
        output->live_view->watch([&manager] { return manager.stats(); },
                                 [&manager] { return manager.report().targets; });
    run(manager, options, signals.get());
    return finish(manager, options);
}

}  // namespace
}  // namespace agent

int main(int argc, char** argv) {
    const auto parsed = agent::parse_options(argc, argv);
    if (const int* code = std::get_if<int>(&parsed)) return *code;
    const auto& options = std::get<agent::Options>(parsed);
    if (options.verbose)
        agent::oe::set_log([](agent::oe::LogLevel, std::string_view text) {
            std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
        });
    return options.plan ? agent::print_plans(options) : agent::trace(options);
}
