// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Contexts that programs publish themselves, as a sampler in the kernel reads them: every way to reach the variable.
#include "test.hpp"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <otel_ebpf/event_stream.hpp>
#include <otel_ebpf/sdk_contexts.hpp>

#include "privileges.hpp"
#include "thread_context.skel.h"
#include "thread_context_sample.h"

namespace {

namespace oe = otel_ebpf;
using namespace std::chrono_literals;

constexpr int threads = 4;

// A program of tests/targets/sdk; ends with the test.
#define SKIP_WITHOUT_TARGETS()                                                         \
    do {                                                                              \
        if (::access(OTEL_EBPF_BINARY_DIR "/sdk_targets/sdk_pie", X_OK) != 0)         \
            SKIP_TEST("the programs of tests/targets/sdk are not here");              \
    } while (false)

class Target {
public:
    Target(const std::string& name, int ms, bool late = false) {
        int in[2], out[2];
        REQUIRE(::pipe2(in, O_CLOEXEC) == 0);
        REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
        const std::string path = std::string(OTEL_EBPF_BINARY_DIR) + "/sdk_targets/sdk_" + name;
        pid_ = ::fork();
        if (pid_ == 0) {
            ::dup2(in[0], 0);
            ::dup2(out[1], 1);
            ::execl(path.c_str(), path.c_str(), std::to_string(threads).c_str(), std::to_string(ms).c_str(),
                    late ? "late" : "", nullptr);
            ::_exit(127);
        }
        ::close(in[0]);
        ::close(out[1]);
        in_ = oe::Fd(in[1]);
        out_ = ::fdopen(out[0], "r");
        if (late) std::this_thread::sleep_for(50ms);  // until exec is done
        else read_ranges();
    }
    ~Target() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        std::fclose(out_);
    }
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;

    void start() {
        REQUIRE(::write(in_.get(), "\n", 1) == 1);
        read_ranges();
    }
    [[nodiscard]] pid_t pid() const { return pid_; }
    // The function that holds an address; empty: none of the three.
    [[nodiscard]] std::string function_at(std::uint64_t ip) const {
        for (const auto& [name, range] : ranges_)
            if (ip >= range.first && ip < range.second) return name;
        return {};
    }

private:
    void read_ranges() {
        for (int i = 0; i < 3; ++i) {
            char name[32];
            unsigned long begin = 0, end = 0;
            REQUIRE(std::fscanf(out_, "%31s %lx %lx", name, &begin, &end) == 3);
            ranges_[name] = {begin, end};
        }
    }

    pid_t pid_ = -1;
    oe::Fd in_;
    std::FILE* out_ = nullptr;
    std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> ranges_;
};

// Samples of one process, from a cpu-clock event on every CPU.
class Sampler {
public:
    Sampler() {
        skeleton_ = thread_context_bpf::open_and_load();
        REQUIRE(skeleton_ != nullptr);
        auto stream = oe::EventStream::open(
            ::bpf_map__fd(skeleton_->maps.samples), [this](std::span<const std::byte> record) {
                REQUIRE(record.size() == sizeof(thread_context_sample));
                samples.push_back(oe::load<thread_context_sample>(record, 0));
            });
        REQUIRE(stream);
        stream_ = std::move(*stream);
    }
    ~Sampler() {
        for (bpf_link* link : links_) ::bpf_link__destroy(link);
        thread_context_bpf::destroy(skeleton_);
    }
    Sampler(const Sampler&) = delete;
    Sampler& operator=(const Sampler&) = delete;

    void start(pid_t pid) {
        skeleton_->bss->sampled_tgid = static_cast<__u32>(pid);
        perf_event_attr attr{};
        attr.type = PERF_TYPE_SOFTWARE;
        attr.config = PERF_COUNT_SW_CPU_CLOCK;
        attr.size = sizeof(attr);
        attr.freq = 1;
        attr.sample_freq = 997;
        for (int cpu = 0; cpu < ::libbpf_num_possible_cpus(); ++cpu) {
            const auto fd = static_cast<int>(::syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC));
            if (fd < 0) continue;  // offline
            links_.push_back(::bpf_program__attach_perf_event(skeleton_->progs.take_sample, fd));
            REQUIRE(links_.back() != nullptr);
        }
    }
    void run_for(std::chrono::milliseconds duration) {
        const auto end = std::chrono::steady_clock::now() + duration;
        while (std::chrono::steady_clock::now() < end) {
            std::this_thread::sleep_for(20ms);
            stream_->drain();
        }
        CHECK(skeleton_->bss->lost == 0);
    }
    [[nodiscard]] int threads_fd() const { return ::bpf_map__fd(skeleton_->maps.oe_sdk_threads); }

    std::vector<thread_context_sample> samples;

