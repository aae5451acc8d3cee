// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Where a thread keeps its current g, as an offset from the thread pointer (amd64: fs base).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/elf_symbols.hpp>
#include <otel_ebpf/error.hpp>

namespace otel_ebpf::go {

namespace detail {

// Static TLS model: the executable's block ends at the thread pointer (ELF TLS ABI, variant II). Known when the symbol
// table has runtime.tlsg, or when g is all that the block holds.
inline std::optional<std::int64_t> tls_offset_from_segment(const ElfFile& elf) {
    const auto segment = elf.tls_segment();
    constexpr std::uint64_t max_tls_bytes = 1 << 20;
    if (!segment || segment->p_memsz > max_tls_bytes || segment->p_align > max_tls_bytes) return std::nullopt;
    std::optional<std::uint64_t> g_in_block;
    if (segment->p_memsz == 8) g_in_block = 0;
    if (const auto symbols = ElfSymbols::open(elf))
        symbols->for_each([&](std::string_view name, const Elf64_Sym& symbol) {
            if (name != "runtime.tlsg" || ELF64_ST_TYPE(symbol.st_info) != STT_TLS) return true;
            g_in_block = symbol.st_value;
            return false;
        });
    if (!g_in_block || *g_in_block > segment->p_memsz) return std::nullopt;
    const std::uint64_t align = std::max<std::uint64_t>(segment->p_align, 1);
    const std::uint64_t block_bytes = (segment->p_memsz + align - 1) / align * align;
    return static_cast<std::int64_t>(*g_in_block) - static_cast<std::int64_t>(block_bytes);
}

// The operand of the first `mov %fs:imm32,%r14` in [begin, end): how Go code that was called from outside loads g.
inline Result<std::optional<std::int64_t>> tls_offset_from_code(const ElfFile& elf, std::uint64_t begin,
                                                                std::uint64_t end) {
    constexpr std::array<unsigned char, 5> opcode{0x64, 0x4c, 0x8b, 0x34, 0x25};
    const std::string_view pattern(reinterpret_cast<const char*>(opcode.data()), opcode.size());
    constexpr std::uint64_t instruction_bytes = 9, chunk_bytes = 64 << 10;
    for (std::uint64_t at = begin; end - at >= instruction_bytes;) {
        const std::uint64_t size = std::min(chunk_bytes, end - at);
        auto chunk = elf.bytes_at(at, size);
        if (!chunk) return tl::unexpected(std::move(chunk).error());
        const auto bytes = std::as_const(*chunk).bytes();
        const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        const std::size_t found = text.find(pattern);
        if (found != std::string_view::npos && found + instruction_bytes <= text.size())
            return std::int64_t{load<std::int32_t>(bytes, found + opcode.size())};
        if (size == end - at) break;
        at += size - instruction_bytes + 1;
    }
    return std::nullopt;
}

}  // namespace detail

// `text_begin` and `text_end` bound the Go text. Refused where the two sources disagree or both are silent.
inline Result<std::int32_t> find_tls_g_offset(const ElfFile& elf, std::uint64_t text_begin, std::uint64_t text_end) {
    if (elf.arch() != Arch::x86_64)
        return fail(Stage::unsupported,
                    "is for " + std::string(to_string(elf.arch())) + ": the TLS offset of g is known on x86_64 only");
    auto from_code = detail::tls_offset_from_code(elf, text_begin, text_end);
    if (!from_code) return tl::unexpected(std::move(from_code).error());
    const auto from_segment = detail::tls_offset_from_segment(elf);
    if (*from_code && from_segment && **from_code != *from_segment)
        return fail(Stage::offset, "gives two TLS offsets of g: " + std::to_string(**from_code) + " in its code, " +
                                       std::to_string(*from_segment) + " by its TLS segment");
    if (!*from_code && !from_segment)
        return fail(Stage::unsupported, "loads g neither from a fixed TLS offset nor from a known TLS block");
    const std::int64_t offset = *from_code ? **from_code : *from_segment;
    if (offset >= 0 || offset % 8 != 0 || offset < -(1 << 20))
        return fail(Stage::offset, "has an absurd TLS offset of g: " + std::to_string(offset));
    return static_cast<std::int32_t>(offset);
}

}  // namespace otel_ebpf::go
