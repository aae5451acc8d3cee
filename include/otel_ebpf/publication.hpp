// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Publication: how the current span of a process' threads gets into the shared context map.
#pragma once

#include <cstdint>
#include <string_view>

#include <otel_ebpf/types.h>

namespace otel_ebpf {

// As enum oe_publication, which the BPF side reads.
enum class Publication : std::uint8_t {
    off = OE_PUBLISH_OFF,
    jit = OE_PUBLISH_JIT,
    eager = OE_PUBLISH_EAGER,
};

constexpr std::string_view to_string(Publication publication) {
    switch (publication) {
        case Publication::off: return "off";
        case Publication::jit: return "jit";
        case Publication::eager: return "eager";
    }
    return "unknown";
}

}  // namespace otel_ebpf
