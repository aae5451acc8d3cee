// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Relative relocations: what the dynamic loader writes into the data of a position-independent executable. Linkers other
// than Go's leave zeros there in the file.
#pragma once

#include <elf.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>

namespace otel_ebpf {

// Calls visit(vaddr, value) for every word that the loader sets to the load bias plus `value`, in the order of DT_RELA,
// until it returns false. Those of DT_RELR need no visit: their values are in the file.
template <class Visit>
Result<void> for_each_relative_relocation(const ElfFile& elf, Visit&& visit) {
    constexpr std::uint64_t max_dynamic_bytes = 64 << 10;  // real ones have some hundred bytes
    std::uint64_t table = 0, size = 0;
    for (const Elf64_Phdr& segment : elf.segments()) {
        if (segment.p_type != PT_DYNAMIC) continue;
        auto entries = elf.bytes_at(segment.p_vaddr, std::min(segment.p_filesz, max_dynamic_bytes));
        if (!entries) return tl::unexpected(std::move(entries).error().in("has a damaged dynamic section"));
        const auto bytes = std::as_const(*entries).bytes();
        for (std::size_t at = 0; in_range(at, sizeof(Elf64_Dyn), bytes.size()); at += sizeof(Elf64_Dyn)) {
            const auto entry = load<Elf64_Dyn>(bytes, at);
            if (entry.d_tag == DT_NULL) break;
            if (entry.d_tag == DT_RELA) table = entry.d_un.d_ptr;
            if (entry.d_tag == DT_RELASZ) size = entry.d_un.d_val;
        }
        break;
    }
    const std::uint64_t wanted_type = elf.arch() == Arch::aarch64 ? R_AARCH64_RELATIVE : R_X86_64_RELATIVE;
    constexpr std::uint64_t chunk_bytes = 10'000 * sizeof(Elf64_Rela);
    for (std::uint64_t done = 0; done < size; done += chunk_bytes) {
        auto chunk = elf.bytes_at(table + done, std::min(chunk_bytes, size - done));
        if (!chunk) return tl::unexpected(std::move(chunk).error().in("has damaged relocations"));
        const auto bytes = std::as_const(*chunk).bytes();
        for (std::size_t at = 0; in_range(at, sizeof(Elf64_Rela), bytes.size()); at += sizeof(Elf64_Rela)) {
            const auto entry = load<Elf64_Rela>(bytes, at);
            if (ELF64_R_TYPE(entry.r_info) != wanted_type) continue;
            if (!visit(entry.r_offset, static_cast<std::uint64_t>(entry.r_addend))) return {};
        }
    }
    return {};
}

}  // namespace otel_ebpf
