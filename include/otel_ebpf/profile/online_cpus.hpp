// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Which CPUs are online, from the kernel's list format ("0-3,8").
#pragma once

#include <charconv>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <otel_ebpf/error.hpp>

namespace otel_ebpf::profile {

// nullopt when the text is no list of CPUs.
[[nodiscard]] inline std::optional<std::vector<unsigned>> parse_cpu_list(std::string_view text) {
    constexpr unsigned max_cpu = 65535;
    std::vector<unsigned> cpus;
    const auto number = [&text]() -> std::optional<unsigned> {
        unsigned value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc() || value > max_cpu) return std::nullopt;
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        return value;
    };
    while (!text.empty()) {
        const auto first = number();
        if (!first) return std::nullopt;
        auto last = first;
        if (text.starts_with('-')) {
            text.remove_prefix(1);
            last = number();
            if (!last || *last < *first) return std::nullopt;
        }
        for (unsigned cpu = *first; cpu <= *last; ++cpu) cpus.push_back(cpu);
        if (text.empty()) break;
        if (!text.starts_with(',')) return std::nullopt;
        text.remove_prefix(1);
    }
    return cpus;
}

[[nodiscard]] inline Result<std::vector<unsigned>> online_cpus() {
    constexpr const char* path = "/sys/devices/system/cpu/online";
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line))
        return fail(Stage::unsupported, std::string("read ") + path + ": is sysfs mounted?", ENOENT);
    auto cpus = parse_cpu_list(line);
    if (!cpus) return fail(Stage::unsupported, std::string("read ") + path + ": '" + line + "' is no list of CPUs");
    return std::move(*cpus);
}

}  // namespace otel_ebpf::profile
