// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The Go stack check on x86-64.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <optional>

#include <otel_ebpf/site/decode_x86_64.hpp>

namespace otel_ebpf::site::x86_64 {
namespace detail {

inline bool starts_with(const Function& function, const Instruction& instruction,
                        std::initializer_list<unsigned> wanted) {
    if (wanted.size() > instruction.encoding.length) return false;
    return std::equal(wanted.begin(), wanted.end(), function.code.bytes.begin() + instruction.offset,
                      [](unsigned value, std::byte byte) { return value == std::to_integer<unsigned>(byte); });
}

}  // namespace detail

// The Go stack check at the start of the function. The compiler's forms, behind a load of g in assembly functions:
// cmp; or lea, cmp; or mov, sub, jb, cmp (go.googlesource.com/go, src/cmd/internal/obj/x86/obj6.go, stacksplit()).
inline std::optional<StackCheck> stack_check(const Function& function) {
    const auto is = [&](std::size_t index, std::initializer_list<unsigned> bytes) {
        return index < function.instructions.size() &&
               detail::starts_with(function, function.instructions[index], bytes);
    };
    StackCheck check;
    std::size_t i = 0;
    if (is(i, {0x64, 0x4c, 0x8b, 0x34, 0x25})) {  // mov %fs:DISP,%r14
        i += 1;
    } else if ((is(i, {0x49, 0xc7, 0xc6}) || is(i, {0x4c, 0x8b, 0x35})) &&  // mov $DISP,%r14 or mov GOT(%rip),%r14
               is(i + 1, {0x64, 0x4d, 0x8b, 0x36})) {                       // mov %fs:(%r14),%r14
        i += 2;
    }
    unsigned rex = 0x4d;                                                       // the compared register is %r12
    if (is(i, {0x4c, 0x8d, 0x64, 0x24}) || is(i, {0x4c, 0x8d, 0xa4, 0x24})) {  // lea -N(%rsp),%r12
        i += 1;
    } else if (is(i, {0x49, 0x89, 0xe4})) {                                                         // mov %rsp,%r12
        if (!is(i + 1, {0x49, 0x81, 0xec}) && !is(i + 1, {0x49, 0x83, 0xec})) return std::nullopt;  // sub $N,%r12
        if (!is(i + 2, {0x72}) && !is(i + 2, {0x0f, 0x82})) return std::nullopt;                    // jb
        check.overflow_jump = i + 2;
        i += 3;
    } else {
        rex = 0x49;  // %rsp itself
    }
    // cmp 0x10(%r14), or 0x18(%r14) in functions that run on system stacks
    if (!is(i, {rex, 0x3b, 0x66, 0x10}) && !is(i, {rex, 0x3b, 0x66, 0x18})) return std::nullopt;
    if (!is(i + 1, {0x76}) && !is(i + 1, {0x0f, 0x86})) return std::nullopt;  // jbe
    check.jump = i + 1;
    return check;
}

}  // namespace otel_ebpf::site::x86_64