private:
    thread_context_bpf* skeleton_ = nullptr;
    std::unique_ptr<oe::EventStream> stream_;
    std::vector<bpf_link*> links_;
};

struct Tally {
    std::map<std::string, int> right;
    int wrong = 0;
    std::set<std::uint32_t> tids;
};

// What each sample must say, by the function that it interrupted.
Tally judge(const std::vector<thread_context_sample>& samples, const Target& target) {
    Tally tally;
    std::map<std::uint32_t, std::uint8_t> trace_of_thread;
    for (const thread_context_sample& sample : samples) {
        const std::string function = target.function_at(sample.ip);
        if (function.empty()) continue;  // between them
        bool is_right = false;
        if (function == "burn_outside") {
            is_right = sample.state == OE_SDK_NONE && sample.ctx.trace_id[0] == 0 && sample.attrs.size_bytes == 0;
        } else {
            const auto attributes = oe::decode_thread_attributes(
                std::as_bytes(std::span(sample.attrs.bytes)).first(sample.attrs.size_bytes));
            const bool is_inner = function == "burn_inner";
            const auto& own = trace_of_thread.try_emplace(sample.tid, sample.ctx.trace_id[0]).first->second;
            is_right = sample.state == OE_SDK_VALID && sample.ctx.span_id[0] == (is_inner ? 2 : 1) &&
                       sample.ctx.flags == 1 && sample.ctx.trace_id[0] == own && sample.ctx.trace_id[15] == 0x0a &&
                       attributes == (is_inner ? oe::ThreadAttributes{{1, "inner again"}}
                                               : oe::ThreadAttributes{{0, "outer"}});
            tally.tids.insert(sample.tid);
        }
        if (is_right) ++tally.right[function];
        else ++tally.wrong;
    }
    std::set<std::uint8_t> traces;
    for (const auto& [tid, trace] : trace_of_thread) traces.insert(trace);
    CHECK(traces.size() == trace_of_thread.size());  // each thread has a trace of its own
    return tally;
}

// For as long as it takes to have seen everything, on a slow machine too.
void check_samples(Sampler& sampler, const Target& target) {
    constexpr int enough = 50;
    sampler.start(target.pid());
    Tally tally;
    for (int i = 0; i < 20; ++i) {
        sampler.run_for(500ms);
        tally = judge(sampler.samples, target);
        if (tally.right.size() == 3 && tally.tids.size() == threads &&
            std::ranges::all_of(tally.right, [](const auto& pair) { return pair.second > enough; }))
            break;
    }
    CHECK(tally.wrong == 0);
    CHECK(tally.tids.size() == threads);
    for (const char* function : {"burn_outer", "burn_inner", "burn_outside"}) {
        INFO(function);
        CHECK(tally.right[function] > enough);
    }
}

}  // namespace

