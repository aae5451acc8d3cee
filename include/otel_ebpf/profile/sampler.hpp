// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Sampler: runs the program of profile.programs.h on every CPU and hands on its records.
#pragma once

#include <linux/bpf.h>

#include <bpf/libbpf.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include <otel_ebpf/clock.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/event_stream.hpp>
#include <otel_ebpf/fd.hpp>
#include <otel_ebpf/link.hpp>
#include <otel_ebpf/log.hpp>
#include <otel_ebpf/map.hpp>
#include <otel_ebpf/process.hpp>
#include <otel_ebpf/profile/online_cpus.hpp>
#include <otel_ebpf/sample.h>

namespace otel_ebpf::profile {

struct SamplerConfig {
    unsigned hz = 99;          // per CPU; at most kernel.perf_event_max_sample_rate
    std::vector<pid_t> pids = {};
    bool all = false;          // every process, `pids` or not
    std::chrono::milliseconds interval{20};  // between two reads of the ring buffer
};

struct SamplerStats {
    std::uint64_t taken = 0;          // samples written to the ring buffer
    std::uint64_t lost = 0;           // samples that found it full
    std::uint64_t short_records = 0;  // records that are no sample: another version of the BPF headers
    std::size_t cpus = 0;             // sampled now
};

// Starts no thread: drive it by poll() when fd() is readable. Needs CAP_BPF and CAP_PERFMON.
class Sampler {
public:
    // The sample is valid during the call.
    using Handler = std::function<void(const oe_sample&)>;

    // `object` is loaded, holds the program oe_sample, and outlives the Sampler.
    [[nodiscard]] static Result<std::unique_ptr<Sampler>> start(bpf_object* object, SamplerConfig config,
                                                                Handler handler) {
        std::unique_ptr<Sampler> sampler(new Sampler(std::move(config), std::move(handler)));
        if (auto started = sampler->connect(object); !started) return Failure(std::move(started.error()));
        return sampler;
    }

    Sampler(const Sampler&) = delete;
    Sampler& operator=(const Sampler&) = delete;
    ~Sampler() = default;

    // Samples one more process. ESRCH: there is none of that PID.
    [[nodiscard]] Result<void> add(pid_t pid) {
        if (auto found = check_process(pid); !found) return found;
        Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
        if (!handle) return fail_errno(Stage::target, fmt::format("target PID {}: open a descriptor of it", pid));
        if (auto done = sampled_->update(static_cast<std::uint32_t>(pid), 1); !done)
            return Failure(std::move(done.error()).in(fmt::format("target PID {}", pid)));
        targets_[pid] = std::move(handle);
        return {};
    }

    // Readable whenever poll() has something to look at.
    [[nodiscard]] int fd() const { return timer_.get(); }

    // Waits up to `timeout` for the next read, then hands on the samples that are there. Returns how many records.
    int poll(std::chrono::milliseconds timeout) {
        pollfd descriptor{timer_.get(), POLLIN, 0};
        if (::poll(&descriptor, 1, static_cast<int>(timeout.count())) > 0) {
            std::uint64_t expirations = 0;
            [[maybe_unused]] const auto size = ::read(timer_.get(), &expirations, sizeof(expirations));
        }
        if (!stopped_ && now_ns(CLOCK_MONOTONIC) >= next_cpu_check_ns_) follow_cpus();
        return stream_->drain();
    }

    // False once every process of `pids` has exited; true where all are sampled.
    [[nodiscard]] bool has_live_target() {
        std::erase_if(targets_, [](const auto& target) {
            pollfd exited{target.second.get(), POLLIN, 0};
            return ::poll(&exited, 1, 0) > 0;
        });
        return config_.all || !targets_.empty();
    }

    // Takes no more samples and hands on those that are left. May be called again.
    void stop() {
        stopped_ = true;
        links_.clear();
        while (stream_->drain() > 0) {}
    }

    [[nodiscard]] SamplerStats stats() const {
        SamplerStats stats;
        stats.taken = counters_->sum_per_cpu(OE_SAMPLES_TAKEN).value_or(0);
        stats.lost = counters_->sum_per_cpu(OE_SAMPLES_LOST).value_or(0);
        stats.short_records = short_records_;
        stats.cpus = links_.size();
        return stats;
    }

private:
    Sampler(SamplerConfig config, Handler handler) : config_(std::move(config)), handler_(std::move(handler)) {}

    static Result<void> check_process(pid_t pid) {
        const std::string status = detail::read_whole(fmt::format("/proc/{}/status", pid));
        if (status.empty()) return fail(Stage::target, fmt::format("target PID {}: no such process", pid), ESRCH);
        const std::size_t at = status.find("\nTgid:\t");
        const pid_t tgid = at == std::string::npos ? pid : std::atoi(status.c_str() + at + 7);
        if (tgid == pid) return {};
        return fail(Stage::target, fmt::format("target PID {}: a thread of process {}: give that PID", pid, tgid),
                    ESRCH);
    }

