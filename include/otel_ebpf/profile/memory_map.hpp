// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// MemoryMap: the executable mappings of a process, from /proc/PID/maps.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <otel_ebpf/process_maps.hpp>

namespace otel_ebpf::profile {

class MemoryMap {
public:
    static MemoryMap parse(std::string_view text) {
        MemoryMap map;
        map.ranges_ = parse_process_maps(text);
        std::erase_if(map.ranges_, [](const ProcessMapping& range) { return !range.executable; });
        return map;
    }

    [[nodiscard]] const std::vector<ProcessMapping>& ranges() const { return ranges_; }

    // The index of the mapping that holds an address; ranges().size() when none does.
    [[nodiscard]] std::size_t index_at(std::uint64_t address) const {
        const auto next = std::ranges::upper_bound(ranges_, address, {}, &ProcessMapping::start);
        if (next == ranges_.begin() || address >= (next - 1)->limit) return ranges_.size();
        return static_cast<std::size_t>(next - ranges_.begin()) - 1;
    }

private:
    std::vector<ProcessMapping> ranges_;  // by address
};

}  // namespace otel_ebpf::profile
