// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// TraceId, SpanId, SpanContext; W3C traceparent and tracestate; random ids.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <pthread.h>
#include <span>
#include <string>
#include <string_view>
#include <sys/random.h>
#include <tl/expected.hpp>
#include <type_traits>

#include <otel_ebpf/types.h>

namespace otel_ebpf {

namespace detail {

// W3C writes lower-case hex only; -1 for anything else.
constexpr int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

constexpr bool decode_hex(std::string_view text, std::span<std::uint8_t> out) {
    if (text.size() != 2 * out.size()) return false;
    for (std::size_t i = 0; i < out.size(); ++i) {
        const int high = hex_value(text[2 * i]);
        const int low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = static_cast<std::uint8_t>(high << 4 | low);
    }
    return true;
}

// Writes two characters per byte; returns the position after the last.
constexpr char* encode_hex(std::span<const std::uint8_t> bytes, char* out) {
    constexpr std::string_view digits = "0123456789abcdef";
    for (const std::uint8_t byte : bytes) {
        *out++ = digits[byte >> 4];
        *out++ = digits[byte & 0xf];
    }
    return out;
}

}  // namespace detail

// Bytes of an id in W3C order; all zero means "none".
template <std::size_t Size>
struct Id {
    static constexpr std::size_t size_bytes = Size;
    static constexpr std::size_t hex_length = 2 * Size;

    std::array<std::uint8_t, Size> bytes{};

    friend constexpr bool operator==(const Id&, const Id&) = default;
    friend constexpr auto operator<=>(const Id&, const Id&) = default;

    [[nodiscard]] constexpr bool is_zero() const { return *this == Id{}; }

    [[nodiscard]] static constexpr Id from_bytes(std::span<const std::uint8_t, Size> raw) {
        Id id;
        std::copy(raw.begin(), raw.end(), id.bytes.begin());
        return id;
    }
    constexpr void copy_to(std::span<std::uint8_t, Size> out) const {
        std::copy(bytes.begin(), bytes.end(), out.begin());
    }

    // Exactly hex_length lower-case digits; nothing otherwise. All zero is accepted.
    [[nodiscard]] static constexpr std::optional<Id> from_hex(std::string_view text) {
        Id id;
        if (!detail::decode_hex(text, id.bytes)) return std::nullopt;
        return id;
    }
    // Writes hex_length lower-case digits, no NUL.
    constexpr void to_hex(std::span<char, hex_length> out) const { detail::encode_hex(bytes, out.data()); }
    [[nodiscard]] std::string to_hex() const {
        std::string out(hex_length, '\0');
        detail::encode_hex(bytes, out.data());
        return out;
    }
};

using TraceId = Id<16>;
using SpanId = Id<8>;

// Bits of trace-flags. https://www.w3.org/TR/trace-context-2/#trace-flags
inline constexpr std::uint8_t trace_flag_sampled = 0x01;
inline constexpr std::uint8_t trace_flag_random = 0x02; // Level 2: the right-most 7 bytes of the trace id are random
inline constexpr std::uint8_t trace_flags_known = trace_flag_sampled | trace_flag_random;

struct SpanContext {
    TraceId trace_id{};
    SpanId span_id{};
    std::uint8_t flags = 0;

    friend constexpr bool operator==(const SpanContext&, const SpanContext&) = default;

