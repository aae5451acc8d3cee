// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ProtobufReader: fields of one protobuf message in hostile bytes, one after the other, without exceptions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

namespace otel_ebpf::detail {

// https://protobuf.dev/programming-guides/encoding/
class ProtobufReader {
public:
    enum class Wire : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

    struct Field {
        std::uint32_t number = 0;
        Wire wire = Wire::varint;
        std::uint64_t value = 0;           // of varint, fixed64, fixed32
        std::span<const std::byte> bytes;  // of bytes

        [[nodiscard]] std::string_view text() const {
            return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
        }
    };

    explicit ProtobufReader(std::span<const std::byte> message) : rest_(message) {}

    // The next field; nullopt at the end of the message and where it is malformed.
    std::optional<Field> next() {
        if (rest_.empty() || malformed_) return std::nullopt;
        Field field;
        const auto tag = varint();
        // Field numbers are 1 to 2^29 - 1.
        if (!tag || *tag >> 3 == 0 || *tag >> 3 > 0x1fffffff) return broken();
        field.number = static_cast<std::uint32_t>(*tag >> 3);
        switch (*tag & 7) {
            case 0: field.wire = Wire::varint; break;
            case 1: field.wire = Wire::fixed64; break;
            case 2: field.wire = Wire::bytes; break;
            case 5: field.wire = Wire::fixed32; break;
            default: return broken();  // groups were given up before any message read here was defined
        }
        if (field.wire == Wire::fixed64 || field.wire == Wire::fixed32) {
            const std::size_t size = field.wire == Wire::fixed64 ? 8 : 4;
            if (rest_.size() < size) return broken();
            for (std::size_t i = 0; i < size; ++i)
                field.value |= std::to_integer<std::uint64_t>(rest_[i]) << (8 * i);
            rest_ = rest_.subspan(size);
            return field;
        }
        const auto number = varint();
        if (!number) return broken();
        field.value = *number;
        if (field.wire == Wire::bytes) {
            if (*number > rest_.size()) return broken();
            field.bytes = rest_.first(static_cast<std::size_t>(*number));
            rest_ = rest_.subspan(field.bytes.size());
        }
        return field;
    }

    [[nodiscard]] bool malformed() const { return malformed_; }

private:
    std::optional<Field> broken() {
        malformed_ = true;
        return std::nullopt;
    }

    std::optional<std::uint64_t> varint() {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
            const auto byte = std::to_integer<std::uint64_t>(rest_.front());
            rest_ = rest_.subspan(1);
            value |= (byte & 0x7f) << shift;
            if (byte < 0x80) return value;
        }
        return std::nullopt;
    }

    std::span<const std::byte> rest_;
    bool malformed_ = false;
};

}  // namespace otel_ebpf::detail
