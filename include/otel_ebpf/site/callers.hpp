// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// All callers of an x86-64 function, when they can be known: a scan of the whole text, proven closed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <otel_ebpf/site/decode_x86_64.hpp>

namespace otel_ebpf::site {

// A part of an executable as it is in memory, before relocation. Owns nothing.
struct Section {
    std::uint64_t vaddr = 0;
    std::span<const std::byte> bytes = {};
};

// What a search for callers reads.
struct Image {
    std::span<const Section> text = {};  // all executable sections
    // What may hold function pointers: read-only and writable data, and the relocations of a position-independent
    // executable.
    std::span<const Section> data = {};
    // Where the method tables of Go types are (moduledata.types to etypes). More than them, up to all read-only data,
    // is safe but takes other numbers for methods; .gopclntab must stay out, it lists every function.
    std::span<const Section> method_tables = {};
    std::uint64_t go_text_start = 0;  // runtime.text, to which method tables are relative
    std::function<std::optional<Code>(std::uint64_t vaddr)> function_at = {};  // the function that covers an address
};

// One function and the addresses of its direct calls of the callee.
struct CallerSite {
    Code caller = {};
    std::vector<std::uint64_t> call_vaddrs = {};
};

namespace x86_64 {
namespace detail {

template <class T>
T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof(value));
    return value;
}

// Addresses of 4-byte fields in TEXT that, as an offset from their own end or as an absolute address, give TARGET.
inline std::vector<std::uint64_t> wide_references(const Section& text, std::uint64_t target) {
    std::vector<std::uint64_t> found;
    if (text.bytes.size() < sizeof(std::uint32_t)) return found;
    const std::size_t last = text.bytes.size() - sizeof(std::uint32_t);
    const auto first_relative = static_cast<std::uint32_t>(target - text.vaddr - sizeof(std::uint32_t));
    const auto absolute = static_cast<std::uint32_t>(target);
    constexpr std::size_t block = 1024;  // the inner loop has no branch, so that the compiler can make it wide
    for (std::size_t begin = 0; begin <= last; begin += block) {
        const std::size_t end = std::min(begin + block, last + 1);
        std::uint32_t any = 0;
        for (std::size_t i = begin; i < end; ++i) {
            const auto field = load<std::uint32_t>(text.bytes.data() + i);
            any |= static_cast<std::uint32_t>(field == first_relative - static_cast<std::uint32_t>(i)) |
                   static_cast<std::uint32_t>(field == absolute);
        }
        if (any == 0) continue;
        for (std::size_t i = begin; i < end; ++i) {
            const auto field = load<std::uint32_t>(text.bytes.data() + i);
            if (field == first_relative - static_cast<std::uint32_t>(i) || field == absolute)
                found.push_back(text.vaddr + i);
        }
    }
    return found;
}

// Addresses of 1-byte fields in TEXT that, behind the opcode of a short branch, lead to TARGET.
inline std::vector<std::uint64_t> short_references(const Section& text, std::uint64_t target) {
    std::vector<std::uint64_t> found;
    for (std::int64_t distance = -128; distance <= 127; ++distance) {
        const std::uint64_t field = target - static_cast<std::uint64_t>(distance) - 1;
        if (field <= text.vaddr || field - text.vaddr >= text.bytes.size()) continue;
        const std::byte* const at = text.bytes.data() + (field - text.vaddr);
        const auto opcode = std::to_integer<unsigned>(at[-1]);
        const bool branch = (opcode & 0xf0) == 0x70 || opcode == 0xeb || (opcode & 0xfc) == 0xe0;  // jcc, jmp, loop
        if (branch && std::to_integer<std::uint8_t>(*at) == static_cast<std::uint8_t>(distance)) found.push_back(field);
    }
    return found;
}

// Whether the field at AT, outside of every function, is the end of the nops before TARGET: compilers of C align by long
// ones that end in zeros, which read as a distance of 0. Only a branch could stand there, since it does not go on.
inline bool is_padding(const Section& text, std::uint64_t at, std::uint64_t target) {
    const std::uint64_t offset = at - text.vaddr;
    if (at + sizeof(std::uint32_t) != target || offset < 2) return false;
    const auto before = [&](std::uint64_t distance) { return std::to_integer<unsigned>(text.bytes[offset - distance]); };
    const bool is_branch = (before(1) & 0xfe) == 0xe8 || (before(2) == 0x0f && (before(1) & 0xf0) == 0x80);
    return load<std::uint32_t>(text.bytes.data() + offset) == 0 && !is_branch;
}

// Where SECTION holds VALUE as an aligned word.
template <class Word>
std::optional<std::uint64_t> find_word(const Section& section, Word value) {
    const std::size_t first = (0 - section.vaddr) % sizeof(Word);
    for (std::size_t i = first; i < section.bytes.size() && section.bytes.size() - i >= sizeof(Word); i += sizeof(Word))
        if (load<Word>(section.bytes.data() + i) == value) return section.vaddr + i;
    return std::nullopt;
}

// Whether the word at AT is the code of a method that no interface and no reflection can reach: the linker wrote -1 for
// its type, which nothing resolves to (a method table is rows of four 32-bit words: name, type, code of the method as
// an interface calls it, code as is; go.googlesource.com/go, src/internal/abi/type.go, Method; -1: cmd/link,
// R_METHODOFF).
inline bool is_dead_method(std::span<const std::byte> table, std::size_t at) {
    constexpr std::uint32_t dead = ~0U;
    const auto before = [&](std::size_t words) {
        return at >= words * 4 && load<std::uint32_t>(table.data() + at - words * 4) == dead;
    };
    return before(1) || before(2);
}

// Where data names TARGET: by its address, or in a method table by its offset from the start of the Go text.
inline std::optional<std::uint64_t> pointer_to(std::uint64_t target, const Image& image) {
    for (const Section& section : image.data)
        if (const auto found = find_word<std::uint64_t>(section, target)) return found;
    if (target < image.go_text_start || target - image.go_text_start > INT32_MAX) return std::nullopt;
    const auto offset = static_cast<std::uint32_t>(target - image.go_text_start);
    for (const Section& section : image.method_tables)
        for (std::size_t i = (0 - section.vaddr) % 4; i + 4 <= section.bytes.size(); i += 4)
            if (load<std::uint32_t>(section.bytes.data() + i) == offset && !is_dead_method(section.bytes, i))
                return section.vaddr + i;
    return std::nullopt;
}

}  // namespace detail

