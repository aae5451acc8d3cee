// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Where a thread keeps its current g: at an offset from the thread pointer (amd64: fs base; arm64: tpidr_el0).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/elf_symbols.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/go/load_g_aarch64.hpp>
#include <otel_ebpf/process_maps.hpp>
#include <otel_ebpf/tls_variable.hpp>

namespace otel_ebpf::go {

// Fixed in an executable. Where the loader chose it, as for a shared library, a word of its GOT tells. Programs for
// arm64 without cgo keep g in x28 alone: then both are 0.
struct TlsG {
    std::int32_t offset = 0;      // from the thread pointer, in bytes; 0: not fixed
    std::uint64_t got_vaddr = 0;  // the address of the word that tells, before any load bias; 0: there is none
};

namespace detail {

using namespace std::string_view_literals;

// How Go code that was called from outside loads g into r14.
inline constexpr std::string_view load_g_direct = "\x64\x4c\x8b\x34\x25"sv;  // mov %fs:imm32,%r14
inline constexpr std::string_view load_g_offset = "\x49\xc7\xc6"sv;          // mov $imm32,%r14     PIE, then
inline constexpr std::string_view load_g_got = "\x4c\x8b\x35"sv;             // mov disp32(%rip),%r14   library, then
inline constexpr std::string_view load_g_indirect = "\x64\x4d\x8b\x36"sv;    // mov %fs:(%r14),%r14

inline constexpr std::size_t load_g_operand_bytes = 4;
inline constexpr std::size_t load_g_max_bytes =
    load_g_got.size() + load_g_operand_bytes + load_g_indirect.size();  // the longest of these

// The first of these in `text`, which begins at address `vaddr`.
inline std::optional<TlsG> find_load_of_g(std::string_view text, std::uint64_t vaddr) {
    const auto operand = [&](std::size_t at) {
        std::int32_t value = 0;
        std::memcpy(&value, text.data() + at, sizeof(value));
        return value;
    };
    for (std::size_t at = 0; (at = text.find('\x64', at)) != std::string_view::npos; ++at) {  // the prefix of %fs
        const std::string_view from = text.substr(at);
        if (from.starts_with(load_g_direct) && from.size() >= load_g_direct.size() + load_g_operand_bytes)
            return TlsG{operand(at + load_g_direct.size()), 0};
        const std::size_t before = load_g_got.size() + load_g_operand_bytes;
        if (!from.starts_with(load_g_indirect) || at < before) continue;
        const std::string_view load = text.substr(at - before);
        const std::int32_t value = operand(at - load_g_operand_bytes);
        if (load.starts_with(load_g_offset)) return TlsG{value, 0};
        if (load.starts_with(load_g_got)) return TlsG{0, vaddr + at + static_cast<std::uint64_t>(std::int64_t{value})};
    }
    return std::nullopt;
}

// What FIND(text, vaddr) finds first in [begin, end); it looks at MAX_BYTES together.
template <class Find, class Found = std::invoke_result_t<Find, std::string_view, std::uint64_t>>
Result<Found> find_in_code(const ElfFile& elf, std::uint64_t begin, std::uint64_t end, std::uint64_t max_bytes,
                           Find&& find) {
    constexpr std::uint64_t chunk_bytes = 64 << 10;
    // Chunks overlap, so that an instruction lies whole in one of them.
    for (std::uint64_t at = begin; at < end;) {
        const std::uint64_t size = std::min(chunk_bytes, end - at);
        auto chunk = elf.bytes_at(at, size);
        if (!chunk) return tl::unexpected(std::move(chunk).error());
        const auto bytes = std::as_const(*chunk).bytes();
        auto found = find(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), at);
        if (found) return found;
        if (size == end - at) break;
        at += size - max_bytes + 1;
    }
    return Found();
}

// The executable's block ends at the thread pointer (TLS variant II), or begins behind two words there (variant I).
// Known when the symbol table has Go's variable, or when g is all that the block holds.
inline std::optional<std::int64_t> tls_g_from_segment(const ElfFile& elf) {
    const auto segment = elf.tls_segment();
    if (!segment) return std::nullopt;
    TlsVariable variable;
    if (const auto symbol = find_tls_variable(elf, elf.arch() == Arch::x86_64 ? "runtime.tlsg" : "runtime.tls_g");
        symbol && *symbol) variable = **symbol;
    else if (segment->p_memsz != sizeof(std::uint64_t)) return std::nullopt;
    const auto place = local_exec_place(elf, variable);
    if (!place) return std::nullopt;
    return place->location.offset;
}

// A library has no place of its own in the static TLS of a process. Executables name their loader, or say that they are
// position-independent ones.
inline Result<bool> is_library(const ElfFile& elf) {
    if (!elf.is_position_independent()) return false;
    for (const Elf64_Phdr& segment : elf.segments()) {
        if (segment.p_type == PT_INTERP) return false;
        if (segment.p_type != PT_DYNAMIC) continue;
        auto entries = elf.bytes_at(segment.p_vaddr, segment.p_filesz);
        if (!entries) return tl::unexpected(std::move(entries).error());
        for (std::uint64_t at = 0; in_range(at, sizeof(Elf64_Dyn), entries->size()); at += sizeof(Elf64_Dyn)) {
            const auto entry = load<Elf64_Dyn>(std::as_const(*entries).bytes(), at);
            if (entry.d_tag == DT_FLAGS_1 && (entry.d_un.d_val & DF_1_PIE) != 0) return false;
        }
    }
    return true;
}

// Whether the loader puts a TLS offset into that word.
inline Result<bool> is_tls_slot(const ElfFile& elf, std::uint64_t vaddr) {
    for (const ElfSection& section : elf.sections()) {
        if (section.type != SHT_RELA) continue;
        auto relocations = elf.bytes_of(section);
        if (!relocations) return tl::unexpected(std::move(relocations).error());
        const auto bytes = std::as_const(*relocations).bytes();
        for (std::uint64_t at = 0; in_range(at, sizeof(Elf64_Rela), bytes.size()); at += sizeof(Elf64_Rela)) {
            const auto relocation = load<Elf64_Rela>(bytes, at);
            if (relocation.r_offset == vaddr && ELF64_R_TYPE(relocation.r_info) == R_X86_64_TPOFF64) return true;
        }
    }
    return false;
}

// Below the thread pointer on amd64; on arm64 above it, behind two words.
inline Result<std::int32_t> checked_tls_offset(Arch arch, std::int64_t offset) {
    constexpr std::int64_t head = 16, limit = 1 << 20;
    const bool is_possible = arch == Arch::x86_64 ? offset < 0 && offset >= -limit : offset >= head && offset <= limit;
    if (!is_possible || offset % 8 != 0)
        return fail(Stage::offset, "has an absurd TLS offset of g: " + std::to_string(offset));
    return static_cast<std::int32_t>(offset);
}

inline Result<TlsG> agreed_tls_offset(Arch arch, std::optional<std::int64_t> in_code,
                                      std::optional<std::int64_t> by_segment) {
    if (in_code && by_segment && *in_code != *by_segment)
        return fail(Stage::offset, "gives two TLS offsets of g: " + std::to_string(*in_code) + " in its code, " +
                                       std::to_string(*by_segment) + " by its TLS segment");
    if (!in_code && !by_segment)
        return fail(Stage::unsupported, "loads g neither from a fixed TLS offset nor from a known TLS block");
    return checked_tls_offset(arch, in_code ? *in_code : *by_segment).map([](std::int32_t offset) {
        return TlsG{offset, 0};
    });
}

// The byte at an address as the loader leaves it.
inline Result<std::uint8_t> initial_byte(const ElfFile& elf, std::uint64_t vaddr) {
    for (const Elf64_Phdr& segment : elf.segments())
        if (segment.p_type == PT_LOAD && vaddr >= segment.p_vaddr && vaddr - segment.p_vaddr >= segment.p_filesz &&
            vaddr - segment.p_vaddr < segment.p_memsz)
            return std::uint8_t{0};
    auto byte = elf.bytes_at(vaddr, 1);
    if (!byte) return tl::unexpected(std::move(byte).error());
    return load<std::uint8_t>(std::as_const(*byte).bytes(), 0);
}

// runtime.iscgo decides: a build with cgo allowed that uses none keeps g in x28 alone.
inline Result<TlsG> find_tls_g_arm64(const ElfFile& elf, std::uint64_t text_begin, std::uint64_t text_end) {
    constexpr std::uint64_t max_bytes = load_g_before_bytes + load_g_bytes;
    const auto load_g = find_in_code(elf, text_begin, text_end, max_bytes, find_load_g);
    if (!load_g) return tl::unexpected(load_g.error());
    if (!*load_g)
        return fail(Stage::unsupported, "has no runtime.load_g of a known form: where threads keep g is unknown");
    const auto iscgo = initial_byte(elf, (*load_g)->iscgo_vaddr);
    if (!iscgo) return tl::unexpected(iscgo.error());
    if (*iscgo == 0) return TlsG{};
    const auto library = is_library(elf);
    if (!library) return tl::unexpected(library.error());
    if (*library)
        return fail(Stage::unsupported,
                    "is a library for arm64: there the TLS offset of g is known of executables only");
    return agreed_tls_offset(elf.arch(), (*load_g)->tls_offset, tls_g_from_segment(elf));
}

}  // namespace detail

