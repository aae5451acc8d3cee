// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// FactQuery: what the BPF side may ask about an executable.
#pragma once

#include <cstdint>
#include <string_view>

#include <otel_ebpf/version.hpp>

namespace otel_ebpf {

enum class FactKind : std::uint8_t {
    member_offset,
    type_size,
    symbol_address,
    type_address,
    version_flag,
    experiment_flag,
};

// What the BPF side needs to know about an executable.
struct FactQuery {
    FactKind kind = FactKind::member_offset;
    std::string_view module;     // "std" or a module path
    std::string_view package;    // import path; empty for symbol_address
    std::string_view type;       // type name, or symbol name, or experiment
    std::string_view member;     // may be nested: "pat.str"
    VersionRange versions = {};  // of the module; version_flag: 1 inside the range, 0 outside
    // Layouts: in a minor release that the offset table does not have, and without DWARF, take the value if it is the
    // same in every release of the table.
    bool assume_unmoved = false;

    friend constexpr bool operator==(const FactQuery&, const FactQuery&) = default;
};

constexpr FactQuery offset_of(std::string_view module, std::string_view package, std::string_view type,
                              std::string_view member) {
    return {FactKind::member_offset, module, package, type, member, {}};
}
constexpr FactQuery size_of(std::string_view module, std::string_view package, std::string_view type) {
    return {FactKind::type_size, module, package, type, {}, {}};
}
// Lets the answer for a new minor release be the value that has never changed so far; the plan marks it `assumed`.
constexpr FactQuery assume_unmoved(FactQuery layout) {
    layout.assume_unmoved = true;
    return layout;
}
constexpr FactQuery address_of_symbol(std::string_view symbol) {
    return {FactKind::symbol_address, {}, {}, symbol, {}, {}};
}
constexpr FactQuery address_of_type(std::string_view package, std::string_view type) {
    return {FactKind::type_address, {}, package, type, {}, {}};
}
constexpr FactQuery version_in(std::string_view module, VersionRange versions) {
    return {FactKind::version_flag, module, {}, {}, {}, versions};
}

// 1 where Go was told GOEXPERIMENT=NAME, else 0. What a release has by default is not named in its builds.
constexpr FactQuery built_with_experiment(std::string_view name) {
    return {FactKind::experiment_flag, "std", {}, name, {}, {}};
}

}  // namespace otel_ebpf