    [[nodiscard]] constexpr bool sampled() const { return (flags & trace_flag_sampled) != 0; }
    [[nodiscard]] constexpr bool is_valid() const { return !trace_id.is_zero() && !span_id.is_zero(); }
};

static_assert(sizeof(TraceId) == 16 && alignof(TraceId) == 1 && std::is_trivially_copyable_v<TraceId>);
static_assert(sizeof(SpanId) == 8 && alignof(SpanId) == 1 && std::is_trivially_copyable_v<SpanId>);
static_assert(sizeof(SpanContext) == 25 && alignof(SpanContext) == 1 && std::is_aggregate_v<SpanContext>);

// ---- the structs of BPF ---------------------------------------------------------------------------------------

static_assert(sizeof(oe_trace_ctx) == 32 && alignof(oe_trace_ctx) == 1);
static_assert(sizeof(oe_traces_ctx_v1) == 24 && alignof(oe_traces_ctx_v1) == 1);
static_assert(offsetof(oe_trace_ctx, trace_id) == 0 && offsetof(oe_traces_ctx_v1, trace_id) == 0);
static_assert(offsetof(oe_trace_ctx, span_id) == 16 && offsetof(oe_traces_ctx_v1, span_id) == 16);
static_assert(offsetof(oe_trace_ctx, flags) == 24);
static_assert(sizeof(oe_trace_ctx::trace_id) == sizeof(TraceId) && sizeof(oe_trace_ctx::span_id) == sizeof(SpanId));

constexpr oe_trace_ctx to_trace_ctx(const SpanContext& context) {
    oe_trace_ctx out{};
    context.trace_id.copy_to(out.trace_id);
    context.span_id.copy_to(out.span_id);
    out.flags = context.flags;
    return out;
}

// The flags are lost: traces_ctx_v1 has no room for them.
constexpr oe_traces_ctx_v1 to_traces_ctx_v1(const SpanContext& context) {
    oe_traces_ctx_v1 out{};
    context.trace_id.copy_to(out.trace_id);
    context.span_id.copy_to(out.span_id);
    return out;
}

constexpr SpanContext to_span_context(const oe_trace_ctx& context) {
    return {TraceId::from_bytes(context.trace_id), SpanId::from_bytes(context.span_id), context.flags};
}

// The flags are unknown and given as 0.
constexpr SpanContext to_span_context(const oe_traces_ctx_v1& context) {
    return {TraceId::from_bytes(context.trace_id), SpanId::from_bytes(context.span_id), 0};
}

// ---- traceparent ----------------------------------------------------------------------------------------------

// Version 00: 2 + 1 + 32 + 1 + 16 + 1 + 2 characters. https://www.w3.org/TR/trace-context/#traceparent-header
inline constexpr std::size_t traceparent_length = 55;

enum class TraceparentError {
    length,        // shorter than 55 characters, or version 00 with a suffix
    version,       // not two hex digits, or ff
    separator,     // no dash where one belongs
    hex,           // an id or the flags are not lower-case hex
    zero_trace_id,
    zero_span_id,
};

constexpr std::string_view to_string(TraceparentError error) {
    switch (error) {
        case TraceparentError::length: return "length";
        case TraceparentError::version: return "version";
        case TraceparentError::separator: return "separator";
        case TraceparentError::hex: return "hex";
        case TraceparentError::zero_trace_id: return "zero trace id";
        case TraceparentError::zero_span_id: return "zero span id";
    }
    return "unknown";
}

// Reads a header value without surrounding whitespace (HTTP libraries remove it). Versions above 00 are read as 00,
// as W3C asks; flag bits that nobody has defined yet are dropped. On error the trace restarts: ignore tracestate too.
[[nodiscard]] constexpr tl::expected<SpanContext, TraceparentError> parse_traceparent(std::string_view text) {
    const auto refuse = [](TraceparentError error) { return tl::unexpected(error); };
    if (text.size() < traceparent_length) return refuse(TraceparentError::length);
    std::array<std::uint8_t, 1> version{};
    if (!detail::decode_hex(text.substr(0, 2), version)) return refuse(TraceparentError::version);
    if (version[0] == 0xff) return refuse(TraceparentError::version);
    if (text[2] != '-' || text[35] != '-' || text[52] != '-') return refuse(TraceparentError::separator);
    if (text.size() > traceparent_length) {
        if (version[0] == 0) return refuse(TraceparentError::length);
        if (text[traceparent_length] != '-') return refuse(TraceparentError::separator);
    }
    const auto trace_id = TraceId::from_hex(text.substr(3, TraceId::hex_length));
    const auto span_id = SpanId::from_hex(text.substr(36, SpanId::hex_length));
    std::array<std::uint8_t, 1> flags{};
    if (!trace_id || !span_id) return refuse(TraceparentError::hex);
    if (!detail::decode_hex(text.substr(53, 2), flags)) return refuse(TraceparentError::hex);
    if (trace_id->is_zero()) return refuse(TraceparentError::zero_trace_id);
    if (span_id->is_zero()) return refuse(TraceparentError::zero_span_id);
    return SpanContext{*trace_id, *span_id, static_cast<std::uint8_t>(flags[0] & trace_flags_known)};
}

// Version 00, no NUL. Unknown flag bits are written as 0. `context` must be valid: receivers refuse all-zero ids.
[[nodiscard]] constexpr std::array<char, traceparent_length> format_traceparent(const SpanContext& context) {
    std::array<char, traceparent_length> text{'0', '0', '-'};
    char* out = detail::encode_hex(context.trace_id.bytes, text.data() + 3);
    *out++ = '-';
    out = detail::encode_hex(context.span_id.bytes, out);
    *out++ = '-';
    const std::array<std::uint8_t, 1> flags{static_cast<std::uint8_t>(context.flags & trace_flags_known)};
    detail::encode_hex(flags, out);
    return text;
}

// ---- tracestate -----------------------------------------------------------------------------------------------

enum class TraceStateError {
    too_long,      // more than TraceState::max_bytes
    too_many,      // more than 32 members
    key,           // empty, longer than 256, or not of [a-z0-9][a-z0-9_*/@-]*
    value,         // missing, empty, longer than 256, or with a character outside the printable ASCII allowed
    duplicate_key,
};

constexpr std::string_view to_string(TraceStateError error) {
    switch (error) {
        case TraceStateError::too_long: return "too long";
        case TraceStateError::too_many: return "more than 32 members";
        case TraceStateError::key: return "key";
        case TraceStateError::value: return "value";
        case TraceStateError::duplicate_key: return "duplicate key";
    }
    return "unknown";
}

namespace detail {

constexpr std::string_view trim_ows(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// https://www.w3.org/TR/trace-context-2/#key, which accepts every key of Level 1 too
constexpr bool is_tracestate_key(std::string_view key) {
    const auto is_alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
    if (key.empty() || key.size() > 256 || !is_alnum(key[0])) return false;
    return std::all_of(key.begin(), key.end(), [&](char c) {
        return is_alnum(c) || std::string_view("_-*/@").find(c) != std::string_view::npos;
    });
}

// https://www.w3.org/TR/trace-context-2/#value; trailing spaces are already gone
constexpr bool is_tracestate_value(std::string_view value) {
    if (value.empty() || value.size() > 256) return false;
    return std::all_of(value.begin(), value.end(),
                       [](char c) { return c >= 0x20 && c <= 0x7e && c != ',' && c != '='; });
}

}  // namespace detail

// A valid tracestate, kept byte for byte as it came.
class TraceState {
public:
    static constexpr std::size_t max_members = 32;
    // The longest list that the grammar allows without optional whitespace; W3C asks for at least 512.
    static constexpr std::size_t max_bytes = max_members * (256 + 1 + 256) + max_members - 1;

