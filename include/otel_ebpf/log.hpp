// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Log: one process-wide callback for messages that no return value carries.
#pragma once

#include <functional>
#include <mutex>
#include <string_view>
#include <utility>

namespace otel_ebpf {

enum class LogLevel { debug, info, warning, error };

using LogCallback = std::function<void(LogLevel, std::string_view)>;

namespace detail {
struct LogState {
    std::mutex mutex;
    LogCallback callback;
};
inline LogState& log_state() {
    static LogState state;
    return state;
}
}  // namespace detail

// Replaces the callback (default: none, messages are discarded). Thread-safe.
inline void set_log(LogCallback callback) {
    std::scoped_lock lock(detail::log_state().mutex);
    detail::log_state().callback = std::move(callback);
}

inline void log(LogLevel level, std::string_view message) {
    std::scoped_lock lock(detail::log_state().mutex);
    if (detail::log_state().callback) detail::log_state().callback(level, message);
}

}  // namespace otel_ebpf
