// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Labels of the application as encoders write them: keys that are there once, and none of our own.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/detail/string_table.hpp>
#include <otel_ebpf/profile/model.hpp>

namespace otel_ebpf::profile {

// In front of a key that is empty or one of ours; the OpenTelemetry eBPF profiler has it in front of every key.
inline constexpr std::string_view label_prefix = "process.context.label.";

// The labels of a sample as UTF-8, in their order. Of labels with the same key the first counts. An application can't
// pass off a label as one of the `reserved` keys, which the encoder writes itself.
[[nodiscard]] inline std::vector<std::pair<std::string, std::string>> labels_to_write(
    const Sample& sample, std::span<const std::string_view> reserved) {
    std::vector<std::pair<std::string, std::string>> labels;
    for (const auto& [key, value] : sample.labels) {
        std::string name = otel_ebpf::detail::valid_utf8(key);
        if (name.empty() || std::ranges::find(reserved, name) != reserved.end()) name.insert(0, label_prefix);
        if (std::ranges::find(labels, name, &std::pair<std::string, std::string>::first) == labels.end())
            labels.emplace_back(std::move(name), otel_ebpf::detail::valid_utf8(value));
    }
    return labels;
}

}  // namespace otel_ebpf::profile
