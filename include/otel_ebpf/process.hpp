// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What /proc tells about a process, and the Resource made of it.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/core.h>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/fd.hpp>
#include <otel_ebpf/semconv.hpp>
#include <otel_ebpf/span.hpp>
#include <otel_ebpf/version_info.hpp>

namespace otel_ebpf {

struct ProcessFacts {
    pid_t pid = 0;
    std::string executable;       // path as the kernel shows it, without " (deleted)"
    std::uint64_t start_ticks = 0;  // since boot: tells a reused PID from its predecessor
    std::string service_name;     // OTEL_SERVICE_NAME
    std::string resource_attributes;  // OTEL_RESOURCE_ATTRIBUTES
};

namespace detail {

inline std::string read_whole(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline std::string link_target(const std::string& path) {
    std::string target(4096, '\0');
    const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
    target.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    constexpr std::string_view deleted = " (deleted)";
    if (target.ends_with(deleted)) target.resize(target.size() - deleted.size());
    return target;
}

inline std::string environment_variable(std::string_view environment, std::string_view name) {
    while (!environment.empty()) {
        const std::string_view entry = environment.substr(0, environment.find('\0'));
        environment.remove_prefix(std::min(entry.size() + 1, environment.size()));
        if (entry.starts_with(name) && entry.size() > name.size() && entry[name.size()] == '=')
            return std::string(entry.substr(name.size() + 1));
    }
    return {};
}

// "%41%20b" -> "A b"; what is not an escape stays.
inline std::string percent_decoded(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        unsigned value = 0;
        if (text[i] == '%' && i + 2 < text.size() &&
            std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr == text.data() + i + 3) {
            out += static_cast<char>(value);
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

}  // namespace detail

// What /proc/PID/stat and /proc/PID/task/TID/stat say.
struct TaskStat {
    char state = '?';               // R, S, D, ...; Z and X: it has ended
    std::uint64_t threads = 0;      // of the process
    std::uint64_t start_ticks = 0;  // since boot

    [[nodiscard]] constexpr bool ended() const { return state == 'Z' || state == 'X'; }
};

// Nothing when fields are missing, as in the empty text of a file that can't be read.
[[nodiscard]] inline std::optional<TaskStat> parse_task_stat(std::string_view text) {
    // Fields are counted behind the last ')': the process name may hold anything. proc(5): state is field 3,
    // num_threads 20, starttime 22.
    std::size_t position = text.rfind(')');
    TaskStat stat;
    for (int field = 3; field <= 22; ++field) {
        position = text.find(' ', position == std::string_view::npos ? text.size() : position + 1);
        if (position == std::string_view::npos || position + 1 >= text.size()) return std::nullopt;
        const char* const value = text.data() + position + 1;
        const char* const end = text.data() + text.size();
        if (field == 3) stat.state = *value;
        if (field == 20 && std::from_chars(value, end, stat.threads).ec != std::errc()) return std::nullopt;
        if (field == 22 && std::from_chars(value, end, stat.start_ticks).ec != std::errc()) return std::nullopt;
    }
    return stat;
}

// Whether that thread will never run again: it is gone, or a zombie. False where /proc hides it (hidepid). Ids are
// those of this PID namespace.
[[nodiscard]] inline bool thread_has_ended(std::uint32_t tgid, std::uint32_t tid) {
    const auto stat = parse_task_stat(detail::read_whole(fmt::format("/proc/{}/task/{}/stat", tgid, tid)));
    if (stat) return stat->ended();
    return ::syscall(SYS_tgkill, tgid, tid, 0) != 0 && errno == ESRCH;
}

// Fails when there is no such process or its executable can't be read (other users' processes: CAP_SYS_PTRACE).
[[nodiscard]] inline Result<ProcessFacts> read_process(pid_t pid) {
    const std::string folder = fmt::format("/proc/{}", pid);
    if (::access(folder.c_str(), F_OK) != 0)
        return fail(Stage::target, fmt::format("target PID {}: no such process", pid), ESRCH);
    ProcessFacts facts;
    facts.pid = pid;
    facts.executable = detail::link_target(folder + "/exe");
    if (facts.executable.empty())
        return fail(Stage::target, fmt::format("target PID {}: read {}/exe: {}", pid, folder,
                                               errno == ENOENT ? "a kernel thread or a process that is exiting"
                                                               : "not permitted (needs CAP_SYS_PTRACE)"), errno);
    facts.start_ticks = parse_task_stat(detail::read_whole(folder + "/stat")).value_or(TaskStat{}).start_ticks;
    const std::string environment = detail::read_whole(folder + "/environ");
    facts.service_name = detail::environment_variable(environment, "OTEL_SERVICE_NAME");
    facts.resource_attributes = detail::environment_variable(environment, "OTEL_RESOURCE_ATTRIBUTES");
    return facts;
}

// PIDs of all processes in this PID namespace.
[[nodiscard]] inline std::vector<pid_t> all_processes() {
    std::vector<pid_t> pids;
    DIR* const folder = ::opendir("/proc");
    if (folder == nullptr) return pids;
    while (const dirent* entry = ::readdir(folder)) {
        pid_t pid = 0;
        const std::string_view name = entry->d_name;
        if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr == name.data() + name.size() && pid > 0)
            pids.push_back(pid);
    }
    ::closedir(folder);
    return pids;
}

// Attributes of a process, after the resource conventions and the environment variables of the SDK specification:
// OTEL_SERVICE_NAME wins over service.name in OTEL_RESOURCE_ATTRIBUTES, else unknown_service:EXECUTABLE. An empty
// go_version: not a Go program, so nothing is said of its runtime, and the language is that of this library.
[[nodiscard]] inline Resource make_resource(const ProcessFacts& facts, std::string_view go_version) {
    Resource resource;
    const auto set = [&resource](std::string_view key, Resource::Owned value) {
        for (auto& [known, old] : resource.attributes)
            if (known == key) return void(old = std::move(value));
        resource.attributes.emplace_back(key, std::move(value));
    };
    set(semconv::service_name, "unknown_service:" + facts.executable.substr(facts.executable.rfind('/') + 1));
    std::string_view rest = facts.resource_attributes;
    while (!rest.empty()) {
        std::string_view entry = rest.substr(0, rest.find(','));
        rest.remove_prefix(std::min(entry.size() + 1, rest.size()));
        while (entry.starts_with(' ')) entry.remove_prefix(1);
        while (entry.ends_with(' ')) entry.remove_suffix(1);
        const std::size_t equals = entry.find('=');
        if (equals == std::string_view::npos || equals == 0) continue;
        set(detail::percent_decoded(entry.substr(0, equals)), detail::percent_decoded(entry.substr(equals + 1)));
    }
    if (!facts.service_name.empty()) set(semconv::service_name, facts.service_name);
    set(semconv::process_pid, std::int64_t{facts.pid});
    set(semconv::process_executable_path, facts.executable);
    if (!go_version.empty()) {
        set(semconv::process_runtime_name, std::string("go"));
        set(semconv::process_runtime_version, std::string(go_version));
    }
    set(semconv::telemetry_sdk_name, std::string("otel_ebpf"));
    set(semconv::telemetry_sdk_language, std::string(go_version.empty() ? "cpp" : "go"));
    set(semconv::telemetry_sdk_version, std::string(library_version));
    return resource;
}

// The value of service.name in a Resource.
[[nodiscard]] inline std::string_view service_name_of(const Resource& resource) {
    for (const auto& [key, value] : resource.attributes)
        if (key == semconv::service_name) return std::get<std::string>(value);
    return {};
}

}  // namespace otel_ebpf
