// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// All callers of a function, when they can be known: a scan of the whole text, proven closed.
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

#include <otel_ebpf/site/function.hpp>

namespace otel_ebpf::site {

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

namespace detail {

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
template <class Isa>
Result<std::vector<CallerSite>> callers_of(const Code& callee, const Image& image) {
    using detail::hex;
    using detail::refuse;
    const std::string what = "sites in all callers";
    if (const auto pointer = detail::pointer_to(callee.vaddr, image))
        return refuse(what, callee, 0,
                      "its address is in data at " + hex(*pointer) +
                          ", so it may be called through an interface, a closure or a method value; use another end "
                          "site");

    std::vector<CallerSite> callers;
    for (const Section& text : image.text) {
        std::uint64_t done_until = 0;
        for (const std::uint64_t field : Isa::possible_references(text, callee.vaddr)) {
            if (field < done_until) continue;
            const std::optional<Code> code = image.function_at ? image.function_at(field) : std::nullopt;
            if (!code && Isa::is_padding(text, field, callee.vaddr)) continue;
            if (!code || field < code->vaddr || field - code->vaddr >= code->bytes.size())
                return refuse(what, callee, 0,
                              "bytes at " + hex(field) +
                                  " outside of every known function may refer to it; use another end site");
            done_until = code->vaddr + code->bytes.size();
            const auto function = Isa::decode(*code, what);
            if (!function) return tl::unexpected(function.error());
            CallerSite site{*code, {}};
            for (const auto& instruction : function->instructions) {
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

}  // namespace otel_ebpf::site
