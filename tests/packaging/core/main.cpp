// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A consumer of the component core alone.
#include <bpf/libbpf.h>
#include <fmt/core.h>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/types.h>
#include <otel_ebpf/version_info.hpp>

int main() {
    fmt::print("otel_ebpf {}, libbpf {}\n", otel_ebpf::library_version, libbpf_version_string());
    const otel_ebpf::Result<int> value = 0;
    return *value;
}
