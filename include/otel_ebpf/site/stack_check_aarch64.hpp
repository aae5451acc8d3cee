// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The Go stack check on arm64.
#pragma once

#include <cstddef>
#include <optional>

#include <otel_ebpf/site/decode_aarch64.hpp>

namespace otel_ebpf::site::aarch64 {

// The Go stack check at the start of the function. The compiler's forms: ldr, cmp; or ldr, sub, cmp; or ldr, subs,
// b.lo, cmp; a large size of the frame is first put into x27 (go.googlesource.com/go,
// src/cmd/internal/obj/arm64/obj7.go, stacksplit()).
inline std::optional<StackCheck> stack_check(const Function& function) {
    const auto word = [&](std::size_t index) {
        return index < function.instructions.size() ? function.instructions[index].encoding.word : 0;
    };
    // ldr x16,[x28,#16], or #24 in functions that run on system stacks
    if (word(0) != 0xf9400b90 && word(0) != 0xf9400f90) return std::nullopt;
    constexpr std::size_t longest_size = 4;  // instructions that compute where the frame would end
    constexpr Registers scratch = bit(17) | bit(27);
    constexpr Pattern lower{0xff00001f, 0x54000003};  // b.lo
    StackCheck check;
    std::size_t i = 1;
    for (; i <= longest_size + 1 && i < function.instructions.size(); ++i) {
        const Instruction& instruction = function.instructions[i];
        if (instruction.flow == Flow::next && instruction.writes != 0 && (instruction.writes & ~scratch) == 0) continue;
        if (!lower.matches(instruction.encoding.word) || check.overflow_jump) break;
        check.overflow_jump = i;
    }
    const bool small = i == 1 && word(i) == 0xeb3063ff;                                       // cmp sp,x16
    const bool large = i > 1 && word(i) == 0xeb10023f;                                        // cmp x17,x16
    if ((!small && !large) || (word(i + 1) & 0xff00001f) != 0x54000009) return std::nullopt;  // b.ls
    check.jump = i + 1;
    return check;
}

}  // namespace otel_ebpf::site::aarch64
