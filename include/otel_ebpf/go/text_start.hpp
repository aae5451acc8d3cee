// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The address that the entries of the pclntab count from. A wrong one would put probes on wrong instructions, so it is
// proven or refused, never guessed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/go/function_check.hpp>
#include <otel_ebpf/go/function_index.hpp>
#include <otel_ebpf/go/moduledata.hpp>
#include <otel_ebpf/go/pclntab.hpp>

namespace otel_ebpf::go {

// Refuses a function whose code is not what the table says of it; `text_start` is that of find_text_start().
inline Result<void> check_function_at(const ElfFile& elf, const FunctionIndex& functions,
                                      const FunctionIndex::Entry& entry, std::uint64_t text_start) {
    const std::uint64_t vaddr = text_start + entry.offset;
    if (!elf.is_code(vaddr, entry.distance())) return detail::not_this_function("no code there");
    auto code = elf.bytes_at(vaddr, entry.distance());
    if (!code) return tl::unexpected(std::move(code).error());
    return check_function(functions, entry, elf.arch(), vaddr, std::as_const(*code).bytes());
}

namespace detail {

// Looks at up to 32 functions. On every release measured all but one in a thousand are what the table says; where the
// text starts elsewhere, at most one in forty, all of a few instructions.
inline Result<void> check_text_start(const ElfFile& elf, const FunctionIndex& functions, std::uint64_t text_start) {
    constexpr std::size_t max_samples = 32;
    constexpr std::uint32_t max_distance = 16 << 10;  // longer functions take long and tell no more
    const std::size_t samples = std::min(functions.size(), max_samples);
    std::size_t checked = 0, right = 0;
    std::string last_reason;
    for (std::size_t i = 0; i < samples; ++i) {
        const auto entry = functions.entry(i * functions.size() / samples);
        if (!entry) return tl::unexpected(entry.error());
        if (entry->distance() > max_distance) continue;
        ++checked;
        auto done = check_function_at(elf, functions, *entry, text_start);
        if (done) ++right;
        else last_reason = std::move(done).error().what;
    }
    if (right == 0 || right * 4 < checked * 3)
        return fail(Stage::symbol, "has no Go code where its function table says: of " + std::to_string(checked) +
                                       " functions " + std::to_string(right) + " are there (the last one " +
                                       last_reason + ")");
    return {};
}

}  // namespace detail

inline Result<std::uint64_t> find_text_start(const ElfFile& elf, const PclntabHeader& header) {
    auto found = find_moduledata(elf, header);
    if (!found) return tl::unexpected(std::move(found).error());
    if (!*found)
        return fail(Stage::unsupported,
                    "has no moduledata that agrees with its .gopclntab: the start of the Go text "
                    "is unknown, so its functions can't be found (build it without -s)");
    auto functions = FunctionIndex::open(elf, header);
    if (!functions) return tl::unexpected(std::move(functions).error());
    const auto first = functions->entry(0);
    if (!first) return tl::unexpected(first.error());
    const auto end = functions->end();
    if (!end) return tl::unexpected(end.error());
    const std::uint64_t start = (*found)->text;
    if (header.text_start != 0 && header.text_start != start)
        return fail(Stage::symbol, "gives two starts of the Go text: " + ElfFile::hex(header.text_start) +
                                       " in .gopclntab, " + ElfFile::hex(start) + " in moduledata");
    if ((*found)->min_pc != start + first->offset || (*found)->max_pc != start + *end)
        return fail(Stage::symbol, "has a moduledata and a .gopclntab that disagree on where the Go text ends");
    if (!elf.is_code(start, *end)) return fail(Stage::symbol, "has a function table that reaches outside its code");
    if (auto checked = detail::check_text_start(elf, *functions, start); !checked)
        return tl::unexpected(std::move(checked).error());
    return start;
}

// For those who have the table in memory.
inline Result<std::uint64_t> find_text_start(const ElfFile& elf, const PclntabHeader& header, const Pclntab&) {
    return find_text_start(elf, header);
}

}  // namespace otel_ebpf::go
