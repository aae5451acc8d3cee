// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What is asked about a function: the front of an input of the site fuzzer. Its code follows.
#pragma once

#include <cstdint>

#include <otel_ebpf/site/site.hpp>

#include "input.hpp"

struct SiteInput {
    static constexpr std::uint64_t vaddr = 0x401000;

    std::uint8_t flags = 0;  // 1: Linux 6.1, 2: native, 4: arm64, 8: two functions
    otel_ebpf::site::LiveRegisters live = 0;
    std::int32_t morestack = 0;  // from the start of the function
    std::int32_t callee = 0;
    std::uint16_t entered_at = 0;  // native: where other code leads to; 0: nowhere

    [[nodiscard]] otel_ebpf::site::Arch arch() const {
        return (flags & 4) != 0 ? otel_ebpf::site::Arch::aarch64 : otel_ebpf::site::Arch::x86_64;
    }
    [[nodiscard]] otel_ebpf::Abi abi() const {
        return (flags & 2) != 0 ? otel_ebpf::Abi::native : otel_ebpf::Abi::go;
    }
    [[nodiscard]] otel_ebpf::site::KernelRelease kernel() const {
        return (flags & 1) != 0 ? otel_ebpf::site::KernelRelease{6, 1} : otel_ebpf::site::KernelRelease{6, 18};
    }
    [[nodiscard]] bool is_split() const { return (flags & 8) != 0; }

    static SiteInput read(Input& input) {
        SiteInput question;
        question.flags = input.number<std::uint8_t>();
        question.live = input.number<std::uint16_t>();
        question.morestack = input.number<std::int32_t>();
        question.callee = input.number<std::int32_t>();
        question.entered_at = input.number<std::uint16_t>();
        return question;
    }
    void write(Seed& seed) const {
        seed.number(flags).number(live).number(morestack).number(callee).number(entered_at);
    }
};
