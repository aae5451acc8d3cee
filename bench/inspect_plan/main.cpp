// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// inspect-plan FILE: opens an executable, plans the agent's Probes on it, and prints as JSON what that took.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "agent_bundle.hpp"

namespace {

namespace oe = otel_ebpf;

// The number behind `key` in a file of /proc; -1 where there is none.
long long number_in(const char* path, const std::string& key) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);)
        if (line.starts_with(key)) return std::atoll(line.c_str() + key.size());
    return -1;
}

double ms_of(const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
}

double cpu_ms() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return ms_of(usage.ru_utime) + ms_of(usage.ru_stime);
}

int fail(const oe::Error& error) {
    std::fprintf(stderr, "inspect-plan: %s\n", error.what.c_str());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fputs("usage: inspect-plan FILE\n", stderr);
        return 2;
    }
    const auto bundle = agent::bundle();
    if (auto opened = bundle->open(); !opened) return fail(opened.error());
    const oe::OptionValues options;
    oe::Assignment assignment;
    if (auto added = assignment.add(bundle->probes(), options); !added) return fail(added.error());
    const auto kernel = oe::running_kernel_release();

    const long long read_before = number_in("/proc/self/io", "rchar:");
    const long long memory_before = number_in("/proc/self/status", "VmRSS:");
    const double cpu_before = cpu_ms();
    const auto start = std::chrono::steady_clock::now();
    const auto ms_since_start = [&] {
        return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    };
    const auto executable = oe::Executable::open(argv[1]);
    if (!executable) return fail(executable.error());
    const double open_ms = ms_since_start();
    const oe::AttachPlan plan = oe::plan(**executable, bundle->probes(), assignment, options, kernel);
    const double total_ms = ms_since_start();
    const double cpu = cpu_ms() - cpu_before;
    const long long sites =
        std::count_if(plan.rows.begin(), plan.rows.end(), [](const oe::PlanRow& row) { return row.attach; });
    std::printf("{\"open_ms\": %.3f, \"total_ms\": %.3f, \"cpu_ms\": %.3f, \"read_bytes\": %lld, "
                "\"extra_peak_kb\": %lld, \"sites\": %lld, \"stripped\": %s}\n",
                open_ms, total_ms, cpu, number_in("/proc/self/io", "rchar:") - read_before,
                number_in("/proc/self/status", "VmHWM:") - memory_before, sites,
                (*executable)->is_stripped() ? "true" : "false");
    return 0;
}
