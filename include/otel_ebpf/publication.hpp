// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Publication: how the current span of a target's threads gets into the shared context map.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <otel_ebpf/types.h>

namespace otel_ebpf {

enum class Publication : std::uint8_t {
    off = OE_PUBLISH_OFF,
    jit = OE_PUBLISH_JIT,      // when a profiler's timer fires, for the time of its interrupt: costs the target nothing
    eager = OE_PUBLISH_EAGER,  // whenever it changes: for readers that are not driven by a cpu-clock timer
};

constexpr std::string_view to_string(Publication publication) {
    switch (publication) {
        case Publication::off: return "off";
        case Publication::jit: return "jit";
        case Publication::eager: return "eager";
    }
    return "unknown";
}

constexpr std::optional<Publication> parse_publication(std::string_view text) {
    for (const Publication mode : {Publication::off, Publication::jit, Publication::eager})
        if (text == to_string(mode)) return mode;
    return std::nullopt;
}

}  // namespace otel_ebpf
