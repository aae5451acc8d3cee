// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The command line of otel-ebpf-ctx.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <variant>

namespace ctx {

enum ExitCode : int {
    exit_ok = 0,
    exit_usage = 2,
    exit_no_map = 3,
    exit_refused = 4,
};

enum class Command { show, watch, drain_dead, drain_all };

struct Options {
    Command command = Command::show;
    std::string bpffs_root;  // "": environment or default
    std::chrono::milliseconds interval{1000};
    std::uint64_t count = 0;  // of tables that watch prints; 0: until a signal
};

// The options, or the exit code after help, version or a message was printed.
std::variant<Options, int> parse_options(int argc, char** argv);

}  // namespace ctx
