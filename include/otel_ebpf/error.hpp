// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Error and Result: how every recoverable failure is reported.
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>
#include <tl/expected.hpp>
#include <utility>

namespace otel_ebpf {

// The step of the road at which something failed.
enum class Stage { open, load, attach, target, symbol, offset, map, event, unsupported };

constexpr std::string_view to_string(Stage stage) {
    switch (stage) {
        case Stage::open: return "open";
        case Stage::load: return "load";
        case Stage::attach: return "attach";
        case Stage::target: return "target";
        case Stage::symbol: return "symbol";
        case Stage::offset: return "offset";
        case Stage::map: return "map";
        case Stage::event: return "event";
        case Stage::unsupported: return "unsupported";
    }
    return "unknown";
}

// What was tried, on what, why it failed and what to do, as one line in `what`.
struct Error {
    Stage where = Stage::open;
    std::error_code code{};     // empty where no errno is behind the failure
    std::string what{};
    std::string verifier_log{}; // only for Stage::load

    // Puts "CONTEXT: " in front of the message.
    Error in(std::string_view context) && {
        what.insert(0, std::string(context) + ": ");
        return std::move(*this);
    }
};

template <class T>
using Result = tl::expected<T, Error>;

using Failure = tl::unexpected<Error>;

[[nodiscard]] inline Failure fail(Stage where, std::string what, int errno_value = 0) {
    return Failure(Error{where, {errno_value, std::system_category()}, std::move(what), {}});
}

// Appends ": strerror(errno_value)" to the message.
[[nodiscard]] inline Failure fail_errno(Stage where, std::string what, int errno_value = errno) {
    what += ": " + std::system_category().message(errno_value);
    return fail(where, std::move(what), errno_value);
}

}  // namespace otel_ebpf
