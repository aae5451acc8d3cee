// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// How Go spells symbols: escaped import paths and vendored copies.
#pragma once

#include <algorithm>
#include <array>
#include <bitset>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace otel_ebpf::go {

// Import path as in symbol and type names: dots of the last element and odd bytes become %xx
// (cmd/internal/objabi.PathToPrefix).
inline std::string escape_path(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    const std::size_t last_element = slash == std::string_view::npos ? 0 : slash + 1;
    std::string escaped;
    for (std::size_t i = 0; i < path.size(); ++i) {
        const auto c = static_cast<unsigned char>(path[i]);
        if (c <= ' ' || c == '%' || c == '"' || c >= 0x7f || (c == '.' && i >= last_element)) {
            escaped += '%';
            escaped += "0123456789abcdef"[c >> 4];
            escaped += "0123456789abcdef"[c & 0xf];
        } else {
            escaped += path[i];
        }
    }
    return escaped;
}

// True for `wanted` itself and for the copy of it in any vendor folder.
constexpr bool is_name_or_vendored(std::string_view name, std::string_view wanted) {
    if (!name.ends_with(wanted)) return false;
    const std::string_view folder = name.substr(0, name.size() - wanted.size());
    return folder.empty() || folder == "vendor/" || folder.ends_with("/vendor/");
}

// Tests many symbols against few names; most are refused by their last four bytes.
class NameSet {
public:
    explicit NameSet(std::span<const std::string_view> names) : names_(names.begin(), names.end()) {
        for (const std::string_view name : names_) {
            if (name.size() < tail_bytes) has_short_names_ = true;
            else tails_.set(tail_hash(name));
        }
    }

    // True when a longer name may have a wanted one at its end.
    [[nodiscard]] bool ends_in_one(std::string_view name) const {
        return may_contain(name) &&
               std::ranges::any_of(names_, [&](std::string_view wanted) { return name.ends_with(wanted); });
    }

    [[nodiscard]] bool contains(std::string_view name) const {
        if (!may_contain(name)) return false;
        return std::ranges::any_of(names_, [&](std::string_view wanted) { return is_name_or_vendored(name, wanted); });
    }

private:
    static constexpr std::size_t tail_bytes = 4;
    static constexpr unsigned hash_bits = 12;

    [[nodiscard]] bool may_contain(std::string_view name) const {
        return has_short_names_ || (name.size() >= tail_bytes && tails_.test(tail_hash(name)));
    }

    static std::size_t tail_hash(std::string_view name) {
        std::uint32_t tail;
        std::memcpy(&tail, name.data() + name.size() - tail_bytes, tail_bytes);
        return (tail * 0x9e3779b1u) >> (32 - hash_bits);  // Knuth: multiplicative hashing
    }

    std::vector<std::string_view> names_;
    std::bitset<1u << hash_bits> tails_;
    bool has_short_names_ = false;
};

}  // namespace otel_ebpf::go