    TraceState() = default;

    // Number of members (empty ones are legal and not counted), or what makes the list invalid as a whole.
    [[nodiscard]] static constexpr tl::expected<std::size_t, TraceStateError> check(std::string_view text) {
        if (text.size() > max_bytes) return tl::unexpected(TraceStateError::too_long);
        std::array<std::string_view, max_members> keys{};
        std::size_t count = 0;
        for (std::size_t begin = 0; begin <= text.size();) {
            const std::size_t end = std::min(text.find(',', begin), text.size());
            const std::string_view member = detail::trim_ows(text.substr(begin, end - begin));
            begin = end + 1;
            if (member.empty()) continue;
            const std::size_t equals = member.find('=');
            const std::string_view key = member.substr(0, equals);
            if (!detail::is_tracestate_key(key)) return tl::unexpected(TraceStateError::key);
            if (equals == std::string_view::npos || !detail::is_tracestate_value(member.substr(equals + 1))) {
                return tl::unexpected(TraceStateError::value);
            }
            if (std::find(keys.begin(), keys.begin() + count, key) != keys.begin() + count) {
                return tl::unexpected(TraceStateError::duplicate_key);
            }
            if (count == max_members) return tl::unexpected(TraceStateError::too_many);
            keys[count++] = key;
        }
        return count;
    }

