// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// go_labels PID MS: samples a Go process and prints a line of JSON per sample: ip, labels, dropped, cut.
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include <nlohmann/json.hpp>

#include <otel_ebpf/event_stream.hpp>
#include <otel_ebpf/go/labels.hpp>
#include <otel_ebpf/otel_ebpf.hpp>

// The first has what the second one's variables are made of.
#include "go_labels_sample.h"

#include "go_labels.skel.h"

namespace oe = otel_ebpf;

namespace {

int failed(std::string_view what) {
    fmt::print(stderr, "go_labels: {}\n", what);
    return 1;
}

void print(std::span<const std::byte> record) {
    const auto sample = oe::load<go_labels_sample>(record, 0);
    const oe::go::Labels labels = oe::go::decode_labels(sample.labels);
    nlohmann::json line{{"ip", sample.ip}, {"labels", nlohmann::json::object()}, {"dropped", labels.dropped},
                        {"cut", labels.cut}};
    for (const auto& [key, value] : labels.pairs) line["labels"][key] = value;
    fmt::print("{}\n", line.dump());
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return failed("usage: go_labels PID MS");
    const auto executable = oe::ExecutableCache().open(std::string("/proc/") + argv[1] + "/exe");
    if (!executable) return failed(executable.error().what);
    const auto fact = [&executable](const oe::FactQuery& query) {
        const auto value = (*executable)->fact(query);
        if (!value) std::exit(failed(value.error().what));
        return static_cast<__u16>(value->value);
    };
    const auto tls = (*executable)->tls_g_offset();
    if (!tls) return failed(tls.error().what);
    go_labels_bpf* const skeleton = go_labels_bpf::open_and_load();
    if (skeleton == nullptr) return failed("load the BPF object");
    skeleton->bss->target = {static_cast<__u32>(std::atoi(argv[1])), *tls,
                             fact(oe::offset_of("std", "runtime", "g", "m")),
                             fact(oe::offset_of("std", "runtime", "m", "curg")), fact(oe::go::labels_offset_fact),
                             fact(oe::go::labels_are_list_fact)};
    auto stream = oe::EventStream::open(::bpf_map__fd(skeleton->maps.samples), print);
    if (!stream) return failed(stream.error().what);
    perf_event_attr attr{};
    attr.type = PERF_TYPE_SOFTWARE;
    attr.config = PERF_COUNT_SW_CPU_CLOCK;
    attr.size = sizeof(attr);
    attr.freq = 1;
    attr.sample_freq = 997;
    int events = 0;
    for (int cpu = 0; cpu < ::libbpf_num_possible_cpus(); ++cpu) {
        const auto fd = static_cast<int>(::syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC));
        if (fd >= 0 && ::bpf_program__attach_perf_event(skeleton->progs.take_sample, fd) != nullptr) ++events;
    }
    if (events == 0) return failed("no CPU could be sampled");
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(std::atoi(argv[2]));
    while (std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        (*stream)->drain();
    }
    return 0;  // the kernel takes back what is left
}
