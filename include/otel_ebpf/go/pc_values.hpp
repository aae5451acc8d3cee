// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Tables of values by code offset, which records of Go functions point to (runtime/symtab.go: pcvalue).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace otel_ebpf::go {

enum class PcValuesEnd : std::uint8_t { whole, stopped, cut, damaged };

// Calls visit(value, end) for each run of code with one value, in order of addresses: the run goes up to `end`, in bytes
// from the start of the function. Stops when it returns false. `cut`: the table goes on behind `bytes`; `damaged`: it
// covers more than `code_bytes`. Every step covers code, so it takes no more steps than the function has bytes.
template <class Visit>
PcValuesEnd for_each_pc_value(std::span<const std::byte> bytes, std::size_t at, std::uint8_t quantum,
                              std::uint64_t code_bytes, Visit&& visit) {
    bool is_cut = false;
    const auto varint = [&]() -> std::optional<std::uint32_t> {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 35; shift += 7) {
            if (at >= bytes.size()) {
                is_cut = true;
                return std::nullopt;
            }
            const auto byte = static_cast<std::uint8_t>(bytes[at++]);
            value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
            if ((byte & 0x80) == 0) return static_cast<std::uint32_t>(value);
        }
        return std::nullopt;
    };
    std::uint32_t value = UINT32_MAX;  // -1
    std::uint64_t end = 0;
    for (bool first = true;; first = false) {
        const auto delta = varint();
        if (!delta) return is_cut ? PcValuesEnd::cut : PcValuesEnd::damaged;
        if (*delta == 0 && !first) return PcValuesEnd::whole;
        value += (*delta & 1) != 0 ? ~(*delta >> 1) : *delta >> 1;  // zigzag
        const auto length = varint();
        if (!length) return is_cut ? PcValuesEnd::cut : PcValuesEnd::damaged;
        end += std::uint64_t{*length} * quantum;
        if (*length == 0 || end > code_bytes) return PcValuesEnd::damaged;
        if (!visit(static_cast<std::int32_t>(value), end)) return PcValuesEnd::stopped;
    }
}

}  // namespace otel_ebpf::go
