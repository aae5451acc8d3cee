// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Which x86-64 instructions a kernel emulates under a uprobe, single-steps, or must not be asked to probe.
#pragma once

#include <cstdint>
#include <string_view>

#include <otel_ebpf/site/function.hpp>

namespace otel_ebpf::site::x86_64 {

// Legacy prefixes as a set; REX is kept apart.
enum Prefix : std::uint8_t {
    prefix_operand_size = 0x01,  // 66
    prefix_address_size = 0x02,  // 67
    prefix_rep = 0x04,           // f3
    prefix_repne = 0x08,         // f2
    prefix_lock = 0x10,          // f0
    prefix_segment = 0x20,       // 26 2e 36 3e
    prefix_fs_gs = 0x40,         // 64 65
};
using Prefixes = std::uint8_t;

// other: the three-byte maps, VEX, EVEX and XOP.
enum class OpcodeMap : std::uint8_t { one_byte, two_byte, other };

// What decides about the treatment of an instruction.
struct Encoding {
    OpcodeMap map = OpcodeMap::one_byte;
    std::uint8_t opcode = 0;
    std::uint8_t modrm_reg = 0;  // the /digit; 0 without a ModRM byte
    std::uint8_t rex = 0;        // the REX byte, 0 without one
    Prefixes prefixes = 0;
    std::uint8_t length = 0;
};

// REX bytes under which a row holds.
enum class Rex : std::uint8_t { any, none, without_b, with_b, only_b };

// The first row that matches an encoding decides; an instruction without a row is single-stepped.
struct EmulationRow {
    OpcodeMap map = OpcodeMap::one_byte;
    std::uint8_t first = 0;  // opcodes first..last
    std::uint8_t last = 0;
    int modrm_reg = -1;  // -1: any
    Rex rex = Rex::any;
    Prefixes allowed = 0;     // legacy prefixes under which the row holds
    std::uint8_t length = 0;  // 0: any
    Treatment treatment = Treatment::refused;
    KernelRelease from = {};
    KernelRelease below = {~0U, 0};
};

inline constexpr Prefixes any_prefix = 0xff;

// Linux, arch/x86/kernel/uprobes.c. Branches are emulated since 3.16, push since 4.16 (commit e7ed9d9bd037), 0f 1f
// since 6.18. What can't be attached, or must not be, comes first.
// clang-format off
inline constexpr EmulationRow emulation_table[] = {
    // 90 with REX.B is xchg %r8,%rax, yet branch_setup_xol_ops() takes it for a nop: a probe would corrupt the target.
    {.first = 0x90, .last = 0x90, .rex = Rex::with_b, .allowed = any_prefix},
    // From 6.18 this very nop is rewritten into a call that pushes onto the stack of the target; 7.2 moved that to the
    // 10-byte nop (commit 554ba38456da).
    {.map = OpcodeMap::two_byte, .first = 0x1f, .last = 0x1f, .modrm_reg = 0, .length = 5, .from = {6, 18},
     .below = {7, 2}},
    // Rejected by uprobe_init_insn(): port access, software interrupts and iret, hlt, cli and sti, syscall and ud2.
    {.first = 0x6c, .last = 0x6f, .allowed = any_prefix},
    {.first = 0xcc, .last = 0xcf, .allowed = any_prefix},
    {.first = 0xe4, .last = 0xe7, .allowed = any_prefix},
    {.first = 0xec, .last = 0xef, .allowed = any_prefix},
    {.first = 0xf1, .last = 0xf1, .allowed = any_prefix},
    {.first = 0xf4, .last = 0xf4, .allowed = any_prefix},
    {.first = 0xfa, .last = 0xfb, .allowed = any_prefix},
    {.map = OpcodeMap::two_byte, .first = 0x05, .last = 0x0b, .allowed = any_prefix},

    {.first = 0x90, .last = 0x90, .rex = Rex::without_b, .allowed = prefix_operand_size | prefix_rep,
     .treatment = Treatment::emulated, .from = {3, 16}},
    {.map = OpcodeMap::two_byte, .first = 0x1f, .last = 0x1f, .modrm_reg = 0, .rex = Rex::none,
     .allowed = prefix_operand_size, .treatment = Treatment::emulated, .from = {6, 18}},
    {.first = 0x70, .last = 0x7f, .treatment = Treatment::emulated, .from = {3, 16}},
    {.map = OpcodeMap::two_byte, .first = 0x80, .last = 0x8f, .treatment = Treatment::emulated, .from = {3, 16}},
    {.first = 0xe8, .last = 0xe9, .treatment = Treatment::emulated, .from = {3, 16}},
    {.first = 0xeb, .last = 0xeb, .treatment = Treatment::emulated, .from = {3, 16}},
    {.first = 0x50, .last = 0x57, .rex = Rex::none, .treatment = Treatment::emulated, .from = {4, 16}},
    {.first = 0x50, .last = 0x57, .rex = Rex::only_b, .treatment = Treatment::emulated, .from = {4, 16}},

    // Branches with a legacy prefix: -ENOTSUPP with 66, and not worth relying on with another.
    {.first = 0x70, .last = 0x7f, .allowed = any_prefix},
    {.map = OpcodeMap::two_byte, .first = 0x80, .last = 0x8f, .allowed = any_prefix},
    {.first = 0xe8, .last = 0xe9, .allowed = any_prefix},
    {.first = 0xeb, .last = 0xeb, .allowed = any_prefix},
};
// clang-format on

constexpr bool holds(Rex wanted, std::uint8_t rex) {
    const bool b = (rex & 0x01) != 0;
    switch (wanted) {
        case Rex::any: return true;
        case Rex::none: return rex == 0;
        case Rex::without_b: return !b;
        case Rex::with_b: return b;
        case Rex::only_b: return rex == 0x41;
    }
    return false;
}

constexpr bool matches(const EmulationRow& row, const Encoding& encoding, KernelRelease kernel) {
    return row.map == encoding.map && row.first <= encoding.opcode && encoding.opcode <= row.last &&
           (row.modrm_reg < 0 || row.modrm_reg == encoding.modrm_reg) && holds(row.rex, encoding.rex) &&
           (encoding.prefixes & ~row.allowed) == 0 && (row.length == 0 || row.length == encoding.length) &&
           row.from <= kernel && kernel < row.below;
}

// How KERNEL treats a uprobe on this instruction.
constexpr Treatment treatment(const Encoding& encoding, KernelRelease kernel) {
    // uprobe_init_insn() rejects these prefixes on every instruction (is_prefix_bad()), knows no three-byte opcodes and
    // looks up the opcode byte of a VEX instruction in the wrong table.
    if (encoding.map == OpcodeMap::other) return Treatment::refused;
    if ((encoding.prefixes & (prefix_lock | prefix_segment)) != 0) return Treatment::refused;
    for (const EmulationRow& row : emulation_table)
        if (matches(row, encoding, kernel)) return row.treatment;
    return Treatment::stepped;
}

}  // namespace otel_ebpf::site::x86_64
