// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Untrusted bytes to JSON strings and to text that is safe on a terminal; numbers to decimal.
#pragma once

#include <array>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace otel_ebpf {
namespace detail {

struct CodePoint {
    std::uint32_t value = 0;
    std::uint32_t length = 0;  // bytes; 0: the bytes are not UTF-8
};

// Decodes the first character of non-empty `bytes` (Unicode 15.0, table 3-7: no surrogates, no overlong forms).
constexpr CodePoint decode_utf8(std::string_view bytes) {
    const auto at = [bytes](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
    const std::uint32_t lead = at(0);
    if (lead < 0x80) return {lead, 1};
    const std::uint32_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || bytes.size() < length) return {};
    std::uint32_t value = lead & (0x7fu >> length);
    for (std::uint32_t i = 1; i < length; ++i) {
        if ((at(i) & 0xc0) != 0x80) return {};
        value = value << 6 | (at(i) & 0x3fu);
    }
    constexpr std::uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < smallest[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return {};
    return {value, length};
}

// C0, DEL and C1: what makes a terminal act.
constexpr bool is_control(std::uint32_t character) {
    return character < 0x20 || (character >= 0x7f && character <= 0x9f);
}

// Marks and overrides of writing direction, and line breaks that are not controls: they let text pose as other text.
constexpr bool reorders_text(std::uint32_t character) {
    return character == 0x200e || character == 0x200f || (character >= 0x2028 && character <= 0x202e) ||
           (character >= 0x2066 && character <= 0x2069);
}

using ByteSet = std::array<bool, 256>;

// Bytes that are copied as they are: printable ASCII but for `escaped`.
constexpr ByteSet plain_bytes(std::string_view escaped) {
    ByteSet set{};
    for (std::size_t byte = 0x20; byte < 0x7f; ++byte)
        set[byte] = escaped.find(static_cast<char>(byte)) == std::string_view::npos;
    return set;
}
inline constexpr ByteSet plain_in_json = plain_bytes("\"\\");
inline constexpr ByteSet plain_on_terminal = plain_bytes("");

inline constexpr std::string_view replacement_character = "\xef\xbf\xbd";  // U+FFFD

// Copies runs of `plain` bytes; hands every other character to `other`, each byte that is not UTF-8 as U+FFFD.
template <class Other>
void append_characters(std::string& out, std::string_view bytes, const ByteSet& plain, Other other) {
    while (!bytes.empty()) {
        std::size_t run = 0;
        while (run < bytes.size() && plain[static_cast<std::uint8_t>(bytes[run])]) ++run;
        out.append(bytes.data(), run);
        bytes.remove_prefix(run);
        if (bytes.empty()) return;
        const CodePoint character = decode_utf8(bytes);
        if (character.length == 0) out += replacement_character;
        else other(character.value, bytes.substr(0, character.length));
        bytes.remove_prefix(character.length == 0 ? 1 : character.length);
    }
}

inline constexpr std::string_view hex_digits = "0123456789abcdef";

}  // namespace detail

// Appends `bytes` as a quoted JSON string. Any input gives valid UTF-8 JSON: what is not UTF-8 becomes U+FFFD, control
// characters (also DEL and C1, so that the line is safe on a terminal) become \u00XX.
inline void append_json_string(std::string& out, std::string_view bytes) {
    out += '"';
    detail::append_characters(out, bytes, detail::plain_in_json, [&out](std::uint32_t value, std::string_view text) {
        if (value == '"' || value == '\\') {
            out += '\\';
            out += static_cast<char>(value);
        } else if (detail::is_control(value)) {
            out += "\\u00";
            out += detail::hex_digits[value >> 4];
            out += detail::hex_digits[value & 15];
        } else {
            out += text;
        }
    });
    out += '"';
}

// Appends `bytes` for people: control characters as \xNN, what is not UTF-8 or changes the writing direction as U+FFFD.
inline void append_terminal_text(std::string& out, std::string_view bytes) {
    const auto escape = [&out](std::uint32_t value, std::string_view text) {
        if (detail::is_control(value)) {
            out += "\\x";
            out += detail::hex_digits[value >> 4];
            out += detail::hex_digits[value & 15];
        } else {
            out += detail::reorders_text(value) ? detail::replacement_character : text;
        }
    };
    detail::append_characters(out, bytes, detail::plain_on_terminal, escape);
}

template <std::integral T>
void append_number(std::string& out, T value) {
    std::array<char, 24> digits;
    out.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
}

// The shortest text that reads back as `value`. Finite values only.
inline void append_number(std::string& out, double value) {
    std::array<char, 32> digits;
    out.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
}

}  // namespace otel_ebpf
