// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The profiler's command line.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <sys/types.h>

#include <otel_ebpf/trace_context.hpp>

namespace profiler {

enum ExitCode : int {
    exit_ok = 0,
    exit_usage = 2,
    exit_target = 3,
    exit_privilege = 4,
    exit_output = 5,
    exit_no_samples = 6,
};

struct OutputChoice {
    std::string kind;   // see outputs.hpp
    std::string where;  // a path; "-": standard output
};

struct Options {
    std::vector<pid_t> pids;
    bool all = false;
    bool spans = false;  // traced by this program too
    unsigned hz = 99;
    std::optional<std::chrono::milliseconds> duration{10'000};  // nullopt: until it is interrupted
    std::vector<OutputChoice> outputs;
    std::optional<otel_ebpf::TraceId> trace;  // of flame.svg: only this one
    std::optional<otel_ebpf::SpanId> span;
    std::string bpffs_root;             // "": OTEL_EBPF_BPF_FS_PATH, else /sys/fs/bpf
    bool verbose = false;
};

// The options, or the exit code after help, version or a message was printed.
std::variant<Options, int> parse_options(int argc, char** argv);

}  // namespace profiler
