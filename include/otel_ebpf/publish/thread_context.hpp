// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ThreadScope: tells profilers and eBPF tools which span the current thread works for (OTEP 4947).
//
// In exactly one source file of a program or library, write OTEL_EBPF_DEFINE_THREAD_CONTEXT. The variable must be found
// from outside: compile that file with -mtls-dialect=gnu2 (GCC 12+ on x86_64; the default on aarch64) where the linker and
// libc know TLSDESC; link an executable with -rdynamic or -Wl,--export-dynamic-symbol=otel_thread_ctx_v1. Publish a
// process context with thread_schema "tlsdesc_v1_dev" too: readers look for the variable only then.
//
// Needs nothing but C++20; the rest of the library is not required in the program that publishes.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

// __thread, not thread_local: that would be reached through a function that may run constructors.
#define OTEL_EBPF_DEFINE_THREAD_CONTEXT                                             \
    extern "C" {                                                                    \
    __attribute__((visibility("default"), used))                                    \
    __thread otel_ebpf::publish::ThreadRecord* otel_thread_ctx_v1 = nullptr;        \
    }

namespace otel_ebpf::publish {

// What readers see: bytes in memory order, no padding.
struct ThreadRecord {
    static constexpr std::size_t max_attribute_bytes = 612;  // 640 in all, as recommended

    std::array<std::uint8_t, 16> trace_id{};
    std::array<std::uint8_t, 8> span_id{};
    std::uint8_t valid = 0;
    std::uint8_t trace_flags = 0;
    std::uint16_t attribute_bytes = 0;
    std::array<std::uint8_t, max_attribute_bytes> attributes{};
};
static_assert(sizeof(ThreadRecord) == 640 && alignof(ThreadRecord) >= 2);
static_assert(offsetof(ThreadRecord, valid) == 24 && offsetof(ThreadRecord, attributes) == 28);

}  // namespace otel_ebpf::publish

extern "C" {
extern __thread otel_ebpf::publish::ThreadRecord* otel_thread_ctx_v1;
}

namespace otel_ebpf::publish {

namespace detail {

// Shows a record of this thread to readers, and gives the one before. Nothing is moved across by the compiler.
inline ThreadRecord* show(ThreadRecord* record) {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    ThreadRecord* const before = otel_thread_ctx_v1;
    *static_cast<ThreadRecord* volatile*>(&otel_thread_ctx_v1) = record;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return before;
}

}  // namespace detail

// While it lives, its thread works for a span; before and after, for the one of the enclosing scope. A reader interrupts
// the thread, as a signal handler does, so that the order of the stores is all that matters. Not copied, not moved to
// another thread; a coroutine must not suspend inside.
//
// The record is complete before the pointer to it is stored, and unchanged while it can be seen, except by set_flags
// and add(), during which the thread shows no context.
class ThreadScope {
public:
    // The ids in W3C byte order, both or neither zero. flags: W3C trace-flags; bit 0 is "sampled".
    ThreadScope(std::span<const std::uint8_t, 16> trace_id, std::span<const std::uint8_t, 8> span_id,
                std::uint8_t flags) {
        std::memcpy(record_.trace_id.data(), trace_id.data(), trace_id.size());
        std::memcpy(record_.span_id.data(), span_id.data(), span_id.size());
        record_.trace_flags = flags;
        record_.valid = 1;
        enclosing_ = detail::show(&record_);
    }
    ~ThreadScope() { detail::show(enclosing_); }
    ThreadScope(const ThreadScope&) = delete;
    ThreadScope& operator=(const ThreadScope&) = delete;

    // An attribute by the index of its key in ProcessDescription::thread_keys. False when there is no room for it.
    bool add(std::uint8_t key, std::string_view value) {
        const std::size_t at = record_.attribute_bytes;
        if (value.size() > 255 || at + 2 + value.size() > record_.attributes.size()) return false;
        ThreadRecord* const shown = detail::show(nullptr);
        record_.attributes[at] = key;
        record_.attributes[at + 1] = static_cast<std::uint8_t>(value.size());
        if (!value.empty()) std::memcpy(record_.attributes.data() + at + 2, value.data(), value.size());
        record_.attribute_bytes = static_cast<std::uint16_t>(at + 2 + value.size());
        detail::show(shown);
        return true;
    }

    // For a decision to sample that comes late.
    void set_flags(std::uint8_t flags) {
        ThreadRecord* const shown = detail::show(nullptr);
        record_.trace_flags = flags;
        detail::show(shown);
    }

private:
    ThreadRecord record_;
    ThreadRecord* enclosing_ = nullptr;
};

// Inside it, the thread works for no span: for a pool's own work in the middle of a request.
class ThreadPause {
public:
    ThreadPause() : shown_(detail::show(nullptr)) {}
    ~ThreadPause() { detail::show(shown_); }
    ThreadPause(const ThreadPause&) = delete;
    ThreadPause& operator=(const ThreadPause&) = delete;

private:
    ThreadRecord* shown_;
};

}  // namespace otel_ebpf::publish
