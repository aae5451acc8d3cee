// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// arm64 for the rules that choose sites.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <otel_ebpf/site/decode_aarch64.hpp>
#include <otel_ebpf/site/references_aarch64.hpp>
#include <otel_ebpf/site/stack_check_aarch64.hpp>

namespace otel_ebpf::site::aarch64 {

struct Isa {
    using Encoding = aarch64::Encoding;
    using Instruction = aarch64::Instruction;
    using Function = aarch64::Function;

    static constexpr unsigned go_g = aarch64::go_g;
    static constexpr std::string_view go_g_name = "x28";
    static constexpr std::string_view stack_check_jump_name = "b.ls";
    static constexpr unsigned longest_prologue = 12;  // instructions up to and with the site
    static constexpr std::uint32_t longest_prologue_bytes = 48;
    // Between the call of morestack and the jump back lie the reloads of at most 16 integer and 16 float registers.
    static constexpr unsigned longest_reload = 34;
    static constexpr bool emulates_returns = true;  // on every kernel

    static Result<Function> decode(const Code& code, std::string_view what) { return aarch64::decode(code, what); }
    static Treatment treatment(const Encoding& encoding, KernelRelease kernel) {
        return aarch64::treatment(encoding, kernel);
    }
    static Registers kept_at_entry(LiveRegisters arguments, Abi abi) { return aarch64::kept_at_entry(arguments, abi); }
    static Registers kept_results(LiveRegisters results, Abi abi) { return aarch64::kept_results(results, abi); }
    static Registers kept_after_call(LiveRegisters results, Abi abi) { return aarch64::kept_after_call(results, abi); }
    static std::optional<StackCheck> stack_check(const Function& function) { return aarch64::stack_check(function); }
    static bool is_push(const Instruction&) { return false; }  // there is none
    static std::vector<std::uint64_t> possible_references(const Section& text, std::uint64_t target) {
        return aarch64::possible_references(text, target);
    }
    // Nops and zeros lead nowhere.
    static bool is_padding(const Section&, std::uint64_t, std::uint64_t) { return false; }
    static std::vector<std::uint64_t> entered_from_outside(std::span<const Section> text, std::uint64_t vaddr,
                                                           std::uint64_t size) {
        return aarch64::entered_from_outside(text, vaddr, size);
    }
};

}  // namespace otel_ebpf::site::aarch64
