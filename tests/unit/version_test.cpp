// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Version and VersionRange: what Go writes into executables, and how it sorts.
#include <otel_ebpf/version.hpp>
#include <otel_ebpf/version_info.hpp>

#include "test.hpp"

using otel_ebpf::Version;

TEST_CASE("version: go releases and module versions parse") {
    CHECK(Version::parse("go1.26.8") == Version{1, 26, 8});
    CHECK(Version::parse("go1.26") == Version{1, 26, 0});
    CHECK(Version::parse("v1.78.0") == Version{1, 78, 0});
    CHECK(Version::parse("go1.24.1 X:nocoverageredesign") == Version{1, 24, 1});
    CHECK(Version::parse("go1.24.1-X:noswissmap") == Version{1, 24, 1});
    CHECK(Version::parse("v2.0.0+incompatible") == Version{2, 0, 0});
}

TEST_CASE("version: unknown code has no version") {
    CHECK_FALSE(Version::parse("(devel)"));
    CHECK_FALSE(Version::parse("v1.2.3+dirty"));
    CHECK_FALSE(Version::parse(""));
    CHECK_FALSE(Version::parse("go1"));
    CHECK_FALSE(Version::parse("v0.0.0-20240102030405-abcdef012345"));
    CHECK_FALSE(Version::parse("v1.2.4-0.20240102030405-abcdef012345"));
    CHECK_FALSE(Version::parse("v1.99999999999999999999.0"));
}

TEST_CASE("version: a pre-release sorts before its release") {
    const auto candidate = Version::parse("go1.27rc1");
    REQUIRE(candidate);
    CHECK_FALSE(candidate->is_release);
    CHECK(*candidate < Version{1, 27, 0});
    CHECK(*candidate > Version{1, 26, 99});
}

TEST_CASE("version: ranges are closed below and open above, and hold the pre-releases of their first version") {
    const auto range = otel_ebpf::version_between({1, 19, 0}, {1, 24, 0});
    CHECK(range.contains({1, 19, 0}));
    CHECK(range.contains({1, 23, 12}));
    CHECK_FALSE(range.contains({1, 24, 0}));
    CHECK(otel_ebpf::from_version(1, 27).contains(*Version::parse("go1.27rc1")));
    CHECK_FALSE(otel_ebpf::below_version(1, 27).contains(*Version::parse("go1.27rc1")));
    CHECK(otel_ebpf::VersionRange{}.contains({0, 0, 1}));
}

TEST_CASE("version: the library's own version is a release number") {
    const auto version = Version::parse(otel_ebpf::library_version);
    REQUIRE(version);
    CHECK(version->is_release);
}