    // Several tracestate headers must be joined with commas first. Parse it only when traceparent was valid.
    [[nodiscard]] static tl::expected<TraceState, TraceStateError> parse(std::string_view text) {
        const auto count = check(text);
        if (!count) return tl::unexpected(count.error());
        return TraceState(text, *count);
    }

    [[nodiscard]] std::string_view text() const { return text_; }
    [[nodiscard]] std::size_t member_count() const { return member_count_; }
    // True also for a text of commas and whitespace only, which should not be sent on.
    [[nodiscard]] bool empty() const { return member_count_ == 0; }

    friend bool operator==(const TraceState&, const TraceState&) = default;

private:
    TraceState(std::string_view text, std::size_t member_count) : text_(text), member_count_(member_count) {}

    std::string text_;
    std::size_t member_count_ = 0;
};

// ---- random ids -----------------------------------------------------------------------------------------------

namespace detail {

// For processes whose sandbox refuses getrandom(2): unique, not secret.
inline void fill_from_clock(std::span<std::uint8_t> out) {
    thread_local std::uint64_t state = 0;
    state += static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
    state ^= reinterpret_cast<std::uintptr_t>(&state);
    for (std::uint8_t& byte : out) {
        // splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014
        state += 0x9e3779b97f4a7c15;
        std::uint64_t mixed = (state ^ state >> 30) * 0xbf58476d1ce4e5b9;
        mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
        byte = static_cast<std::uint8_t>(mixed >> 56);
    }
}

inline void fill_from_kernel(std::span<std::uint8_t> out) {
    while (!out.empty()) {
        const ssize_t got = getrandom(out.data(), out.size(), 0);
        if (got > 0) {
            out = out.subspan(static_cast<std::size_t>(got));
        } else if (errno != EINTR) {
            return fill_from_clock(out);
        }
    }
}

// Random bytes of one thread: one system call serves ten span contexts.
class RandomBuffer {
public:
    // `size` <= 256.
    void take(std::uint8_t* out, std::size_t size) {
        if (bytes_.size() - used_ < size) refill();
        std::memcpy(out, bytes_.data() + used_, size);
        used_ += size;
    }
    void discard() { used_ = bytes_.size(); }

private:
    void refill();

    std::array<std::uint8_t, 256> bytes_{};
    std::size_t used_ = 256;
};

inline RandomBuffer& random_buffer() {
    thread_local RandomBuffer buffer;
    return buffer;
}

inline void RandomBuffer::refill() {
    // A child of fork() has only the thread that called it, and must not repeat the ids that its parent will use.
    [[maybe_unused]] static const int registered =
        pthread_atfork(nullptr, nullptr, [] { random_buffer().discard(); });
    fill_from_kernel(bytes_);
    used_ = 0;
}

template <class T>
T random_id() {
    T id;
    do {
        random_buffer().take(id.bytes.data(), id.bytes.size());
    } while (id.is_zero());
    return id;
}

}  // namespace detail

// Never all zero. Thread-safe, and safe after fork().
[[nodiscard]] inline TraceId random_trace_id() { return detail::random_id<TraceId>(); }
[[nodiscard]] inline SpanId random_span_id() { return detail::random_id<SpanId>(); }

}  // namespace otel_ebpf

template <std::size_t Size>
struct std::hash<otel_ebpf::Id<Size>> {
    std::size_t operator()(const otel_ebpf::Id<Size>& id) const noexcept {
        static_assert(Size % sizeof(std::uint64_t) == 0);
        std::uint64_t mixed = 0;
        for (std::size_t i = 0; i < Size; i += sizeof(std::uint64_t)) {
            std::uint64_t word = 0;
            std::memcpy(&word, id.bytes.data() + i, sizeof word);
            // Ids may come from a network peer, so both halves are mixed before they meet.
            mixed = (mixed ^ word) * 0x9e3779b97f4a7c15;
            mixed ^= mixed >> 32;
        }
        return static_cast<std::size_t>(mixed);
    }
};
