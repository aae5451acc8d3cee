// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The test framework (Catch2 v2 or v3) and visible skips.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <cstdio>
#include <cstdlib>
#include <string>

// Ends the test; the summary of scripts/test.sh counts the printed line as a skip.
#define SKIP_TEST(reason)                                                                               \
    do {                                                                                                \
        std::printf("SKIPPED: %s: %s\n", Catch::getResultCapture().getCurrentTestName().c_str(), reason); \
        std::fflush(stdout);                                                                            \
        SUCCEED("skipped");                                                                             \
        return;                                                                                         \
    } while (false)

// Path of a Go test program ("server-go1.24-stripped"); empty when it was not built.
inline std::string test_target(const std::string& name) {
    const char* folder = std::getenv("OTEL_EBPF_TEST_TARGETS");
    if (folder == nullptr) return {};
    std::string path = std::string(folder) + "/" + name;
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) return {};
    std::fclose(file);
    return path;
}
