// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What an answer promises, checked: a broken promise ends the process, which a fuzzer or the parent sees.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <otel_ebpf/error.hpp>

namespace hostile {

inline void promise(bool is_kept, std::string_view text) {
    if (is_kept) return;
    std::fprintf(stderr, "broken promise: %.*s\n", static_cast<int>(text.size()), text.data());
    std::abort();
}

// A failure must say something.
template <class T>
bool worked(const otel_ebpf::Result<T>& result) {
    promise(result.has_value() || !result.error().what.empty(), "every failure has a reason");
    return result.has_value();
}

}  // namespace hostile
