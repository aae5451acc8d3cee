// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// thread_contexts PID off|jit|eager FOLDER: traces a C++ server and samples its threads until interrupted. Writes
// FOLDER/spans.jsonl, FOLDER/samples.jsonl and FOLDER/stats.json.
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <coro.hpp>
#include <fmt/core.h>
#include <otel_ebpf/export/jsonl.hpp>
#include <otel_ebpf/otel_ebpf.hpp>
#include <otel_ebpf/report_format.hpp>
#include <pool.hpp>

#include "thread_contexts.h"
#include "thread_contexts.skel.h"

namespace oe = otel_ebpf;
using namespace std::chrono_literals;
using S = thread_contexts_bpf;

namespace {

volatile std::sig_atomic_t interrupted = 0;

constexpr oe::MapSpec<S, std::uint64_t, oe_traces_ctx_v1> context_map{
    .map = &oe::Maps<S>::traces_ctx_v1, .type = BPF_MAP_TYPE_LRU_HASH, .max_entries = OE_TRACES_CTX_ENTRIES};

int give_up(std::string_view what) {
    fmt::print(stderr, "thread_contexts: {}\n", what);
    return 1;
}

std::string hex(const std::uint8_t* bytes, std::size_t size) {
    std::string text;
    for (std::size_t i = 0; i < size; ++i) text += fmt::format("{:02x}", bytes[i]);
    return text;
}

std::string json(bool there, const oe_traces_ctx_v1& context) {
    return there ? fmt::format(R"(["{}", "{}"])", hex(context.trace_id, 16), hex(context.span_id, 8)) : "null";
}

// The program on every CPU, at the timer's beat.
bool sample(const bpf_program* program, std::vector<std::unique_ptr<bpf_link, int (*)(bpf_link*)>>& links) {
    perf_event_attr attr{};
    attr.size = sizeof(attr);
    attr.type = PERF_TYPE_SOFTWARE;
    attr.config = PERF_COUNT_SW_CPU_CLOCK;
    attr.freq = 1;
    attr.sample_freq = 1999;
    for (int cpu = 0; cpu < ::libbpf_num_possible_cpus(); ++cpu) {
        const int event = static_cast<int>(::syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC));
        if (event < 0) return false;
        links.emplace_back(::bpf_program__attach_perf_event(program, event), &::bpf_link__destroy);
        if (links.back() == nullptr) return false;
    }
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) return give_up("usage: thread_contexts PID off|jit|eager FOLDER");
    const pid_t pid = std::atoi(argv[1]);
    const auto publication = oe::parse_publication(argv[2]);
    if (!publication) return give_up("the second argument is off, jit or eager");
    const std::string folder = argv[3];
    auto sink = oe::JsonLines::open(folder + "/spans.jsonl");
    if (!sink) return give_up(sink.error().what);
    const auto bundle = oe::bundle(pool::exchange<S>, pool::charge<S>, coro_pack::exchange<S>, coro_pack::step<S>);
    auto manager = oe::Manager::open({.bundles = {bundle},
                                      .targets = oe::targets::pid(pid),
                                      .sink = std::move(*sink),
                                      .publication = *publication});
    if (!manager) return give_up(manager.error().what);
    for (const oe::TargetRow& row : (*manager)->report().targets)
        if (row.publication != *publication) return give_up("publication: " + row.publication_reason);

    std::ofstream samples(folder + "/samples.jsonl");
    auto stream = oe::EventStream::open(
        ::bpf_map__fd(bundle.skeleton().maps.samples), [&](std::span<const std::byte> record) {
            const auto& sample = *reinterpret_cast<const context_sample*>(record.data());
            samples << fmt::format(R"({{"time": {}, "tid": {}, "entry": {}, "current": {}}})", sample.time_ns,
                                   sample.tid, json(sample.has_entry != 0, sample.entry),
                                   json(sample.has_current != 0, sample.current))
                    << "\n";
        });
    if (!stream) return give_up(stream.error().what);
    std::vector<std::unique_ptr<bpf_link, int (*)(bpf_link*)>> links;
    if (!sample(bundle.skeleton().progs.sample_context, links)) return give_up("start a sampler");

    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { interrupted = 1; });
    fmt::print("attached\n");
    std::fflush(stdout);
    while (interrupted == 0) {
        (*manager)->poll(20ms);
        (*stream)->drain();
    }
    links.clear();
    (*stream)->drain();

    std::size_t entries = 0;  // of the target, before anything is detached
    const auto contexts = oe::open_map(bundle.skeleton(), context_map);
    if (!contexts) return give_up(contexts.error().what);
    if (auto walked = contexts->for_each([&](std::uint64_t key, const oe_traces_ctx_v1&) {
            entries += key >> 32 == static_cast<std::uint64_t>(pid) ? 1 : 0;
            return true;
        }); !walked)
        return give_up(walked.error().what);
    const std::uint64_t lost = bundle.skeleton().bss->samples_lost;
    (*manager)->stop();
    const oe::Stats stats = (*manager)->stats();
    std::string counters;
    for (std::size_t i = 0; i < stats.kernel.size(); ++i)
        counters += fmt::format(R"({}"{}": {})", i == 0 ? "" : ", ", oe::stat_names[i], stats.kernel[i]);
    std::ofstream(folder + "/stats.json") << fmt::format(
        R"({{"entries_left": {}, "samples_lost": {}, "dropped": {}, "unfinished": {}, "counters": {{{}}}}})", entries,
        lost, stats.dropped(), stats.unfinished, counters);
}
