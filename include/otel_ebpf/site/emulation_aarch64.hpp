// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Which arm64 instructions a kernel emulates under a uprobe, single-steps, or must not be asked to probe.
#pragma once

#include <cstdint>

#include <otel_ebpf/site/function.hpp>

namespace otel_ebpf::site::aarch64 {

// What decides about the treatment of an instruction.
struct Encoding {
    std::uint32_t word = 0;
    static constexpr std::uint8_t length = 4;
};

// Every instruction whose bits under MASK are those of VALUE.
struct Pattern {
    std::uint32_t mask = 0;
    std::uint32_t value = 0;

    [[nodiscard]] constexpr bool matches(std::uint32_t word) const { return (word & mask) == value; }
};

// Arm Architecture Reference Manual (DDI 0487), C4.1: A64 instruction set encoding.
inline constexpr Pattern b{0xfc000000, 0x14000000}, bl{0xfc000000, 0x94000000}, b_cond{0xff000010, 0x54000000},
    compare_and_branch{0x7e000000, 0x34000000}, test_and_branch{0x7e000000, 0x36000000}, br{0xfffffc1f, 0xd61f0000},
    blr{0xfffffc1f, 0xd63f0000}, ret{0xfffffc1f, 0xd65f0000}, adr{0x9f000000, 0x10000000}, adrp{0x9f000000, 0x90000000},
    nop{0xffffffff, 0xd503201f}, hint{0xfffff01f, 0xd503201f}, load_literal{0x3b000000, 0x18000000},
    exclusive{0x3f000000, 0x08000000}, branch_or_system{0x1c000000, 0x14000000}, system{0xff000000, 0xd5000000};

// The first row that matches an instruction decides; an instruction without a row is single-stepped.
struct EmulationRow {
    Pattern pattern = {};
    Treatment treatment = Treatment::refused;
    KernelRelease from = {};
};

// Linux, arch/arm64/kernel/probes/decode-insn.c. Branches and adr are simulated since uprobes came to arm64, in 4.10.
// clang-format off
inline constexpr EmulationRow emulation_table[] = {
    {.pattern = b, .treatment = Treatment::emulated, .from = {4, 10}},
    {.pattern = bl, .treatment = Treatment::emulated, .from = {4, 10}},
    {.pattern = b_cond, .treatment = Treatment::emulated, .from = {4, 10}},
    {.pattern = compare_and_branch, .treatment = Treatment::emulated, .from = {4, 10}},
    {.pattern = test_and_branch, .treatment = Treatment::emulated, .from = {4, 10}},
    {.pattern = br, .treatment = Treatment::emulated, .from = {4, 10}},
    {.pattern = blr, .treatment = Treatment::emulated, .from = {4, 10}},
    {.pattern = ret, .treatment = Treatment::emulated, .from = {4, 10}},
    {.pattern = adr, .treatment = Treatment::emulated, .from = {4, 10}},
    {.pattern = adrp, .treatment = Treatment::emulated, .from = {4, 10}},
    {.pattern = nop, .treatment = Treatment::emulated, .from = {6, 13}},

    // Hints: the kernel steps nop, bti and pointer authentication (CRm 0 to 4), none that waits.
    {.pattern = nop, .treatment = Treatment::stepped},
    {.pattern = {0xffffff3f, 0xd503241f}, .treatment = Treatment::stepped},  // bti
    {.pattern = {0xffffffff, 0xd50320ff}, .treatment = Treatment::stepped},  // xpaclri
    {.pattern = {0xffffff3f, 0xd503211f}, .treatment = Treatment::stepped},  // pacia1716, pacib1716, aut...
    {.pattern = {0xffffff1f, 0xd503231f}, .treatment = Treatment::stepped},  // paciaz, paciasp, ..., autibsp
    {.pattern = hint},
    // Reading a system register is stepped, but for the interrupt mask (DAIF); writing one is refused.
    {.pattern = {0xffffffe0, 0xd53b4220}},
    {.pattern = {0xfff00000, 0xd5300000}, .treatment = Treatment::stepped},
    {.pattern = {0xfff8f01f, 0xd500401f}},
    {.pattern = {0xfff00000, 0xd5100000}},
    {.pattern = system, .treatment = Treatment::stepped},
    {.pattern = branch_or_system},  // exceptions, returns from them, authenticated branches, compare and branch (2024)

    // Read relative to their place, which a copy is not at. Kernels take those of vector registers, wrongly.
    {.pattern = load_literal},
    // A trap between the two halves of an exclusive access makes the second fail for ever.
    {.pattern = exclusive},
    // Parts of a memory copy, which the kernel may have to restart at the first of them.
    {.pattern = {0x3b200c00, 0x19000400}},
    {.pattern = {0xffff0000, 0x00000000}},  // udf
};
// clang-format on

// How KERNEL treats a uprobe on this instruction.
constexpr Treatment treatment(const Encoding& encoding, KernelRelease kernel) {
    for (const EmulationRow& row : emulation_table)
        if (row.pattern.matches(encoding.word) && row.from <= kernel) return row.treatment;
    return Treatment::stepped;
}

}  // namespace otel_ebpf::site::aarch64
