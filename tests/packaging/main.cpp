// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A consumer of the whole library: calls into each dependency, so that a missing link flag shows.
#include <Zydis/Zydis.h>
#include <bpf/libbpf.h>
#include <elfutils/libdw.h>
#include <fmt/core.h>
#include <gelf.h>

#if __has_include(<otel_ebpf/otel_ebpf.hpp>)
#include <otel_ebpf/otel_ebpf.hpp>
#endif
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/types.h>
#include <otel_ebpf/version_info.hpp>

int main() {
    fmt::print("otel_ebpf {}, libbpf {}, Zydis {:x}\n", otel_ebpf::library_version, libbpf_version_string(),
               ZydisGetVersion());
    const otel_ebpf::Result<int> value = 0;
    dwarf_begin(-1, DWARF_C_READ);
    return elf_version(EV_CURRENT) == EV_NONE || sizeof(oe_trace_ctx) != 32 ? 1 : *value;
}
