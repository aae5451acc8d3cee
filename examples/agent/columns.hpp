// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Text in columns of a terminal: how wide it is, cut and padded.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace agent {

struct Glyph {
    std::size_t bytes = 0;
    std::size_t columns = 0;
};

// The first character, or colour (ESC [ ... m), of non-empty valid UTF-8. East Asian text and most emoji take two
// columns: one range stands in for Unicode's table, since a wrong guess costs only a crooked column.
inline Glyph first_glyph(std::string_view text) {
    const auto lead = static_cast<std::uint8_t>(text.front());
    if (lead == 0x1b) return {std::min(text.find('m'), text.size() - 1) + 1, 0};
    const std::size_t bytes = lead < 0xc0 ? 1 : std::min<std::size_t>(text.size(), std::countl_one(lead));
    const std::string_view character = text.substr(0, bytes);
    const bool is_wide = bytes > 1 && character >= "\u2e80" && character != "\ufffd";
    return {bytes, is_wide ? 2U : 1U};
}

inline std::size_t columns_of(std::string_view text) {
    std::size_t columns = 0;
    while (!text.empty()) {
        const Glyph glyph = first_glyph(text);
        columns += glyph.columns;
        text.remove_prefix(glyph.bytes);
    }
    return columns;
}

// Appends `text`, cut to `columns` with "…" at its end. A cut text ends without colours.
inline void append_cut(std::string& out, std::string_view text, std::size_t columns) {
    if (columns_of(text) <= columns) {
        out += text;
        return;
    }
    if (columns == 0) return;
    bool has_colors = false;
    for (std::size_t used = 0;;) {
        const Glyph glyph = first_glyph(text);
        if (used + glyph.columns > columns - 1) break;
        has_colors |= glyph.columns == 0;
        used += glyph.columns;
        out += text.substr(0, glyph.bytes);
        text.remove_prefix(glyph.bytes);
    }
    out += "…";
    if (has_colors) out += "\x1b[0m";
}

// The same, filled up with spaces.
inline void append_cell(std::string& out, std::string_view text, std::size_t columns) {
    append_cut(out, text, columns);
    out.append(columns - std::min(columns, columns_of(text)), ' ');
}

}  // namespace agent
