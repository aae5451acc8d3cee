// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What inspection reads of a file, and the memory that it takes: counts, not times (bench/inspect has those).
#include <otel_ebpf/plan.hpp>

#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "../test.hpp"
#include "go_targets.hpp"

namespace {

using namespace otel_ebpf;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool has_honest_memory = false;  // freed memory stays, each byte has a shadow
#else
constexpr bool has_honest_memory = true;
#endif

long long number_in(const char* path, const std::string& key) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);)
        if (line.starts_with(key)) return std::atoll(line.c_str() + key.size());
    return -1;
}

struct Cost {
    long long read_bytes = 0;
    long long extra_kb = 0;  // peak of resident memory, less what there was before
    long long sites = 0;
};

ProbeSpec probe_of(const std::string& symbol, Site at) {
    UprobeSpec uprobe;
    uprobe.symbol = symbol;
    uprobe.at = at;
    uprobe.program = "program";
    ProbeSpec probe;
    probe.name = "test";
    probe.event_kind = {"kind", 0, 2};
    probe.uprobes = {uprobe};
    return probe;
}

Cost plan_in_this_process(const std::string& path, const ProbeSpec& probe) {
    ::malloc_trim(0);
    std::ofstream("/proc/self/clear_refs") << "5";  // the peak starts anew (proc(5))
    const long long memory = number_in("/proc/self/status", "VmRSS:"), read = number_in("/proc/self/io", "rchar:");
    const auto executable = Executable::open(path);
    if (!executable) return {};
    const std::vector<ProbeSpec> probes{probe};
    const OptionValues options;
    Assignment assignment;
    if (!assignment.add(probes, options)) return {};
    const AttachPlan planned = plan(**executable, probes, assignment, options, {6, 18});
    Cost cost{number_in("/proc/self/io", "rchar:") - read, number_in("/proc/self/status", "VmHWM:") - memory, 0};
    for (const PlanRow& row : planned.rows) cost.sites += row.attach;
    return cost;
}

// In a process of its own, whose memory nothing else has touched.
Cost cost_of(const std::string& path, const ProbeSpec& probe) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        const Cost cost = plan_in_this_process(path, probe);
        const bool written = ::write(ends[1], &cost, sizeof(cost)) == sizeof(cost);
        ::_exit(written ? 0 : 1);
    }
    ::close(ends[1]);
    Cost cost;
    const bool is_whole = ::read(ends[0], &cost, sizeof(cost)) == sizeof(cost);
    ::close(ends[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(is_whole);
    REQUIRE(status == 0);
    return cost;
}

TEST_CASE("inspection cost: a plan of entry sites reads a part of the file, in little memory") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    const ProbeSpec probe = probe_of("net/http.serverHandler.ServeHTTP", Site::entry);
    for (const GoTarget& target : targets)
        for (const std::string& path : {target.plain, target.stripped}) {
            const Cost cost = cost_of(path, probe);
            const auto file_bytes = static_cast<long long>(std::filesystem::file_size(path));
            CAPTURE(path, file_bytes, cost.read_bytes, cost.extra_kb);
            CHECK(cost.sites == 1);
            CHECK(cost.read_bytes > 100'000);
            CHECK(cost.read_bytes * 100 < file_bytes * (path == target.plain ? 25 : 35));
            if (has_honest_memory) CHECK(cost.extra_kb < 3'000);
        }
}

TEST_CASE("inspection cost: a search for callers reads the file once, in chunks") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    const ProbeSpec probe = probe_of("net/http.(*conn).readRequest", Site::returns);
    for (const GoTarget& target : targets) {
        const Cost cost = cost_of(target.stripped, probe);
        const auto file_bytes = static_cast<long long>(std::filesystem::file_size(target.stripped));
        CAPTURE(target.release, file_bytes, cost.read_bytes, cost.extra_kb);
        CHECK(cost.sites > 0);
        CHECK(cost.read_bytes < file_bytes * 3 / 2);
        if (has_honest_memory) CHECK(cost.extra_kb < 3'000);
    }
}

}  // namespace