TEST_CASE("thread context: every access model, under a sampler") {
    SKIP_UNLESS_LOADABLE();
    SKIP_WITHOUT_TARGETS();
    struct Case {
        const char* program;
        oe::TlsModel model;
        oe_tls_kind kind;
    };
    const std::vector<Case> cases = {
        {"static", oe::TlsModel::local_exec, OE_TLS_STATIC},
        {"static_pie", oe::TlsModel::local_exec, OE_TLS_STATIC},
        {"pie", oe::TlsModel::local_exec, OE_TLS_STATIC},
        {"library_initial", oe::TlsModel::initial_exec, OE_TLS_STATIC},
        {"library_dynamic", oe::TlsModel::legacy_dynamic, OE_TLS_DTV},
        {"plugin_dynamic", oe::TlsModel::legacy_dynamic, OE_TLS_DTV},
#if defined(__x86_64__) && !defined(__clang__)
        {"library_descriptor", oe::TlsModel::tlsdesc_static, OE_TLS_STATIC},
        {"plugin_descriptor", oe::TlsModel::tlsdesc_dynamic, OE_TLS_DTV},
        {"plugin_descriptor_fixed", oe::TlsModel::tlsdesc_dynamic, OE_TLS_DTV},
        {"plugin_descriptor_small", oe::TlsModel::tlsdesc_static, OE_TLS_STATIC},
#endif
    };
    for (const Case& one : cases) {
        INFO(one.program);
        const Target target(one.program, 30'000);
        Sampler sampler;
        oe::SdkContexts contexts(sampler.threads_fd());
        contexts.watch(target.pid());
        const oe::SdkProcess* const process = contexts.find(target.pid());
        REQUIRE(process != nullptr);
        CHECK(process->problem.empty());
        REQUIRE(process->threads);
        CHECK(process->threads->place.model == one.model);
        CHECK(process->threads->place.location.kind == one.kind);
        CHECK(process->context.thread_keys == std::vector<std::string>{"depth", "function"});
        check_samples(sampler, target);
    }
}

TEST_CASE("thread context: late publication and a late library are found by polling") {
    SKIP_UNLESS_LOADABLE();
    SKIP_WITHOUT_TARGETS();
    for (const char* program : {"plugin_dynamic", "pie"}) {
        INFO(program);
        Target target(program, 30'000, true);
        Sampler sampler;
        oe::SdkContexts contexts(sampler.threads_fd(), -1, 0ms);
        contexts.watch(target.pid());
        CHECK(contexts.find(target.pid()) == nullptr);
        const auto tgid = static_cast<std::uint32_t>(target.pid());
        oe_tls_location row{};
        CHECK(::bpf_map_lookup_elem(sampler.threads_fd(), &tgid, &row) != 0);
        contexts.poll();
        CHECK(contexts.stats().looks == 2);
        CHECK(contexts.stats().unchanged == 1);
        target.start();
        contexts.poll();
        REQUIRE(contexts.find(target.pid()) != nullptr);
        REQUIRE(contexts.find(target.pid())->threads);
        CHECK(::bpf_map_lookup_elem(sampler.threads_fd(), &tgid, &row) == 0);
        check_samples(sampler, target);
    }
}

TEST_CASE("thread context: rows go with their processes") {
    SKIP_UNLESS_LOADABLE();
    SKIP_WITHOUT_TARGETS();
    Sampler sampler;
    oe::SdkContexts contexts(sampler.threads_fd(), -1, 0ms);
    std::uint32_t tgid = 0;
    oe_tls_location row{};
    {
        const Target target("pie", 30'000);
        tgid = static_cast<std::uint32_t>(target.pid());
        contexts.watch(target.pid());
        CHECK(::bpf_map_lookup_elem(sampler.threads_fd(), &tgid, &row) == 0);
    }
    contexts.poll();
    CHECK(contexts.find(static_cast<pid_t>(tgid)) == nullptr);
    CHECK(::bpf_map_lookup_elem(sampler.threads_fd(), &tgid, &row) != 0);
}

TEST_CASE("thread context: a process whose variable can't be found has no context, and says why") {
    SKIP_UNLESS_LOADABLE();
    SKIP_WITHOUT_TARGETS();
    const Target target("hidden", 30'000);
    Sampler sampler;
    oe::SdkContexts contexts(sampler.threads_fd());
    contexts.watch(target.pid());
    const oe::SdkProcess* const process = contexts.find(target.pid());
    REQUIRE(process != nullptr);
    CHECK_FALSE(process->threads);
    CHECK(process->problem.find("otel_thread_ctx_v1") != std::string::npos);
    CHECK(oe::Resource(process->context.resource).attributes.size() == 2);
    const auto tgid = static_cast<std::uint32_t>(target.pid());
    oe_tls_location row{};
    REQUIRE(::bpf_map_lookup_elem(sampler.threads_fd(), &tgid, &row) == 0);
    CHECK(row.kind == OE_TLS_UNKNOWN);
    sampler.start(target.pid());
    sampler.run_for(300ms);
    CHECK(sampler.samples.size() > 20);
    for (const thread_context_sample& sample : sampler.samples) CHECK(sample.state == OE_SDK_NONE);
}
