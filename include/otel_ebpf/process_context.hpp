// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ProcessContext: the Resource and the thread-context settings that a process publishes in its memory (OTEP 4719).
//
// The process changes them at any time: they are read between two looks at a time stamp that must not differ.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/byte_source.hpp>
#include <otel_ebpf/detail/protobuf_reader.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/process_maps.hpp>
#include <otel_ebpf/span.hpp>

namespace otel_ebpf {

struct ProcessContext {
    std::uint64_t published_at_ns = 0;  // CLOCK_BOOTTIME; the same number, the same content
    Resource resource;
    std::uint32_t dropped_attributes = 0;  // of the resource: lists, maps and bytes, which Resource can't hold
    std::string thread_schema;             // threadlocal.schema_version; empty: no thread contexts
    std::vector<std::string> thread_keys;  // threadlocal.attribute_key_map: the position is the index in records
};

// OTEP 4719: at the start of the mapping, in the byte order of the process.
struct ProcessContextHeader {
    std::array<char, 8> signature{};
    std::uint32_t version = 0;
    std::uint32_t payload_size = 0;
    std::uint64_t published_at_ns = 0;  // 0: not ready
    std::uint64_t payload = 0;          // address in the process
};
static_assert(sizeof(ProcessContextHeader) == 32);

inline constexpr std::array<char, 8> process_context_signature{'O', 'T', 'E', 'L', '_', 'C', 'T', 'X'};
inline constexpr std::uint32_t process_context_version = 2;
inline constexpr std::uint32_t max_process_context_bytes = 65536;
inline constexpr std::size_t max_thread_keys = 256;  // an index is one byte

namespace detail {

// A KeyValue of OTLP: key 1, value 2. `value` is the AnyValue, undecoded.
struct RawKeyValue {
    std::string_view key;
    std::span<const std::byte> value;
};

inline std::optional<RawKeyValue> read_key_value(std::span<const std::byte> message) {
    RawKeyValue out;
    ProtobufReader reader(message);
    while (const auto field = reader.next()) {
        if (field->wire != ProtobufReader::Wire::bytes) continue;
        if (field->number == 1) out.key = field->text();
        if (field->number == 2) out.value = field->bytes;
    }
    if (reader.malformed()) return std::nullopt;
    return out;
}

// AnyValue: string 1, bool 2, int 3, double 4; others give nullopt in `value`. False when malformed.
inline bool read_scalar(std::span<const std::byte> message, std::optional<Resource::Owned>& value) {
    ProtobufReader reader(message);
    while (const auto field = reader.next()) {
        using Wire = ProtobufReader::Wire;
        if (field->number == 1 && field->wire == Wire::bytes) value = std::string(field->text());
        else if (field->number == 2 && field->wire == Wire::varint) value = field->value != 0;
        else if (field->number == 3 && field->wire == Wire::varint) value = static_cast<std::int64_t>(field->value);
        else if (field->number == 4 && field->wire == Wire::fixed64) value = std::bit_cast<double>(field->value);
    }
    return !reader.malformed();
}

// AnyValue whose array (5, ArrayValue{values 1}) holds strings. False when malformed or of another type.
inline bool read_strings(std::span<const std::byte> message, std::vector<std::string>& out) {
    ProtobufReader any(message);
    bool is_array = false;
    while (const auto array = any.next()) {
        if (array->number != 5 || array->wire != ProtobufReader::Wire::bytes) continue;
        is_array = true;
        ProtobufReader values(array->bytes);
        while (const auto value = values.next()) {
            std::optional<Resource::Owned> scalar;
            if (value->number != 1 || value->wire != ProtobufReader::Wire::bytes) continue;
            if (!read_scalar(value->bytes, scalar) || !scalar || !std::holds_alternative<std::string>(*scalar))
                return false;
            if (out.size() == max_thread_keys) return false;
            out.push_back(std::get<std::string>(std::move(*scalar)));
        }
        if (values.malformed()) return false;
    }
    return is_array && !any.malformed();
}

inline Failure malformed_context(std::string_view part) {
    return fail(Stage::target, "process context: malformed " + std::string(part), EBADMSG);
}

}  // namespace detail

// ProcessContext{Resource resource 1, repeated KeyValue attributes 2}. Unknown fields and attributes are passed over.
[[nodiscard]] inline Result<ProcessContext> decode_process_context(std::span<const std::byte> payload) {
    ProcessContext context;
    detail::ProtobufReader reader(payload);
    while (const auto field = reader.next()) {
        if (field->wire != detail::ProtobufReader::Wire::bytes) continue;
        if (field->number == 1) {
            detail::ProtobufReader resource(field->bytes);
            while (const auto attribute = resource.next()) {
                if (attribute->number != 1 || attribute->wire != detail::ProtobufReader::Wire::bytes) continue;
                const auto pair = detail::read_key_value(attribute->bytes);
                std::optional<Resource::Owned> value;
                if (!pair || !detail::read_scalar(pair->value, value)) return detail::malformed_context("resource");
                if (!value) ++context.dropped_attributes;
                else context.resource.attributes.emplace_back(pair->key, std::move(*value));
            }
            if (resource.malformed()) return detail::malformed_context("resource");
        } else if (field->number == 2) {
            const auto pair = detail::read_key_value(field->bytes);
            if (!pair) return detail::malformed_context("attribute");
            if (pair->key == "threadlocal.schema_version") {
                std::optional<Resource::Owned> value;
                if (!detail::read_scalar(pair->value, value) || !value || !std::holds_alternative<std::string>(*value))
                    return detail::malformed_context("threadlocal.schema_version");
                context.thread_schema = std::get<std::string>(std::move(*value));
            } else if (pair->key == "threadlocal.attribute_key_map") {
                context.thread_keys.clear();
                if (!detail::read_strings(pair->value, context.thread_keys))
                    return detail::malformed_context("threadlocal.attribute_key_map");
            }
        }
    }
    if (reader.malformed()) return detail::malformed_context("payload");
    return context;
}

// Addresses at which /proc/PID/maps shows a context: a memfd, a named memfd, or named anonymous memory.
[[nodiscard]] inline std::vector<std::uint64_t> find_process_contexts(const std::vector<ProcessMapping>& mappings) {
    std::vector<std::uint64_t> found;
    for (const ProcessMapping& mapping : mappings) {
        const std::string_view path = mapping.path;
        if (!mapping.readable || mapping.executable || mapping.limit - mapping.start < sizeof(ProcessContextHeader))
            continue;
        if (path.starts_with("/memfd:OTEL_CTX") || path.starts_with("[anon_shmem:OTEL_CTX]") ||
            path.starts_with("[anon:OTEL_CTX]"))
            found.push_back(mapping.start);
    }
    return found;
}

// The context whose header is at `addr`. nullopt: not newer than `last_published_at_ns` (0: none known). EAGAIN: it is
// being changed, try again later.
[[nodiscard]] inline Result<std::optional<ProcessContext>> read_process_context(const ReadMemory& read, std::uint64_t addr,
                                                                                std::uint64_t last_published_at_ns) {
    constexpr int attempts = 3;
    constexpr std::uint64_t time_offset = offsetof(ProcessContextHeader, published_at_ns);
    for (int attempt = 0; attempt < attempts; ++attempt) {
        auto header = read_memory<ProcessContextHeader>(read, addr);
        if (!header) return Failure(std::move(header.error()).in("process context"));
        if (header->signature != process_context_signature)
            return fail(Stage::target, "process context: no signature OTEL_CTX", EBADMSG);
        if (header->version != process_context_version)
            return fail(Stage::unsupported,
                        "process context: version " + std::to_string(header->version) + ", only 2 is known", EPROTO);
        // The header was copied in one go, but not at one moment: the rest counts only when this time stamp stays.
        const auto before = read_memory<std::uint64_t>(read, addr + time_offset);
        if (!before) return Failure(before.error());
        if (*before == 0) continue;
        if (*before <= last_published_at_ns) return std::nullopt;
        std::atomic_thread_fence(std::memory_order_seq_cst);
        header = read_memory<ProcessContextHeader>(read, addr);
        if (!header) return Failure(header.error());
        const bool has_size = header->payload_size > 0 && header->payload_size <= max_process_context_bytes;
        ByteBuffer payload(has_size ? header->payload_size : 0);
        Result<void> copied = has_size ? read(header->payload, payload.bytes()) : Result<void>();
        std::atomic_thread_fence(std::memory_order_seq_cst);
        const auto after = read_memory<std::uint64_t>(read, addr + time_offset);
        if (!after) return Failure(after.error());
        if (*after != *before) continue;
        if (!has_size)
            return fail(Stage::target, "process context: a payload of " + std::to_string(header->payload_size) +
                                           " bytes, 1 to 65536 are allowed", EBADMSG);
        if (!copied) return Failure(std::move(copied.error()).in("process context: payload"));
        auto context = decode_process_context(std::as_const(payload).bytes());
        if (!context) return Failure(std::move(context.error()));
        context->published_at_ns = *before;
        return std::optional(std::move(*context));
    }
    return fail(Stage::target, "process context: being changed at each of " + std::to_string(attempts) + " looks", EAGAIN);
}

}  // namespace otel_ebpf