    Result<void> check_rate() const {
        constexpr const char* path = "/proc/sys/kernel/perf_event_max_sample_rate";
        const long limit = std::atol(detail::read_whole(path).c_str());
        if (config_.hz == 0) return fail(Stage::attach, "sample at 0 Hz: give a rate of 1 or more", EINVAL);
        if (limit == 0 || config_.hz <= static_cast<unsigned long>(limit)) return {};
        return fail(Stage::attach,
                    fmt::format("sample at {} Hz: the kernel allows {} (sysctl kernel.perf_event_max_sample_rate)",
                                config_.hz, limit), EINVAL);
    }

    Result<void> connect(bpf_object* object) {
        if (auto rate = check_rate(); !rate) return rate;
        const bpf_program* program = ::bpf_object__find_program_by_name(object, "oe_sample");
        const auto map_fd = [object](const char* name) { return ::bpf_object__find_map_fd_by_name(object, name); };
        if (program == nullptr || map_fd("oe_samples") < 0)
            return fail(Stage::load, "start the sampler: the BPF object lacks oe_sample: include "
                                     "<otel_ebpf/profile.programs.h>", ENOENT);
        program_fd_ = ::bpf_program__fd(program);
        if (program_fd_ < 0) return fail(Stage::load, "start the sampler: the BPF object is not loaded", EINVAL);
        auto sampled = Map<std::uint32_t, std::uint32_t>::open(map_fd("oe_sampled"),
                                                               {"oe_sampled", BPF_MAP_TYPE_HASH, 4, 4, 0, 0});
        if (!sampled) return Failure(sampled.error());
        sampled_ = *sampled;
        auto counters = Map<std::uint32_t, std::uint64_t>::open(
            map_fd("oe_sample_stats"), {"oe_sample_stats", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, OE_SAMPLE_STAT_MAX, 0});
        if (!counters) return Failure(counters.error());
        counters_ = *counters;
        auto stream = EventStream::open(map_fd("oe_samples"),
                                        [this](std::span<const std::byte> record) { on_record(record); });
        if (!stream) return Failure(stream.error());
        stream_ = std::move(*stream);
        if (auto timer = start_timer(); !timer) return timer;
        for (const pid_t pid : config_.pids)
            if (auto added = add(pid); !added) return added;
        if (config_.all)
            if (auto done = sampled_->update(0, 1); !done) return done;
        return attach();
    }

    Result<void> start_timer() {
        timer_ = Fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
        if (!timer_) return fail_errno(Stage::open, "create a timer");
        const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(config_.interval).count();
        if (nanoseconds <= 0) return fail(Stage::open, "set a timer: SamplerConfig::interval must be above 0", EINVAL);
        itimerspec period{};
        period.it_interval = {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
        period.it_value = period.it_interval;
        if (::timerfd_settime(timer_.get(), 0, &period, nullptr) != 0) return fail_errno(Stage::open, "set a timer");
        return {};
    }

    Result<void> attach() {
        const auto cpus = online_cpus();
        if (!cpus) return Failure(cpus.error());
        for (const unsigned cpu : *cpus)
            if (auto done = attach_cpu(cpu); !done && done.error().code.value() != ENODEV) return done;
        if (links_.empty()) return fail(Stage::attach, "sample CPUs: none of them is online", ENODEV);
        next_cpu_check_ns_ = now_ns(CLOCK_MONOTONIC) + cpu_check_ns;
        return {};
    }

    Result<void> attach_cpu(unsigned cpu) {
        auto link = Link::cpu_clock(program_fd_, cpu, config_.hz);
        if (!link) return Failure(link.error());
        links_[cpu] = std::move(*link);
        return {};
    }

    // A perf event ends with its CPU and doesn't come back with it.
    void follow_cpus() {
        next_cpu_check_ns_ = now_ns(CLOCK_MONOTONIC) + cpu_check_ns;
        const auto cpus = online_cpus();
        if (!cpus) return log(LogLevel::warning, cpus.error().what);
        const std::set<unsigned> online(cpus->begin(), cpus->end());
        std::erase_if(links_, [&online](const auto& link) {
            if (online.contains(link.first)) return false;
            log(LogLevel::warning, fmt::format("CPU {} went offline: sampled no more", link.first));
            return true;
        });
        for (const unsigned cpu : online) {
            if (links_.contains(cpu)) continue;
            const auto done = attach_cpu(cpu);
            log(LogLevel::warning, done ? fmt::format("CPU {} came online: sampled from now on", cpu)
                                        : fmt::format("CPU {} came online: {}", cpu, done.error().what));
        }
    }

    void on_record(std::span<const std::byte> record) {
        if (record.size() < sizeof(oe_sample)) return void(++short_records_);
        handler_(*reinterpret_cast<const oe_sample*>(record.data()));
    }

    static constexpr std::uint64_t cpu_check_ns = 1'000'000'000;

    SamplerConfig config_;
    Handler handler_;
    int program_fd_ = -1;
    std::optional<Map<std::uint32_t, std::uint32_t>> sampled_;
    std::optional<Map<std::uint32_t, std::uint64_t>> counters_;
    std::unique_ptr<EventStream> stream_;
    std::map<pid_t, Fd> targets_;
    std::map<unsigned, Link> links_;  // by CPU
    Fd timer_;
    std::uint64_t next_cpu_check_ns_ = 0;
    std::uint64_t short_records_ = 0;
    bool stopped_ = false;
};

}  // namespace otel_ebpf::profile
