// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// StringTable: every distinct text once, by number; number 0 is the empty text, as pprof and OTLP profiles want it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <otel_ebpf/export/text.hpp>

namespace otel_ebpf::detail {

// Protobuf strings are UTF-8: each byte that is not becomes U+FFFD.
[[nodiscard]] inline std::string valid_utf8(std::string_view bytes) {
    std::string text;
    append_characters(text, bytes, plain_on_terminal,
                      [&text](std::uint32_t, std::string_view character) { text += character; });
    return text;
}

class StringTable {
public:
    StringTable() { index(""); }

    std::int32_t index(std::string_view bytes) {
        std::string text = valid_utf8(bytes);
        const auto [position, is_new] = numbers_.try_emplace(text, static_cast<std::int32_t>(texts_.size()));
        if (is_new) texts_.push_back(std::move(text));
        return position->second;
    }
    [[nodiscard]] const std::vector<std::string>& texts() const { return texts_; }

private:
    std::vector<std::string> texts_;
    std::unordered_map<std::string, std::int32_t> numbers_;
};

}  // namespace otel_ebpf::detail
