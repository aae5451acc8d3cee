// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A consumer of the component core alone: a profiler, say, that takes nothing but the shared context map.
#include <bpf/libbpf.h>
#include <fmt/core.h>

#include <otel_ebpf/context_map.hpp>
#include <otel_ebpf/version_info.hpp>

int main() {
    fmt::print("otel_ebpf {}, libbpf {}\n", otel_ebpf::library_version, libbpf_version_string());
    // No bpffs, so that nothing of the machine is touched: private, or an error without CAP_BPF.
    const auto map = otel_ebpf::ContextMap::open({.bpffs_root = "/proc"});
    const std::string& told = map ? map->message() : map.error().what;
    fmt::print("{}\n", told);
    return told.find("no bpffs at /proc") == std::string::npos || (map && map->shared()) ? 1 : 0;
}
