// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Folded stacks: one line per distinct stack, "process;outermost;...;innermost COUNT", which flame graph tools read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include <fmt/core.h>

#include <otel_ebpf/profile/model.hpp>

namespace otel_ebpf::profile {

// The name to show for a frame: its function, "[file+0xOFFSET]" where it is not known, "[unknown]" for location 0.
// Offsets are of the file. Kernel functions have "_[k]" behind their name, as in perf.
[[nodiscard]] inline std::string frame_name(const Profile& profile, std::uint32_t index) {
    const Location& location = profile.locations[index];
    if (!location.function.empty()) return location.function + (location.is_kernel ? "_[k]" : "");
    if (location.is_kernel) return fmt::format("[kernel {:#x}]", location.address);
    const Mapping& mapping = profile.mappings[location.mapping];
    if (index == 0) return "[unknown]";
    if (location.mapping == 0) return fmt::format("[{:#x}]", location.address);
    return fmt::format("[{}+{:#x}]", mapping.path.substr(mapping.path.rfind('/') + 1),
                       location.address - mapping.start + mapping.file_offset);
}

// Lines in the order of their text.
[[nodiscard]] inline std::string to_folded(const Profile& profile) {
    const auto add = [](std::string& line, std::string name) {
        // The two characters that mean something in this format.
        std::ranges::replace(name, ';', ':');
        std::ranges::replace(name, '\n', ' ');
        if (!line.empty()) line += ';';
        line += name;
    };
    std::map<std::string, std::uint64_t> lines;
    for (const Sample& sample : profile.samples) {
        std::string line;
        add(line, profile.processes[sample.process].name);
        const auto& stack = profile.stacks[sample.stack];
        for (auto location = stack.rbegin(); location != stack.rend(); ++location)
            add(line, frame_name(profile, *location));
        lines[line] += sample.count();
    }
    std::string text;
    for (const auto& [line, count] : lines) text += fmt::format("{} {}\n", line, count);
    return text;
}

}  // namespace otel_ebpf::profile
