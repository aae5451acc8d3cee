// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Version and VersionRange: Go releases and module versions, pre-release aware.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace otel_ebpf {

// MAJOR.MINOR.PATCH. A pre-release sorts before its release (1.27rc1 < 1.27.0).
struct Version {
    std::uint32_t major = 0;
    std::uint32_t minor = 0;
    std::uint32_t patch = 0;
    bool is_release = true;

    friend constexpr auto operator<=>(const Version&, const Version&) = default;

    // Accepts "go1.26.8", "1.26", "v1.78.0-dev", "1.27rc1"; cuts "-X:..." and " X:..." (GOEXPERIMENT) and "+...".
    // nullopt for "(devel)", pseudo-versions (v0.0.0-DATE-HASH) and changed checkouts (v1.2.3+dirty): their code is
    // unknown.
    static constexpr std::optional<Version> parse(std::string_view text) {
        if (text.ends_with("+dirty")) return std::nullopt;
        if (text.starts_with("go")) text.remove_prefix(2);
        else if (text.starts_with("v")) text.remove_prefix(1);
        for (const std::string_view cut : {std::string_view("-X:"), std::string_view(" "), std::string_view("+")})
            text = text.substr(0, text.find(cut));
        Version version;
        std::uint32_t* const parts[] = {&version.major, &version.minor, &version.patch};
        int count = 0;
        while (count < 3) {
            const std::size_t before = text.size();
            std::uint64_t number = 0;
            while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
                number = number * 10 + static_cast<std::uint64_t>(text.front() - '0');
                if (number > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
                text.remove_prefix(1);
            }
            if (text.size() == before) return std::nullopt;
            *parts[count++] = static_cast<std::uint32_t>(number);
            if (text.empty() || text.front() != '.') break;
            text.remove_prefix(1);
        }
        if (count < 2) return std::nullopt;
        if (text.empty()) return version;
        if (is_pseudo(text)) return std::nullopt;
        version.is_release = false;
        return version;
    }

    [[nodiscard]] std::string to_string() const {
        return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch) +
               (is_release ? "" : "-pre");
    }

private:
    // "-0.20240102030405-abcdef012345" or "-20240102030405-abcdef012345"
    static constexpr bool is_pseudo(std::string_view suffix) {
        std::size_t digits = 0;
        for (const char c : suffix) {
            digits = c >= '0' && c <= '9' ? digits + 1 : 0;
            if (digits == 14) return true;
        }
        return false;
    }
};

// Closed below, open above; default: every version.
struct VersionRange {
    Version from{0, 0, 0, false};
    Version below{std::numeric_limits<std::uint32_t>::max(), 0, 0, true};

    [[nodiscard]] constexpr bool contains(const Version& version) const { return from <= version && version < below; }
    friend constexpr bool operator==(const VersionRange&, const VersionRange&) = default;
};

constexpr VersionRange from_version(std::uint32_t major, std::uint32_t minor, std::uint32_t patch = 0) {
    return {{major, minor, patch, false}, VersionRange{}.below};
}
constexpr VersionRange below_version(std::uint32_t major, std::uint32_t minor, std::uint32_t patch = 0) {
    return {VersionRange{}.from, {major, minor, patch, false}};
}
constexpr VersionRange version_between(Version from, Version below) { return {from, below}; }

}  // namespace otel_ebpf
