// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The agent's command line.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <otel_ebpf/otel_ebpf.hpp>

namespace agent {

namespace oe = otel_ebpf;

enum ExitCode : int {
    exit_ok = 0,
    exit_usage = 2,
    exit_target = 3,
    exit_privilege = 4,
    exit_output = 5,
};

struct Options {
    std::vector<pid_t> pids;
    std::vector<std::string> executables;
    bool plan = false;
    bool plan_as_json = false;
    std::optional<oe::site::KernelRelease> kernel;
    std::string output = "console";  // KIND[:WHERE]
    std::optional<std::chrono::milliseconds> duration;
    std::string stats_file;
    oe::OptionValues probe_options;
    oe::Publication publication = oe::Publication::jit;
    std::string bpffs_root;  // "": the library's default
    bool verbose = false;

    [[nodiscard]] std::string output_kind() const { return output.substr(0, output.find(':')); }
    [[nodiscard]] std::string output_where() const {
        const std::size_t colon = output.find(':');
        return colon == std::string::npos ? std::string() : output.substr(colon + 1);
    }
};

// The options, or the exit code after help, version or a message was printed.
std::variant<Options, int> parse_options(int argc, char** argv);

}  // namespace agent
