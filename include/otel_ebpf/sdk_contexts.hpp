// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// SdkContexts: what SDKs inside processes publish, kept up to date: Resource, names of attributes, and for BPF the place
// of each thread's context (map oe_sdk_threads of thread_context.bpf.h).
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf.h>
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include <otel_ebpf/fd.hpp>
#include <otel_ebpf/log.hpp>
#include <otel_ebpf/process_context.hpp>
#include <otel_ebpf/sdk_module.hpp>
#include <otel_ebpf/types.h>

namespace otel_ebpf {

// A process that publishes a context.
struct SdkProcess {
    ProcessContext context;
    std::optional<ThreadContextPlace> threads;  // where records are; none: no thread contexts, or see `problem`
    std::string problem;                        // why thread contexts can't be read, in one sentence; empty: nothing
};

struct SdkContextStats {
    std::uint64_t looks = 0;       // at one process each
    std::uint64_t unchanged = 0;   // of those: its mappings and its context were as before
    std::uint64_t refused = 0;     // not permitted to look
    std::uint64_t malformed = 0;   // contexts that could not be decoded
    std::uint64_t rows_failed = 0; // rows that oe_sdk_threads had no room for
};

// Not thread-safe, starts no thread: call poll() now and then. Needs CAP_SYS_PTRACE for processes of other users, and
// CAP_BPF for the maps.
class SdkContexts {
public:
    // Descriptors of oe_sdk_threads and oe_ctx_counts, borrowed; -1: without.
    explicit SdkContexts(int threads_fd = -1, int counts_fd = -1,
                         std::chrono::milliseconds interval = std::chrono::seconds(1))
        : threads_fd_(threads_fd), counts_fd_(counts_fd), interval_(interval) {}
    SdkContexts(const SdkContexts&) = delete;
    SdkContexts& operator=(const SdkContexts&) = delete;
    ~SdkContexts() {
        for (const auto& [pid, watched] : watched_) erase_row(pid);
    }

    // Looks at a process at once, and again at each poll. Its absence is no failure: it may publish later.
    void watch(pid_t pid) {
        const auto [position, is_new] = watched_.try_emplace(pid);
        if (is_new) look(pid, position->second);
    }
    void forget(pid_t pid) {
        if (watched_.erase(pid) != 0) erase_row(pid);
    }

    // Looks at all processes that are watched, when the last time was an interval ago: late publication, libraries
    // that were loaded since, changed contexts, exec. Those that ended are forgotten.
    void poll() {
        const auto now = std::chrono::steady_clock::now();
        if (now - polled_at_ < interval_) return;
        polled_at_ = now;
        for (auto position = watched_.begin(); position != watched_.end();) {
            auto& [pid, watched] = *position;
            if (look(pid, watched)) {
                compare(pid, watched);
                ++position;
            } else {
                erase_row(pid);
                position = watched_.erase(position);
            }
        }
    }

    // nullptr: the process publishes nothing, or isn't watched. Valid until the next call of another member.
    [[nodiscard]] const SdkProcess* find(pid_t pid) const {
        const auto position = watched_.find(pid);
        return position != watched_.end() && position->second.process ? &*position->second.process : nullptr;
    }
    // How our contexts and the SDK's compare; nullopt: never compared.
    [[nodiscard]] std::optional<oe_ctx_counts> counts(pid_t pid) const {
        const auto tgid = static_cast<std::uint32_t>(pid);
        oe_ctx_counts counts{};
        if (counts_fd_ < 0 || ::bpf_map_lookup_elem(counts_fd_, &tgid, &counts) != 0) return std::nullopt;
        return counts;
    }
    [[nodiscard]] const SdkContextStats& stats() const { return stats_; }

private:
    struct Watched {
        std::size_t maps_hash = 0;
        std::string modules;  // files mapped executable, and where
        std::optional<SdkProcess> process;
        std::string logged;  // the last thing said about it
        bool is_pending = false;  // something could not be read, and may be next time
        bool has_row = false;
        bool differs = false;  // said already
    };

    // False when the process is gone.
    bool look(pid_t pid, Watched& watched) {
        ++stats_.looks;
        const std::string path = fmt::format("/proc/{}/maps", pid);
        const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!fd) {
            if (errno != EACCES && errno != EPERM) return false;
            refused(pid, path);
            return true;
        }
        std::string maps;
        if (!read_all(fd.get(), maps)) return false;
        const std::size_t hash = std::hash<std::string>()(maps);
        const bool is_same = std::exchange(watched.maps_hash, hash) == hash;
        if (is_same && !watched.process && !watched.is_pending) {
            ++stats_.unchanged;
            return true;
        }
        const auto mappings = parse_process_maps(maps);
        const auto places = find_process_contexts(mappings);
        if (places.empty()) {
            watched.process.reset();
            watched.is_pending = false;
            set_row(pid, watched);
            return true;
        }
        look_at_context(pid, watched, mappings, places);
        return true;
    }