// Every direct call of CALLEE, grouped by caller. Refuses where a caller may stay unseen: the callee's address is in
// data or taken by code, or another function jumps to it.
inline Result<std::vector<CallerSite>> callers_of(const Code& callee, const Image& image) {
    using site::detail::hex;
    using site::detail::refuse;
    const std::string what = "sites in all callers";
    if (const auto pointer = detail::pointer_to(callee.vaddr, image))
        return refuse(what, callee, 0,
                      "its address is in data at " + hex(*pointer) +
                          ", so it may be called through an interface, a closure or a method value; use another end "
                          "site");

    std::vector<CallerSite> callers;
    for (const Section& text : image.text) {
        std::vector<std::uint64_t> fields = detail::wide_references(text, callee.vaddr);
        const std::vector<std::uint64_t> near = detail::short_references(text, callee.vaddr);
        fields.insert(fields.end(), near.begin(), near.end());
        std::sort(fields.begin(), fields.end());

        std::uint64_t done_until = 0;
        for (const std::uint64_t field : fields) {
            if (field < done_until) continue;
            const std::optional<Code> code = image.function_at ? image.function_at(field) : std::nullopt;
            if (!code && detail::is_padding(text, field, callee.vaddr)) continue;
            if (!code || field < code->vaddr || field - code->vaddr >= code->bytes.size())
                return refuse(what, callee, 0,
                              "bytes at " + hex(field) +
                                  " outside of every known function may refer to it; use another end site");
            done_until = code->vaddr + code->bytes.size();
            const auto function = decode(*code, what);
            if (!function) return tl::unexpected(function.error());
            CallerSite site{*code, {}};
            for (const Instruction& instruction : function->instructions) {
                const bool refers = instruction.has_reference && instruction.reference == callee.vaddr;
                const bool branches = instruction.is_branch() && instruction.target == callee.vaddr;
                if (refers || (branches && code->vaddr != callee.vaddr))
                    return refuse(what, callee, 0,
                                  std::string(code->name) + (refers ? " takes its address at " : " jumps to it at ") +
                                      hex(function->vaddr_of(instruction)) +
                                      ", so not all calls can be seen; use another end site");
                if (instruction.flow == Flow::call && instruction.target == callee.vaddr)
                    site.call_vaddrs.push_back(function->vaddr_of(instruction));
            }
            if (!site.call_vaddrs.empty()) callers.push_back(std::move(site));
        }
    }
    if (callers.empty()) return refuse(what, callee, 0, "no function calls it; it is inlined everywhere or never used");
    return callers;
}

}  // namespace x86_64
}  // namespace otel_ebpf::site
