// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// x86-64 for the rules that choose sites.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <otel_ebpf/site/decode_x86_64.hpp>
#include <otel_ebpf/site/emulation.hpp>
#include <otel_ebpf/site/references_x86_64.hpp>
#include <otel_ebpf/site/stack_check_x86_64.hpp>

namespace otel_ebpf::site::x86_64 {

struct Isa {
    using Encoding = x86_64::Encoding;
    using Instruction = x86_64::Instruction;
    using Function = x86_64::Function;

    static constexpr unsigned go_g = x86_64::go_g;
    static constexpr std::string_view go_g_name = "r14";
    static constexpr std::string_view stack_check_jump_name = "jbe";
    static constexpr unsigned longest_prologue = 8;  // instructions up to and with the site
    static constexpr std::uint32_t longest_prologue_bytes = 48;
    // Between the call of morestack and the jump back lie the reloads of at most 9 integer and 15 float registers.
    static constexpr unsigned longest_reload = 24;
    static constexpr bool emulates_returns = false;  // on any kernel

    static Result<Function> decode(const Code& code, std::string_view what) { return x86_64::decode(code, what); }
    static Treatment treatment(const Encoding& encoding, KernelRelease kernel) {
        return x86_64::treatment(encoding, kernel);
    }
    static Registers kept_at_entry(LiveRegisters arguments, Abi abi) { return x86_64::kept_at_entry(arguments, abi); }
    static Registers kept_results(LiveRegisters results, Abi abi) { return x86_64::kept_results(results, abi); }
    static Registers kept_after_call(LiveRegisters results, Abi abi) { return x86_64::kept_after_call(results, abi); }
    static std::optional<StackCheck> stack_check(const Function& function) { return x86_64::stack_check(function); }
    static bool is_push(const Instruction& instruction) {
        return instruction.encoding.map == OpcodeMap::one_byte && (instruction.encoding.opcode & 0xf8) == 0x50;
    }
    static std::vector<std::uint64_t> possible_references(const Section& text, std::uint64_t target) {
        return x86_64::possible_references(text, target);
    }
    static bool is_padding(const Section& text, std::uint64_t at, std::uint64_t target) {
        return x86_64::is_padding(text, at, target);
    }
    static std::vector<std::uint64_t> entered_from_outside(std::span<const Section> text, std::uint64_t vaddr,
                                                           std::uint64_t size) {
        return x86_64::entered_from_outside(text, vaddr, size);
    }
};

}  // namespace otel_ebpf::site::x86_64
