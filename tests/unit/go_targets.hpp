// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The Go servers that tests inspect, as pairs of a plain executable and its stripped twin.
#pragma once

#include <string>
#include <vector>

#include "../test.hpp"

struct GoTarget {
    std::string release;  // "1.26"
    std::string plain;    // path
    std::string stripped;
};

inline std::vector<GoTarget> go_targets() {
    std::vector<GoTarget> targets;
    for (const std::string release : {"1.19", "1.24", "1.26", "1.27"}) {
        GoTarget target{release, test_target("server-go" + release), test_target("server-go" + release + "-stripped")};
        if (!target.plain.empty() && !target.stripped.empty()) targets.push_back(target);
    }
    return targets;
}
