// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The identifiers of a mapped file that OTLP profiles carry (process.executable.build_id.*).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include <otel_ebpf/byte_source.hpp>
#include <otel_ebpf/detail/sha256.hpp>
#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>

namespace otel_ebpf::profile {

struct BuildIds {
    std::string gnu;      // hex of the note; empty: none
    std::string go;       // empty: none
    std::string htlhash;  // hex
};

// Hex of the first 16 bytes of SHA-256(first 4,096 bytes, last 4,096 bytes, length as 8 bytes, most significant first).
[[nodiscard]] inline Result<std::string> htlhash_of(const ByteSource& source) {
    constexpr std::uint64_t part_bytes = 4096;
    const std::uint64_t size = source.size(), part = std::min(size, part_bytes);
    otel_ebpf::detail::Sha256 hash;
    for (const std::uint64_t offset : {std::uint64_t{0}, size - part}) {
        auto bytes = source.read(offset, part);
        if (!bytes) return Failure(std::move(bytes).error());
        hash.add(std::as_const(*bytes).bytes());
    }
    std::array<std::byte, 8> length{};
    for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<std::byte>(size >> (56 - 8 * i));
    hash.add(length);
    std::string text;
    const auto digest = hash.finish();
    for (const std::byte byte : std::span(digest).first(16)) {
        text += "0123456789abcdef"[std::to_integer<unsigned>(byte) >> 4];
        text += "0123456789abcdef"[std::to_integer<unsigned>(byte) & 0xf];
    }
    return text;
}

}  // namespace otel_ebpf::profile
