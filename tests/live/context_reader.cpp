// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// context_reader ROOT HZ SECONDS PID...: a profiler that knows the shared map by its pin and layout, nothing else.
//
// Opens ROOT/otel/traces_ctx_v1 once, or makes it, samples the processes on all CPUs, and lists the map's keys every
// 10 ms. One JSON object per line on standard output; "ready" comes first, when sampling has begun, and "end" last.
// SECONDS 0: until SIGTERM or SIGINT.
#include <errno.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "context_reader.h"
#include "context_reader.skel.h"

namespace {

constexpr std::uint64_t ms = 1'000'000;
constexpr std::uint64_t dump_period_ns = 10 * ms;
volatile std::sig_atomic_t stopped = 0;

std::uint64_t now_ns(clockid_t clock = CLOCK_MONOTONIC) {
    timespec time{};
    ::clock_gettime(clock, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

[[noreturn]] void fail(const char* what, int error) {
    std::fprintf(stderr, "context_reader: %s: %s\n", what, std::strerror(error));
    std::exit(1);
}

// The pinned map, made when there is none; who loses that race opens the winner's.
int open_or_create(const std::string& root) {
    const std::string folder = root + "/otel", path = folder + "/traces_ctx_v1";
    for (int tries = 0; tries < 10; ++tries) {
        if (const int found = ::bpf_obj_get(path.c_str()); found >= 0) return found;
        if (errno != ENOENT) break;
        if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) break;
        const int made = ::bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "traces_ctx_v1", 8, 24, 16384, nullptr);
        if (made < 0) break;
        if (::bpf_obj_pin(made, path.c_str()) == 0) return made;
        const int error = errno;
        ::close(made);
        errno = error;
        if (error != EEXIST) break;
    }
    fail(path.c_str(), errno);
}

void print_hex(const unsigned char* bytes, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) std::printf("%02x", bytes[i]);
}

int print_sample(void*, void* data, std::size_t) {
    const auto& sample = *static_cast<const reader_sample*>(data);
    std::printf(R"({"time":%llu,"tgid":%llu,"tid":%llu,)", static_cast<unsigned long long>(sample.time_ns),
                static_cast<unsigned long long>(sample.pid_tgid >> 32),
                static_cast<unsigned long long>(sample.pid_tgid & 0xffffffff));
    if (sample.has_context != 0) {
        std::printf(R"("trace_id":")");
        print_hex(sample.context, 16);
        std::printf(R"(","span_id":")");
        print_hex(sample.context + 16, 8);
        std::printf(R"(",)");
    } else {
        std::printf(R"("trace_id":null,"span_id":null,)");
    }
    std::printf(R"("stack":[)");
    const auto frames = sample.stack_bytes > 0 ? static_cast<std::size_t>(sample.stack_bytes) / sizeof(__u64) : 0;
    for (std::size_t i = 0; i < frames; ++i)
        std::printf("%s%llu", i == 0 ? "" : ",", static_cast<unsigned long long>(sample.ips[i]));
    std::printf("]}\n");
    return 0;
}

// The keys of the map; an empty dump is a line too, so that their number is known.
void print_dump(int map) {
    std::printf(R"({"dump":%llu,"keys":[)", static_cast<unsigned long long>(now_ns()));
    std::uint64_t key = 0, next = 0;
    const std::uint64_t* from = nullptr;
    // An LRU map may restart the walk when the key that it goes on from is gone: no more keys than fit.
    for (int count = 0; count < 16384 && ::bpf_map_get_next_key(map, from, &next) == 0; ++count) {
        std::printf("%s%llu", count == 0 ? "" : ",", static_cast<unsigned long long>(next));
        key = next;
        from = &key;
    }
    std::printf("]}\n");
}

// A cpu-clock event on each CPU, as cpu-clock profilers have it.
std::vector<bpf_link*> sample_all_cpus(bpf_program* program, unsigned long hz) {
    perf_event_attr attributes{};
    attributes.type = PERF_TYPE_SOFTWARE;
    attributes.size = sizeof(attributes);
    attributes.config = PERF_COUNT_SW_CPU_CLOCK;
    attributes.freq = 1;
    attributes.sample_freq = hz;
    std::vector<bpf_link*> links;
    for (int cpu = 0; cpu < ::get_nprocs_conf(); ++cpu) {
        const long event = ::syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
        if (event < 0 && errno == ENODEV) continue;  // offline
        if (event < 0) fail("perf_event_open", errno);
        bpf_link* const link = ::bpf_program__attach_perf_event(program, static_cast<int>(event));
        if (link == nullptr) fail("attach to a cpu-clock event", errno);
        links.push_back(link);
    }
    return links;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5 || argc > 4 + READER_PROCESSES) {
        std::fprintf(stderr, "usage: context_reader ROOT HZ SECONDS PID...\n");
        return 2;
    }
    std::signal(SIGTERM, [](int) { stopped = 1; });
    std::signal(SIGINT, [](int) { stopped = 1; });
    const unsigned long hz = std::strtoul(argv[2], nullptr, 10);
    const double seconds = std::strtod(argv[3], nullptr);

    const int map = open_or_create(argv[1]);
    context_reader_bpf* const object = ::context_reader_bpf__open();
    if (object == nullptr) fail("open the BPF object", errno);
    for (int i = 4; i < argc; ++i) object->rodata->tgids[i - 4] = static_cast<__u32>(std::atoi(argv[i]));
    if (const int error = ::bpf_map__reuse_fd(object->maps.traces_ctx_v1, map)) fail("use the pinned map", -error);
    if (const int error = ::context_reader_bpf__load(object)) fail("load", -error);
    ring_buffer* const ring = ::ring_buffer__new(::bpf_map__fd(object->maps.samples), print_sample, nullptr, nullptr);
    if (ring == nullptr) fail("ring buffer", errno);
    const auto links = sample_all_cpus(object->progs.on_tick, hz);

    const std::uint64_t begin = now_ns();
    std::printf("{\"ready\":%llu,\"unix\":%llu}\n", static_cast<unsigned long long>(begin),
                static_cast<unsigned long long>(now_ns(CLOCK_REALTIME)));
    std::fflush(stdout);
    std::uint64_t next_dump = begin;
    while (stopped == 0 && (seconds == 0 || static_cast<double>(now_ns() - begin) < seconds * 1e9)) {
        print_dump(map);
        ::ring_buffer__consume(ring);
        std::fflush(stdout);
        const std::uint64_t now = now_ns();
        while (next_dump <= now) next_dump += dump_period_ns;
        ::poll(nullptr, 0, static_cast<int>((next_dump - now + ms - 1) / ms));
    }
    for (bpf_link* link : links) ::bpf_link__destroy(link);
    ::ring_buffer__consume(ring);
    print_dump(map);
    std::printf("{\"end\":%llu,\"lost\":%llu}\n", static_cast<unsigned long long>(now_ns()),
                static_cast<unsigned long long>(object->bss->lost));
    ::ring_buffer__free(ring);
    ::context_reader_bpf__destroy(object);
    return 0;
}
