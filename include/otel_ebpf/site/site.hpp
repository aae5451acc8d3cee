// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Vocabulary of the site selector: which instruction of a function a uprobe goes to, and what it costs there.
#pragma once

#include <charconv>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <otel_ebpf/abi.hpp>
#include <otel_ebpf/error.hpp>

namespace otel_ebpf::site {

enum class Arch : std::uint8_t { x86_64, aarch64, other };

// From e_machine of an ELF header.
constexpr Arch arch_of_elf_machine(std::uint16_t e_machine) {
    switch (e_machine) {
        case 62: return Arch::x86_64;    // EM_X86_64, System V gABI
        case 183: return Arch::aarch64;  // EM_AARCH64
        default: return Arch::other;
    }
}

constexpr std::string_view to_string(Arch arch) {
    switch (arch) {
        case Arch::x86_64: return "x86-64";
        case Arch::aarch64: return "arm64";
        case Arch::other: return "other";
    }
    return "unknown";
}

// What a hit costs: the kernel emulates the instruction after one trap, or single-steps a copy of it. Stepping costs
// about twice as much on bare metal and twenty times as much in a virtual machine.
enum class CostClass : std::uint8_t { emulated, stepped };

constexpr std::string_view to_string(CostClass cost) {
    return cost == CostClass::emulated ? "emulated" : "stepped";
}

// What the BPF program must test before it counts a hit. stack_check: the site is the conditional jump of the Go stack
// check; a taken jump grows the stack and runs the function again from its start.
enum class FlagsFilter : std::uint8_t { none, stack_check };

constexpr std::string_view to_string(FlagsFilter filter) {
    return filter == FlagsFilter::none ? "none" : "stack check";
}

// How a site was found. R1 to R5 are the order in which end sites are tried; R5 is "none".
enum class Rule : std::uint8_t {
    stack_check_jump,    // entry: the conditional jump of the stack check
    entry_push,          // entry: the function begins with a push
    straight_line_scan,  // entry: first emulated instruction on the straight line from the entry
    slow_entry,          // entry: the first instruction, single-stepped
    next_call,           // R1: entry of the function that is always called next
    after_call,          // R2: in the caller, after the call
    tail,                // R3: in the function, right before each exit
    every_return,        // R4: every return instruction; single-stepped on x86-64, emulated on arm64
};

constexpr std::string_view to_string(Rule rule) {
    switch (rule) {
        case Rule::stack_check_jump: return "stack check jump";
        case Rule::entry_push: return "entry push";
        case Rule::straight_line_scan: return "straight line scan";
        case Rule::slow_entry: return "slow entry";
        case Rule::next_call: return "next call (R1)";
        case Rule::after_call: return "after call (R2)";
        case Rule::tail: return "tail (R3)";
        case Rule::every_return: return "every return (R4)";
    }
    return "unknown";
}

// The kernel whose emulation rules apply; patch levels don't matter.
struct KernelRelease {
    unsigned major = 0;
    unsigned minor = 0;

    friend constexpr auto operator<=>(const KernelRelease&, const KernelRelease&) = default;

    // Reads "6.18.44-cloud", "6.1" and the like, as uname(2) and users write them.
    static std::optional<KernelRelease> parse(std::string_view text) {
        KernelRelease release;
        const char* const end = text.data() + text.size();
        const auto major = std::from_chars(text.data(), end, release.major);
        if (major.ec != std::errc() || major.ptr == end || *major.ptr != '.') return std::nullopt;
        const auto minor = std::from_chars(major.ptr + 1, end, release.minor);
        if (minor.ec != std::errc()) return std::nullopt;
        return release;
    }

    [[nodiscard]] std::string to_string() const { return std::to_string(major) + "." + std::to_string(minor); }
};

// Bit i: integer register i of the ABI, for arguments at an entry and for results at an end. amd64 order of Go: rax rbx
// rcx rdi rsi r8 r9 r10 r11 (go.googlesource.com/go, src/cmd/compile/abi-internal.md); of System V: arguments rdi rsi
// rdx rcx r8 r9, results rax rdx (gitlab.com/x86-psABIs/x86-64-ABI). arm64: x0 and on, in both. In Go functions g, the
// closure context and the stack pointer are kept intact at every entry site without asking; in native ones the stack
// pointer.
using LiveRegisters = std::uint16_t;
inline constexpr LiveRegisters no_registers = 0;
inline constexpr LiveRegisters all_registers = 0xffff;

// Exactly one function; padding after its last instruction is allowed. Owns nothing.
struct Code {
    std::uint64_t vaddr = 0;
    std::span<const std::byte> bytes = {};
    std::string_view name = {};
    Abi abi = Abi::go;
    // Addresses inside the function to which code outside of it may branch: compilers of C and C++ move what runs
    // rarely away from the rest. Complete for native functions, empty for those of Go, which are in one piece.
    std::span<const std::uint64_t> entered_at = {};
};

// A part of an executable as it is in memory, before relocation. Owns nothing.
struct Section {
    std::uint64_t vaddr = 0;
    std::span<const std::byte> bytes = {};
};

// One chosen instruction.
struct Point {
    std::uint64_t vaddr = 0;
    CostClass cost = CostClass::stepped;
    FlagsFilter filter = FlagsFilter::none;
    Rule rule = Rule::slow_entry;
    std::string why = {};  // a sentence for a stepped site, a few words otherwise
};

// Tells whether a call target is one of runtime.morestack*, which re-run their caller from its first instruction.
using MorestackQuery = std::function<bool(std::uint64_t call_target_vaddr)>;

struct AfterCallOptions {
    bool allow_stepped = false;  // where no emulated site exists, take the instruction right after the call
    // Accept sites that are also reached without the call: the BPF program must tell by itself, for example because
    // only an open operation can end.
    bool allow_joins = false;
};

namespace detail {

inline std::string hex(std::uint64_t value) {
    char text[16];
    const auto end = std::to_chars(text, text + sizeof(text), value, 16).ptr;
    return "0x" + std::string(text, end);
}

inline std::string at(std::uint64_t offset) {
    return "+" + std::to_string(offset);
}

// "choose a WHAT in NAME at OFFSET: REASON"
inline Failure refuse(std::string_view what, const Code& code, std::uint64_t offset, std::string_view reason) {
    const std::string name = code.name.empty() ? "function " + hex(code.vaddr) : std::string(code.name);
    return fail(Stage::symbol,
                "choose " + std::string(what) + " in " + name + " at " + at(offset) + ": " + std::string(reason));
}

}  // namespace detail
}  // namespace otel_ebpf::site
