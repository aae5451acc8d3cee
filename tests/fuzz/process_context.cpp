// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Any bytes as the payload of a process context, as /proc/PID/maps, and as the memory around a header.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include <otel_ebpf/process_context.hpp>

namespace oe = otel_ebpf;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    if (const auto context = oe::decode_process_context(bytes))
        if (context->thread_keys.size() > oe::max_thread_keys) __builtin_trap();
    const auto maps = oe::parse_process_maps({reinterpret_cast<const char*>(data), size});
    for (const std::uint64_t start : oe::find_process_contexts(maps))
        if (start == UINT64_MAX) __builtin_trap();
    // The bytes are the memory of a process from address 0 on, with a good header in front of them or without.
    for (const bool with_header : {false, true}) {
        oe::ProcessContextHeader header{oe::process_context_signature, 2, static_cast<std::uint32_t>(size), 1, 32};
        const oe::ReadMemory read = [&](std::uint64_t addr, std::span<std::byte> out) -> oe::Result<void> {
            const std::uint64_t skipped = with_header ? sizeof(header) : 0;
            if (with_header && oe::in_range(addr, out.size(), sizeof(header)))
                std::memcpy(out.data(), reinterpret_cast<const std::byte*>(&header) + addr, out.size());
            else if (addr >= skipped && oe::in_range(addr - skipped, out.size(), size)) {
                if (!out.empty()) std::memcpy(out.data(), bytes.data() + (addr - skipped), out.size());
            } else
                return oe::fail(oe::Stage::target, "not mapped", EFAULT);
            return {};
        };
        const auto context = oe::read_process_context(read, 0, 0);
        if (!context && context.error().what.empty()) __builtin_trap();
    }
    return 0;
}