// `text_begin` and `text_end` bound the Go text. Refused where the two sources disagree or both are silent.
inline Result<TlsG> find_tls_g(const ElfFile& elf, std::uint64_t text_begin, std::uint64_t text_end) {
    if (elf.arch() == Arch::aarch64) return detail::find_tls_g_arm64(elf, text_begin, text_end);
    auto from_code =
        detail::find_in_code(elf, text_begin, text_end, detail::load_g_max_bytes, detail::find_load_of_g);
    if (!from_code) return tl::unexpected(std::move(from_code).error());
    const auto library = detail::is_library(elf);
    if (!library) return tl::unexpected(library.error());
    if (*library) {
        if (!*from_code || (*from_code)->got_vaddr == 0)
            return fail(Stage::unsupported, "is a library whose code does not load g by its GOT");
        const auto slot = detail::is_tls_slot(elf, (*from_code)->got_vaddr);
        if (!slot) return tl::unexpected(slot.error());
        if (!*slot)
            return fail(Stage::offset, "loads g by " + ElfFile::hex((*from_code)->got_vaddr) +
                                           ", to which the loader gives no TLS offset");
        return **from_code;
    }
    std::optional<std::int64_t> in_code;
    if (*from_code && (*from_code)->got_vaddr == 0) in_code = (*from_code)->offset;
    return detail::agreed_tls_offset(elf.arch(), in_code, detail::tls_g_from_segment(elf));
}

// The offset in a process that has loaded the file, a library of amd64 where a word tells; it stays for the life of the
// process. `bias`: address in the process less address in the file.
inline Result<std::int32_t> tls_g_offset_in_process(const TlsG& place, std::uint64_t bias, const ReadMemory& read) {
    if (place.got_vaddr == 0) return place.offset;
    const auto word = read_memory<std::int64_t>(read, bias + place.got_vaddr);
    if (!word) return tl::unexpected(word.error());
    return detail::checked_tls_offset(Arch::x86_64, *word);
}

}  // namespace otel_ebpf::go
