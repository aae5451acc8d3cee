// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Target: which processes to instrument.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <initializer_list>
#include <optional>
#include <variant>
#include <vector>

#include <otel_ebpf/publication.hpp>

namespace otel_ebpf {

// One process, by its PID in the initial PID namespace.
struct ProcessTarget {
    pid_t pid = 0;
    std::optional<Publication> publication = {};  // of its spans; nullopt: as in ManagerConfig
};

// Every process that runs the file, now or later.
struct ExecutableTarget {
    std::filesystem::path path;
    std::optional<Publication> publication = {};
};

using Target = std::variant<ProcessTarget, ExecutableTarget>;

namespace targets {

inline std::vector<Target> pid(pid_t pid) { return {ProcessTarget{pid, {}}}; }
inline std::vector<Target> pids(std::initializer_list<pid_t> pids) {
    std::vector<Target> all;
    for (const pid_t one : pids) all.emplace_back(ProcessTarget{one, {}});
    return all;
}
inline std::vector<Target> executable(std::filesystem::path path) { return {ExecutableTarget{std::move(path), {}}}; }

}  // namespace targets
}  // namespace otel_ebpf
