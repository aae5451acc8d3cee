// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// runtime.load_g on arm64: the code by which Go finds g when C calls it, and by which we learn where g is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include <otel_ebpf/site/decode_aarch64.hpp>

namespace otel_ebpf::go::detail {

// What it tells: the address of runtime.iscgo, without which no TLS is used, and the TLS offset of g that was linked
// in; none where the loader chose one.
struct LoadG {
    std::uint64_t iscgo_vaddr = 0;
    std::optional<std::int64_t> tls_offset = {};
};

inline constexpr std::size_t load_g_before_bytes = 16;  // up to the read of the thread pointer
inline constexpr std::size_t load_g_bytes = 40;         // and all of it

// The function around the read of the thread pointer at offset AT of TEXT, which begins at address VADDR
// (go.googlesource.com/go, src/runtime/tls_arm64.s): adrp x27, [add x27,] ldrsb x0,[x27,...] (iscgo), cbz x0, mrs x0,
// then the offset into x27, and ldr x28,[x0,x27].
inline std::optional<LoadG> load_g_at(std::string_view text, std::uint64_t vaddr, std::size_t at) {
    using site::aarch64::Pattern;
    constexpr Pattern add_x27{0xffc003ff, 0x9100037b}, load_signed{0xffc003ff, 0x39800360},
        load_byte{0xffc003ff, 0x39400360}, skip{0xff00001f, 0xb4000000}, read_thread_pointer{0xffffffff, 0xd53bd040},
        movz_x27{0xff80001f, 0xd280001b}, movk_x27{0xff80001f, 0xf280001b}, load_from_sum{0xffffffff, 0xf87b681c},
        adrp_x27{0x9f00001f, 0x9000001b}, load_slot{0xffc003ff, 0xf940037b};
    using site::aarch64::detail::field;
    LoadG found;
    std::uint64_t x27 = 0;
    bool tests_iscgo = false, reads = false, is_slot = false;
    for (std::size_t i = at - load_g_before_bytes; i + 4 <= text.size() && i < at + load_g_bytes; i += 4) {
        std::uint32_t word = 0;
        std::memcpy(&word, text.data() + i, sizeof(word));
        const unsigned shift = 16 * field(word, 22, 21);
        const std::uint64_t half = std::uint64_t{field(word, 20, 5)} << shift;
        if (adrp_x27.matches(word)) x27 = site::aarch64::detail::made_address(word, vaddr + i);
        else if (add_x27.matches(word)) x27 += field(word, 21, 10);
        else if (movz_x27.matches(word)) x27 = half;
        else if (movk_x27.matches(word)) x27 = (x27 & ~(std::uint64_t{0xffff} << shift)) | half;
        else if (load_slot.matches(word)) is_slot = true;
        else if (!reads && (load_signed.matches(word) || load_byte.matches(word)))
            found.iscgo_vaddr = x27 + field(word, 21, 10);
        else if (!reads && skip.matches(word)) tests_iscgo = found.iscgo_vaddr != 0;
        else if (read_thread_pointer.matches(word)) reads = true;
        else if (load_from_sum.matches(word)) {
            if (!tests_iscgo || !reads) return std::nullopt;
            if (!is_slot) found.tls_offset = static_cast<std::int64_t>(x27);
            return found;
        } else if (reads && !site::aarch64::nop.matches(word)) {
            return std::nullopt;
        }
    }
    return std::nullopt;
}

// The first of these in TEXT.
inline std::optional<LoadG> find_load_g(std::string_view text, std::uint64_t vaddr) {
    using namespace std::string_view_literals;
    constexpr std::string_view read_thread_pointer = "\x40\xd0\x3b\xd5"sv;  // mrs x0,tpidr_el0
    for (std::size_t at = 0; (at = text.find(read_thread_pointer, at)) != std::string_view::npos; ++at) {
        if ((vaddr + at) % 4 != 0 || at < load_g_before_bytes) continue;
        if (auto found = load_g_at(text, vaddr, at)) return found;
    }
    return std::nullopt;
}

}  // namespace otel_ebpf::go::detail
