// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The address that the entries of the pclntab count from. A wrong one would put probes on wrong instructions, so it is
// proven or refused, never guessed.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/go/moduledata.hpp>
#include <otel_ebpf/go/pclntab.hpp>

namespace otel_ebpf::go {

namespace detail {

// First bytes of a function that checks its stack: cmp 0x10(%r14),%rsp; lea -N(%rsp),%r12 (large frames);
// arm64: ldr x16,[x28,#16].
inline bool starts_with_stack_check(Arch arch, std::span<const std::byte> code) {
    const auto starts_with = [&](auto pattern) {
        return code.size() >= pattern.size() && std::memcmp(code.data(), pattern.data(), pattern.size()) == 0;
    };
    using Bytes4 = std::array<unsigned char, 4>;
    if (arch == Arch::aarch64) return starts_with(Bytes4{0x90, 0x0b, 0x40, 0xf9});
    return starts_with(Bytes4{0x49, 0x3b, 0x66, 0x10}) || starts_with(Bytes4{0x4c, 0x8d, 0x64, 0x24}) ||
           starts_with(Bytes4{0x4c, 0x8d, 0xa4, 0x24});
}

// Looks at up to 64 functions: their padding must be what the linker pads with, and enough of them must begin with
// Go's stack check (on every release measured, two of three do).
inline Result<void> check_text_start(const ElfFile& elf, const Pclntab& table, std::uint64_t text_start) {
    constexpr std::size_t max_samples = 64;
    constexpr std::size_t one_in = 4;
    const std::size_t samples = std::min(table.size(), max_samples);
    std::size_t stack_checks = 0;
    for (std::size_t i = 0; i < samples; ++i) {
        const std::size_t index = i * table.size() / samples;
        const std::uint32_t distance = table.entry(index + 1) - table.entry(index);
        const std::uint32_t size = table.code_size(index);
        constexpr std::uint64_t window = 4096;
        if (distance > window) continue;
        auto code = elf.bytes_at(text_start + table.entry(index), distance);
        if (!code) return tl::unexpected(std::move(code).error());
        const auto bytes = std::as_const(*code).bytes();
        if (starts_with_stack_check(elf.arch(), bytes)) ++stack_checks;
        constexpr std::byte int3{0xcc};
        if (elf.arch() == Arch::x86_64 &&
            !std::ranges::all_of(bytes.subspan(size), [](std::byte b) { return b == int3; }))
            return fail(Stage::symbol, "has no padding between functions where its function table says");
    }
    if (stack_checks * one_in < samples) return fail(Stage::symbol, "has no Go code where its function table says");
    return {};
}

}  // namespace detail

inline Result<std::uint64_t> find_text_start(const ElfFile& elf, const PclntabHeader& header, const Pclntab& table) {
    auto found = find_moduledata(elf, header);
    if (!found) return tl::unexpected(std::move(found).error());
    if (!*found)
        return fail(Stage::unsupported,
                    "has no moduledata that agrees with its .gopclntab: the start of the Go text "
                    "is unknown, so its functions can't be found (build it without -s)");
    const std::uint64_t start = (*found)->text;
    if (header.text_start != 0 && header.text_start != start)
        return fail(Stage::symbol, "gives two starts of the Go text: " + ElfFile::hex(header.text_start) +
                                       " in .gopclntab, " + ElfFile::hex(start) + " in moduledata");
    if ((*found)->min_pc != start + table.entry(0) || (*found)->max_pc != start + table.entry(table.size()))
        return fail(Stage::symbol, "has a moduledata and a .gopclntab that disagree on where the Go text ends");
    if (!elf.is_code(start, table.entry(table.size())))
        return fail(Stage::symbol, "has a function table that reaches outside its code");
    if (auto checked = detail::check_text_start(elf, table, start); !checked)
        return tl::unexpected(std::move(checked).error());
    return start;
}

}  // namespace otel_ebpf::go
