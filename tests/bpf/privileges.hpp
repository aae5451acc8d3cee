// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Why BPF programs can't be loaded here, for SKIP_TEST.
#pragma once

#include <string>

#include <otel_ebpf/kernel.hpp>

// "" when they can.
inline std::string why_not_loadable() {
    const auto allowed = otel_ebpf::check_prerequisites(otel_ebpf::Kernel::detect());
    return allowed ? std::string() : allowed.error().what;
}

#define SKIP_UNLESS_LOADABLE()                          \
    do {                                                \
        const std::string reason = why_not_loadable();  \
        if (!reason.empty()) SKIP_TEST(reason.c_str()); \
    } while (false)
