// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// pprof labels of a goroutine: how a release stores them, and from the struct that BPF filled to text.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/fact.hpp>
#include <otel_ebpf/types.h>
#include <otel_ebpf/version.hpp>

namespace otel_ebpf::go {

// The facts behind oe_f_g_labels and oe_f_go_label_list of go_labels.bpf.h.
inline constexpr FactQuery labels_offset_fact = offset_of("std", "runtime", "g", "labels");
inline constexpr FactQuery labels_are_list_fact = version_in("std", from_version(1, 24));

// A text that is not UTF-8 would make the whole record unreadable to others.
[[nodiscard]] constexpr bool is_utf8(std::string_view text) {
    const auto byte = [&text](std::size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U; };
    for (std::size_t i = 0; i < text.size();) {
        const unsigned lead = byte(i);
        const std::size_t size = lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3
                                 : lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
        if (size == 0) return false;
        for (std::size_t k = 1; k < size; ++k)
            if ((byte(i + k) & 0xc0) != 0x80) return false;
        const unsigned next = byte(i + 1);
        // Overlong forms, surrogates, beyond U+10FFFF.
        if ((lead == 0xe0 && next < 0xa0) || (lead == 0xed && next > 0x9f) || (lead == 0xf0 && next < 0x90) ||
            (lead == 0xf4 && next > 0x8f))
            return false;
        i += size;
    }
    return true;
}

struct Labels {
    std::vector<std::pair<std::string, std::string>> pairs;
    std::uint32_t dropped = 0;  // not read, or not UTF-8
    bool cut = false;           // a key or value was too long and is incomplete
};

[[nodiscard]] inline Labels decode_labels(const oe_go_labels& raw) {
    Labels labels;
    labels.cut = raw.cut != 0;
    const std::size_t count = std::min<std::size_t>(raw.count, OE_GO_LABELS);
    if (raw.published > count) labels.dropped = static_cast<std::uint32_t>(raw.published - count);
    const auto text = [](const char* bytes, std::size_t size) {
        std::string out(bytes, ::strnlen(bytes, size));
        // A character that was cut in the middle goes whole.
        for (int lost = 0; out.size() == size - 1 && lost < 3 && !is_utf8(out); ++lost) out.pop_back();
        return out;
    };
    for (std::size_t i = 0; i < count; ++i) {
        std::string key = text(raw.label[i].key, OE_GO_LABEL_KEY);
        std::string value = text(raw.label[i].value, OE_GO_LABEL_VALUE);
        if (is_utf8(key) && is_utf8(value)) labels.pairs.emplace_back(std::move(key), std::move(value));
        else ++labels.dropped;
    }
    return labels;
}

}  // namespace otel_ebpf::go
