// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The sampler on this very process.
#include "test.hpp"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <otel_ebpf/profile/folded.hpp>
#include <otel_ebpf/profile/recorder.hpp>
#include <otel_ebpf/profile/sampler.hpp>
#include <otel_ebpf/profile/sampler_object.hpp>

#include "privileges.hpp"
#include "profile.skel.h"

namespace {

namespace oe = otel_ebpf;
using oe::profile::Sampler;
using Object = oe::profile::SamplerObject<profile_bpf>;

// Uses the CPU of this thread for so many seconds of CPU time.
[[gnu::noinline]] void burn_cpu(double seconds) {
    const auto end = oe::now_ns(CLOCK_THREAD_CPUTIME_ID) + static_cast<std::uint64_t>(seconds * 1e9);
    while (oe::now_ns(CLOCK_THREAD_CPUTIME_ID) < end)
        for (int i = 0; i < 100'000; ++i) asm volatile("");
}

Object load() {
    auto object = Object::load(-1);
    INFO((object ? "" : object.error().what + "\n" + object.error().verifier_log));
    REQUIRE(object);
    return std::move(*object);
}

oe::Error failure_of(bpf_object* object, oe::profile::SamplerConfig config) {
    const auto sampler = Sampler::start(object, std::move(config), [](const oe_sample&) {});
    REQUIRE_FALSE(sampler);
    return sampler.error();
}

TEST_CASE("sampler: stacks, thread and time of a process, and the entry of the context map of each thread") {
    SKIP_UNLESS_LOADABLE();
    const Object object = load();
    const int contexts = ::bpf_map__fd(object.skeleton().maps.traces_ctx_v1);
    const auto tid = static_cast<std::uint32_t>(::syscall(SYS_gettid));
    const std::uint64_t key = std::uint64_t{static_cast<std::uint32_t>(::getpid())} << 32 | tid;
    oe_traces_ctx_v1 entry{};
    std::memset(entry.trace_id, 0xab, sizeof(entry.trace_id));
    std::memset(entry.span_id, 0xcd, sizeof(entry.span_id));

    std::vector<oe_sample> samples;
    oe::profile::Recorder recorder(499);
    const std::uint64_t begin = oe::now_ns(CLOCK_MONOTONIC);
    auto sampler = Sampler::start(object.object(), {.hz = 499, .pids = {::getpid()}}, [&](const oe_sample& sample) {
        samples.push_back(sample);
        recorder.add(sample);
    });
    INFO((sampler ? "" : sampler.error().what));
    REQUIRE(sampler);
    CHECK((*sampler)->stats().cpus == oe::profile::online_cpus()->size());
    CHECK((*sampler)->has_live_target());

    burn_cpu(0.2);
    (*sampler)->poll(std::chrono::milliseconds(0));
    const std::size_t without = samples.size();
    REQUIRE(::bpf_map_update_elem(contexts, &key, &entry, BPF_ANY) == 0);
    burn_cpu(0.2);
    std::thread([] { burn_cpu(0.1); }).join();
    (*sampler)->stop();
    const std::uint64_t end = oe::now_ns(CLOCK_MONOTONIC);

    // 499 Hz: about 100, 100 and 50 of them. Machines are slow and virtual, so the bounds are wide.
    CHECK(without > 20);
    CHECK(samples.size() > 60);
    CHECK(samples.size() < 2000);
    std::size_t with_context = 0, of_the_other_thread = 0, late = 0;
    for (std::size_t i = 0; i < samples.size(); ++i) {
        const oe_sample& sample = samples[i];
        CHECK(sample.tgid == static_cast<std::uint32_t>(::getpid()));
        CHECK((sample.time_ns >= begin && sample.time_ns <= end));
        CHECK(sample.process_start_ns != 0);
        of_the_other_thread += sample.tid != tid ? 1 : 0;
        if (sample.source == OE_CTX_NOBODY) {
            late += i >= without && sample.tid == tid ? 1 : 0;
            continue;
        }
        ++with_context;
        CHECK(sample.source == OE_CTX_EBPF);
        CHECK(i >= without);
        CHECK(sample.tid == tid);
        CHECK(std::memcmp(&sample.ctx, &entry, sizeof(entry)) == 0);
    }
    CHECK(with_context > 20);
    CHECK(late <= 5);  // between the reading and the entry
    CHECK(of_the_other_thread > 5);
    const oe::profile::SamplerStats stats = (*sampler)->stats();
    CHECK(stats.taken == samples.size());
    CHECK(stats.lost == 0);
    CHECK(stats.short_records == 0);
    CHECK(recorder.stats().from_ebpf == with_context);
    CHECK(to_folded(recorder.profile()).find("burn_cpu(double)") != std::string::npos);
}

TEST_CASE("sampler: samples that find the ring buffer full are counted, none is counted twice") {
    SKIP_UNLESS_LOADABLE();
    const Object object = load();
    std::size_t seen = 0;
    auto sampler = Sampler::start(object.object(), {.hz = 9'999, .pids = {::getpid()}},
                                  [&seen](const oe_sample&) { ++seen; });
    REQUIRE(sampler);
    for (int round = 0; round < 50 && (*sampler)->stats().lost == 0; ++round) burn_cpu(0.1);
    (*sampler)->stop();
    const auto stats = (*sampler)->stats();
    CHECK(stats.lost > 0);
    CHECK(stats.taken == seen);
    CHECK(seen > 1000);
    CHECK(seen < 4 * 1024 * 1024 / sizeof(oe_sample));
}

TEST_CASE("sampler: what can't be sampled is refused with the reason") {
    SKIP_UNLESS_LOADABLE();
    const Object object = load();
    CHECK(failure_of(object.object(), {.pids = {0x7ffffffe}}).what == "target PID 2147483646: no such process");
    pid_t thread = 0;
    std::thread worker([&thread, &object] {
        thread = static_cast<pid_t>(::syscall(SYS_gettid));
        CHECK(failure_of(object.object(), {.pids = {thread}}).what.find("a thread of process") != std::string::npos);
    });
    worker.join();
    CHECK(failure_of(object.object(), {.hz = 0, .all = true}).what.find("0 Hz") != std::string::npos);
    CHECK(failure_of(object.object(), {.hz = 2'000'000'000, .all = true}).what.find("perf_event_max_sample_rate") !=
          std::string::npos);
    CHECK(failure_of(object.object(), {.all = true, .interval = std::chrono::milliseconds(0)}).what.find("interval") !=
          std::string::npos);
}

// OTEL_EBPF_MAY_UNPLUG: this machine is a guest of the test's own.
TEST_CASE("sampler: a CPU that goes offline is sampled no more, and again when it is back") {
    SKIP_UNLESS_LOADABLE();
    if (std::getenv("OTEL_EBPF_MAY_UNPLUG") == nullptr) SKIP_TEST("not in a guest that may lose a CPU");
    const std::string path = "/sys/devices/system/cpu/cpu1/online";
    const auto set_online = [&path](const char* state) {
        std::ofstream file(path);
        file << state;
        return static_cast<bool>(file.flush());
    };
    const Object object = load();
    std::size_t on_cpu1 = 0;
    auto sampler = Sampler::start(object.object(), {.hz = 199, .pids = {::getpid()}},
                                  [&on_cpu1](const oe_sample& sample) { on_cpu1 += sample.cpu == 1 ? 1 : 0; });
    REQUIRE(sampler);
    const std::size_t all = (*sampler)->stats().cpus;
    REQUIRE(all > 1);
    const auto poll_until_cpus_are = [&sampler](std::size_t cpus) {
        for (int i = 0; i < 500 && (*sampler)->stats().cpus != cpus; ++i) (*sampler)->poll(std::chrono::milliseconds(20));
        return (*sampler)->stats().cpus == cpus;
    };
    REQUIRE(set_online("0"));
    CHECK(poll_until_cpus_are(all - 1));
    REQUIRE(set_online("1"));
    CHECK(poll_until_cpus_are(all));
    on_cpu1 = 0;
    cpu_set_t only_cpu1;
    CPU_ZERO(&only_cpu1);
    CPU_SET(1, &only_cpu1);
    std::thread([&only_cpu1] {
        if (::sched_setaffinity(0, sizeof(only_cpu1), &only_cpu1) == 0) burn_cpu(0.2);
    }).join();
    (*sampler)->stop();
    CHECK(on_cpu1 > 5);
}

TEST_CASE("sampler: a process that exits is no live target any more") {
    SKIP_UNLESS_LOADABLE();
    const Object object = load();
    const pid_t child = ::fork();
    if (child == 0) {
        ::pause();
        ::_exit(0);
    }
    auto sampler = Sampler::start(object.object(), {.pids = {child}}, [](const oe_sample&) {});
    REQUIRE(sampler);
    CHECK((*sampler)->has_live_target());
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    CHECK_FALSE((*sampler)->has_live_target());
}

}  // namespace
