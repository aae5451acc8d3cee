// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Runs numbered cases in forked workers, and finds those that crash, hang or take too much memory.
#pragma once

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "inspect.hpp"

namespace hostile {

struct Limits {
    std::uint64_t cpu_ns = 1'000'000'000;          // of one case; of the processor, so that a busy machine fails none
    std::uint64_t wall_ns = 30'000'000'000;        // of one case that waits
    std::uint64_t memory_bytes = 256 << 20;        // resident, above what the worker has before its first case
    std::uint64_t address_bytes = 4ULL << 30;      // where a worker ends before it takes the machine's memory
};

struct CaseResult {
    bool done = false;
    std::uint64_t cpu_ns = 0;
    Depth depth;
};

struct Finding {
    std::size_t index = 0;
    std::string what;  // "crash: signal 11", "hang", "memory"
};

class Harness {
public:
    using Case = std::function<Depth(std::size_t index)>;

    Harness(std::size_t count, Case run, Limits limits = {}) : count_(count), run_(std::move(run)), limits_(limits) {}

    // Case i goes to worker i % workers. A worker that ends is found, and another goes on behind its last case.
    void run(std::size_t workers) {
        Shared shared(workers, count_);
        std::vector<pid_t> pids(workers, -1);
        for (std::size_t w = 0; w < workers; ++w) {
            shared.slots()[w].index = w;
            pids[w] = start(shared, w, workers);
        }
        for (std::size_t running = workers; running != 0;) {
            running = 0;
            for (std::size_t w = 0; w < workers; ++w) {
                if (pids[w] < 0) continue;
                Slot& slot = shared.slots()[w];
                const auto ended = end_of(pids[w], slot);
                ++running;
                if (!ended) continue;
                pids[w] = -1;
                if (slot.index >= count_) continue;
                findings_.push_back({slot.index, *ended});
                slot.index = slot.index + workers;
                if (slot.index < count_) pids[w] = start(shared, w, workers);
            }
            ::usleep(10'000);
        }
        for (std::size_t w = 0; w < workers; ++w)
            if (shared.slots()[w].peak_bytes > peak_bytes_) peak_bytes_ = shared.slots()[w].peak_bytes;
        results_.assign(shared.results(), shared.results() + count_);
    }

    [[nodiscard]] const std::vector<Finding>& findings() const { return findings_; }
    // By index; what was found has no result.
    [[nodiscard]] const std::vector<CaseResult>& results() const { return results_; }
    // The most that cases took, resident.
    [[nodiscard]] std::uint64_t peak_bytes() const { return peak_bytes_; }

private:
    static constexpr int exit_memory = 77;

    // Of one worker, which it writes and its parent reads.
    struct Slot {
        std::atomic<std::size_t> index = 0;
        std::atomic<std::uint64_t> cpu_begin_ns = 0, wall_begin_ns = 0;
        std::atomic<std::uint64_t> peak_bytes = 0;
    };

    class Shared {
    public:
        Shared(std::size_t workers, std::size_t count)
            : workers_(workers), bytes_(workers * sizeof(Slot) + count * sizeof(CaseResult)),
              memory_(::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
            if (memory_ == MAP_FAILED) throw std::bad_alloc();
            for (std::size_t w = 0; w < workers; ++w) new (slots() + w) Slot;
            for (std::size_t i = 0; i < count; ++i) new (results() + i) CaseResult;
        }
        ~Shared() { ::munmap(memory_, bytes_); }
        Shared(const Shared&) = delete;
        Shared& operator=(const Shared&) = delete;

        [[nodiscard]] Slot* slots() const { return static_cast<Slot*>(memory_); }
        [[nodiscard]] CaseResult* results() const { return reinterpret_cast<CaseResult*>(slots() + workers_); }

    private:
        std::size_t workers_, bytes_;
        void* memory_;
    };

    static std::uint64_t now(clockid_t clock) {
        timespec time{};
        if (::clock_gettime(clock, &time) != 0) return 0;
        return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
    }

    static std::uint64_t resident_peak() {
        rusage usage{};
        ::getrusage(RUSAGE_SELF, &usage);
        return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
    }

    pid_t start(Shared& shared, std::size_t worker, std::size_t workers) {
        std::fflush(nullptr);
        Slot& slot = shared.slots()[worker];
        slot.wall_begin_ns = now(CLOCK_MONOTONIC);
        slot.cpu_begin_ns = 0;
        const pid_t pid = ::fork();
        if (pid < 0) throw std::bad_alloc();
        if (pid == 0) work(shared, slot, workers);
        return pid;
    }

    [[noreturn]] void work(Shared& shared, Slot& slot, std::size_t workers) {
        for (const int signal : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL}) ::signal(signal, SIG_DFL);
        const rlimit no_core{}, address{limits_.address_bytes, limits_.address_bytes};
        ::setrlimit(RLIMIT_CORE, &no_core);
        ::setrlimit(RLIMIT_AS, &address);
        std::set_new_handler([] { ::_exit(exit_memory); });
        const std::uint64_t before = resident_peak();
        for (; slot.index < count_; slot.index = slot.index + workers) {
            slot.cpu_begin_ns = now(CLOCK_PROCESS_CPUTIME_ID);
            slot.wall_begin_ns = now(CLOCK_MONOTONIC);
            const Depth depth = run_(slot.index);
            const std::uint64_t taken = resident_peak() - before;
            if (taken > slot.peak_bytes) slot.peak_bytes = taken;
            if (taken > limits_.memory_bytes) ::_exit(exit_memory);
            shared.results()[slot.index] = {true, now(CLOCK_PROCESS_CPUTIME_ID) - slot.cpu_begin_ns, depth};
        }
        ::_exit(0);
    }

    // How a worker ended, which also ends one that is over its limits; nullopt while it works.
    [[nodiscard]] std::optional<std::string> end_of(pid_t pid, const Slot& slot) const {
        int status = 0;
        const pid_t ended = ::waitpid(pid, &status, WNOHANG);
        if (ended == 0) {
            clockid_t clock{};
            const std::uint64_t begin = slot.cpu_begin_ns, wall_begin = slot.wall_begin_ns;
            const std::uint64_t cpu = ::clock_getcpuclockid(pid, &clock) == 0 ? now(clock) : 0;
            const bool is_over = cpu > begin && cpu - begin > limits_.cpu_ns;
            if (!is_over && now(CLOCK_MONOTONIC) - wall_begin <= limits_.wall_ns) return std::nullopt;
            ::kill(pid, SIGKILL);
            ::waitpid(pid, &status, 0);
            return is_over ? "hang" : "hang: waits";
        }
        if (WIFSIGNALED(status)) return "crash: signal " + std::to_string(WTERMSIG(status));
        if (WEXITSTATUS(status) == exit_memory) return "memory";
        return "crash: exit code " + std::to_string(WEXITSTATUS(status));
    }

    std::size_t count_;
    Case run_;
    Limits limits_;
    std::vector<Finding> findings_;
    std::vector<CaseResult> results_;
    std::uint64_t peak_bytes_ = 0;
};

}  // namespace hostile