    void look_at_context(pid_t pid, Watched& watched, const std::vector<ProcessMapping>& mappings,
                         const std::vector<std::uint64_t>& places) {
        const ReadMemory read = memory_of(pid);
        std::string modules = modules_in(mappings);
        const bool same_modules = modules == watched.modules;
        watched.modules = std::move(modules);
        const std::uint64_t last = same_modules && watched.process ? watched.process->context.published_at_ns : 0;
        std::optional<Error> problem;
        for (const std::uint64_t addr : places) {
            auto context = read_process_context(read, addr, last);
            if (!context) {
                problem = std::move(context.error());
                continue;
            }
            if (*context) {
                watched.process = SdkProcess{std::move(**context), {}, {}};
            } else if (!watched.is_pending) {
                ++stats_.unchanged;
                return;
            }
            locate_threads(pid, watched, mappings, read);
            return;
        }
        // What was read before stays while the process changes it; a look at other memory than before starts anew.
        watched.is_pending = true;
        if (problem->code.value() == EAGAIN) return;
        if (problem->code.value() == EPERM) return refused(pid, fmt::format("memory of PID {}", pid));
        ++stats_.malformed;
        watched.process.reset();
        set_row(pid, watched);
        say(pid, watched, LogLevel::warning, "its process context is ignored: " + problem->what);
    }

    static std::string modules_in(const std::vector<ProcessMapping>& mappings) {
        std::string modules;
        for (const ProcessMapping& mapping : mappings)
            if (mapping.executable && mapping.inode != 0)
                modules += fmt::format("{:x} {} {}\n", mapping.start, mapping.inode, mapping.path);
        return modules;
    }

    void locate_threads(pid_t pid, Watched& watched, const std::vector<ProcessMapping>& mappings,
                        const ReadMemory& read) {
        SdkProcess& process = *watched.process;
        process.threads.reset();
        process.problem.clear();
        watched.is_pending = false;
        if (process.context.thread_schema.empty()) return set_row(pid, watched);
        if (!is_thread_schema(process.context.thread_schema)) {
            process.problem = fmt::format("no reader of thread contexts of the schema {}", process.context.thread_schema);
        } else {
            auto found = finder_.find(pid, mappings, read);
            watched.is_pending = !found;  // a library may not be relocated yet
            if (!found) process.problem = found.error().what;
            else if (!*found)
                process.problem = fmt::format("none of its files exports {} (link with -rdynamic)", thread_context_symbol);
            else process.threads = std::move(**found);
        }
        set_row(pid, watched);
        if (process.threads)
            say(pid, watched, LogLevel::info, fmt::format("thread contexts in {} ({})", process.threads->file,
                                                          to_string(process.threads->place.model)));
        else say(pid, watched, LogLevel::warning, "its thread contexts can't be read: " + process.problem);
    }

    // Of what is known of the process: no row when it publishes no thread contexts.
    void set_row(pid_t pid, Watched& watched) {
        if (threads_fd_ < 0) return;
        if (!watched.process || watched.process->context.thread_schema.empty()) {
            if (watched.has_row) erase_row(pid);
            watched.has_row = false;
            return;
        }
        const auto tgid = static_cast<std::uint32_t>(pid);
        oe_tls_location row{};  // OE_TLS_UNKNOWN
        if (watched.process->threads) row = watched.process->threads->place.location;
        if (::bpf_map_update_elem(threads_fd_, &tgid, &row, BPF_ANY) == 0) {
            watched.has_row = true;
            return;
        }
        ++stats_.rows_failed;
        say(pid, watched, LogLevel::error,
            fmt::format("no row in oe_sdk_threads: {}; its own contexts are not seen", std::generic_category().message(errno)));
    }
    void erase_row(pid_t pid) const {
        const auto tgid = static_cast<std::uint32_t>(pid);
        if (threads_fd_ >= 0) ::bpf_map_delete_elem(threads_fd_, &tgid);
    }

    void compare(pid_t pid, Watched& watched) {
        if (watched.differs || !watched.has_row) return;
        const auto now = counts(pid);
        if (!now || now->trace_differs == 0) return;
        watched.differs = true;
        log(LogLevel::warning,
            fmt::format("process {}: in {} of {} looks its SDK and this tool named different traces for one thread: one of "
                        "them has lost a request's context (a proxy that drops traceparent, or two propagators)",
                        pid, now->trace_differs, now->both));
    }

    void refused(pid_t pid, const std::string& what) {
        ++stats_.refused;
        if (std::exchange(said_refused_, true)) return;
        log(LogLevel::warning,
            fmt::format("read {}: not permitted: contexts that SDKs publish in process {}, and maybe in others, are not "
                        "seen (needs CAP_SYS_PTRACE)", what, pid));
    }

    static void say(pid_t pid, Watched& watched, LogLevel level, const std::string& text) {
        if (watched.logged == text) return;
        watched.logged = text;
        log(level, fmt::format("process {}: {}", pid, text));
    }

    static bool read_all(int fd, std::string& text) {
        constexpr std::size_t chunk = 65536;
        for (;;) {
            const std::size_t at = text.size();
            text.resize(at + chunk);
            const ssize_t count = ::read(fd, text.data() + at, chunk);
            text.resize(at + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
            if (count <= 0) return count == 0 && !text.empty();
        }
    }

    const int threads_fd_;
    const int counts_fd_;
    const std::chrono::milliseconds interval_;
    std::chrono::steady_clock::time_point polled_at_ = std::chrono::steady_clock::now();
    std::map<pid_t, Watched> watched_;
    ThreadContextFinder finder_;
    SdkContextStats stats_;
    bool said_refused_ = false;
};

}  // namespace otel_ebpf
