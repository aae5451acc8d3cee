// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Span, Resource and Sink: what a Probe's to_span fills and what an exporter receives.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <otel_ebpf/trace_context.hpp>

namespace otel_ebpf {

// Numbers as in OTLP.
enum class SpanKind : std::uint8_t { unspecified, internal, server, client, producer, consumer };
enum class StatusCode : std::uint8_t { unset, ok, error };

using Value = std::variant<std::string_view, std::int64_t, double, bool>;

struct Attribute {
    std::string_view key;
    Value value;
};

// Instrumentation scope: which Probe made the span.
struct Scope {
    std::string name;
    std::string version;
};

// Text that lives as long as a batch. Pointers stay valid until clear().
class TextArena {
public:
    // Uninitialised memory for `size` bytes, aligned to 8.
    char* allocate(std::size_t size) {
        size = (size + 7) / 8 * 8;
        if (used_ + size > capacity_) grow(size);
        char* out = current_ + used_;
        used_ += size;
        return out;
    }
    std::string_view copy(std::string_view text) {
        char* out = allocate(text.size());
        if (!text.empty()) std::memcpy(out, text.data(), text.size());
        return {out, text.size()};
    }
    // Keeps the first block, frees the others.
    void clear() {
        if (blocks_.size() > 1) blocks_.resize(1);
        current_ = blocks_.empty() ? nullptr : blocks_.front().get();
        capacity_ = blocks_.empty() ? 0 : block_bytes;
        used_ = 0;
    }

private:
    static constexpr std::size_t block_bytes = 16 * 1024;
    void grow(std::size_t size) {
        const std::size_t bytes = blocks_.empty() || size < block_bytes ? std::max(block_bytes, size) : size;
        blocks_.push_back(std::make_unique<char[]>(bytes));
        current_ = blocks_.back().get();
        capacity_ = bytes;
        used_ = 0;
    }
    std::vector<std::unique_ptr<char[]>> blocks_;
    char* current_ = nullptr;
    std::size_t capacity_ = 0;
    std::size_t used_ = 0;
};

// One finished operation. Every string_view is valid only during the Sink::write call that receives the Span.
class Span {
public:
    static constexpr std::size_t max_attributes = 24;

    SpanContext context;             // trace id, span id, W3C flags
    SpanId parent;                   // all zero: root
    bool parent_is_remote = false;
    SpanKind kind = SpanKind::internal;
    StatusCode status = StatusCode::unset;
    std::string_view status_message;
    std::string_view name;           // may hold any byte: sinks make it valid UTF-8
    std::uint64_t start_unix_ns = 0;
    std::uint64_t end_unix_ns = 0;
    const Scope* scope = nullptr;
    std::uint32_t dropped_attributes = 0;

    explicit Span(TextArena& arena) : arena_(&arena) {}

    // Attributes beyond max_attributes are counted in dropped_attributes.
    void set(std::string_view key, Value value) {
        if (count_ == max_attributes) {
            ++dropped_attributes;
            return;
        }
        attributes_[count_++] = {key, value};
    }
    void set(std::string_view key, std::string_view value) { set(key, Value(value)); }
    void set(std::string_view key, const char* value) { set(key, Value(std::string_view(value))); }
    void set(std::string_view key, std::int64_t value) { set(key, Value(value)); }
    void set(std::string_view key, bool value) { set(key, Value(value)); }

    [[nodiscard]] std::chrono::nanoseconds duration() const {
        return std::chrono::nanoseconds(end_unix_ns - start_unix_ns);
    }
    [[nodiscard]] std::span<const Attribute> attributes() const { return {attributes_.data(), count_}; }
    // The value of an attribute; nullopt when it is not set or not a T, which is one of the types in Value.
    template <class T>
    [[nodiscard]] std::optional<T> get(std::string_view key) const {
        for (const Attribute& attribute : attributes())
            if (attribute.key == key)
                if (const T* const value = std::get_if<T>(&attribute.value)) return *value;
        return std::nullopt;
    }
    [[nodiscard]] TextArena& arena() { return *arena_; }

private:
    TextArena* arena_;
    std::size_t count_ = 0;
    std::array<Attribute, max_attributes> attributes_;
};

// Attributes of one process, in the order they are exported.
struct Resource {
    using Owned = std::variant<std::string, std::int64_t, double, bool>;
    std::vector<std::pair<std::string, Owned>> attributes;
};

// Spans of one process. Consecutive spans with the same `scope` pointer belong to one ScopeSpans.
struct SpanBatch {
    const Resource& resource;
    std::span<const Span> spans;
};

struct SinkStats {
    std::uint64_t spans_written = 0; // handed on (to the terminal, the file, the server)
    std::uint64_t spans_dropped = 0; // queue full, write error, refused by the server
    std::string last_error;
};

// Receives finished spans on the thread that polls the Manager. write() must not block: a sink that talks to
// something slow owns a bounded queue and a thread, and counts what it drops.
class Sink {
public:
    virtual ~Sink() = default;
    virtual void write(const SpanBatch& batch) = 0;
    // Hands on what is buffered, within `timeout`; false when something remained.
    virtual bool flush(std::chrono::milliseconds timeout) { return timeout.count() >= 0; }
    [[nodiscard]] virtual SinkStats stats() const { return {}; }
};

}  // namespace otel_ebpf
