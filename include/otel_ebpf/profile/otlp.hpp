// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A Profile as OTLP profiles (v1development): ExportProfilesServiceRequest, whose bytes are those of ProfilesData, in
// protobuf and in JSON.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include <protozero/pbf_writer.hpp>

#include <otel_ebpf/export/otlp_json.hpp>
#include <otel_ebpf/profile/model.hpp>
#include <otel_ebpf/profile/otlp_tables.hpp>
#include <otel_ebpf/trace_context.hpp>
#include <otel_ebpf/version_info.hpp>

namespace otel_ebpf::profile {

namespace detail {

inline constexpr std::string_view scope_name = "otel_ebpf";

// ---- protobuf -----------------------------------------------------------------------------------------------------

using protozero::pbf_writer;

inline void add_packed(pbf_writer& message, std::uint32_t field, const std::vector<OtlpTables::Index>& numbers) {
    if (!numbers.empty()) message.add_packed_int32(field, numbers.begin(), numbers.end());
}
// Zero is the default, and not written.
inline void add_index(pbf_writer& message, std::uint32_t field, OtlpTables::Index number) {
    if (number != 0) message.add_int32(field, number);
}
inline void add_uint(pbf_writer& message, std::uint32_t field, std::uint64_t number) {
    if (number != 0) message.add_uint64(field, number);
}

// common.proto: AnyValue
template <class Value>
void add_any_value(pbf_writer& message, std::uint32_t field, const Value& value) {
    pbf_writer any(message, field);
    std::visit(
        [&any](const auto& held) {
            using T = std::remove_cvref_t<decltype(held)>;
            if constexpr (std::is_same_v<T, bool>) any.add_bool(2, held);
            else if constexpr (std::is_same_v<T, std::int64_t>) any.add_int64(3, held);
            else if constexpr (std::is_same_v<T, double>) any.add_double(4, held);
            else any.add_string(1, otel_ebpf::detail::valid_utf8(held));
        },
        value);
}

inline void add_value_type(pbf_writer& profile, std::uint32_t field, OtlpTables::Index type, OtlpTables::Index unit) {
    pbf_writer out(profile, field);
    add_index(out, 1, type);
    add_index(out, 2, unit);
}

inline void add_sample(pbf_writer& profile, const OtlpTables::Sample& sample) {
    pbf_writer out(profile, 2);
    add_index(out, 1, sample.stack);
    add_packed(out, 2, sample.attributes);
    add_index(out, 3, sample.link);
    out.add_packed_fixed64(5, sample.times.begin(), sample.times.end());
}

inline void add_process(pbf_writer& request, const OtlpTables& tables, const OtlpTables::ProcessProfile& process,
                        std::uint64_t period_ns) {
    pbf_writer resource_profiles(request, 1);
    {
        pbf_writer resource(resource_profiles, 1);
        for (const auto& [key, value] : process.resource->attributes) {
            pbf_writer attribute(resource, 1);
            attribute.add_string(1, otel_ebpf::detail::valid_utf8(key));
            add_any_value(attribute, 2, value);
        }
    }
    pbf_writer scope_profiles(resource_profiles, 2);
    {
        pbf_writer scope(scope_profiles, 1);
        scope.add_string(1, scope_name.data(), scope_name.size());
        scope.add_string(2, library_version.data(), library_version.size());
    }
    pbf_writer profile(scope_profiles, 2);
    add_value_type(profile, 1, tables.samples_type, tables.count_unit);
    for (const OtlpTables::Sample& sample : process.samples) add_sample(profile, sample);
    profile.add_fixed64(3, tables.start);
    add_uint(profile, 4, tables.duration);
    add_value_type(profile, 5, tables.cpu_type, tables.nanoseconds_unit);
    profile.add_int64(6, static_cast<std::int64_t>(period_ns));
    const TraceId id = random_trace_id();  // of the profile: 16 random bytes
    profile.add_bytes(7, reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size());
}

template <class Entry>
std::span<const Entry> tail(const std::vector<Entry>& table) {
    return std::span(table).subspan(1);
}

inline void add_dictionary(pbf_writer& request, const OtlpTables& tables) {
    pbf_writer dictionary(request, 2);
    // Elements 0, which protozero leaves out when they are written member by member.
    for (const std::uint32_t field : {1U, 2U, 3U, 6U, 7U}) dictionary.add_message(field, "", 0);
    for (const OtlpTables::Mapping& mapping : tail(tables.mappings)) {
        pbf_writer out(dictionary, 1);
        add_uint(out, 1, mapping.start);
        add_uint(out, 2, mapping.limit);
        add_uint(out, 3, mapping.file_offset);
        add_index(out, 4, mapping.filename);
        add_packed(out, 5, mapping.attributes);
    }
    for (const OtlpTables::Location& location : tail(tables.locations)) {
        pbf_writer out(dictionary, 2);
        add_index(out, 1, location.mapping);
        add_uint(out, 2, location.address);
        if (location.function != 0) {
            pbf_writer line(out, 3);
            add_index(line, 1, location.function);
            if (location.line != 0) line.add_int64(2, location.line);
        }
        add_packed(out, 4, location.attributes);
    }
    for (const OtlpTables::Function& function : tail(tables.functions)) {
        pbf_writer out(dictionary, 3);
        add_index(out, 1, function.name);
        add_index(out, 2, function.name);
        add_index(out, 3, function.filename);
    }
    for (const OtlpTables::Link& link : tables.links) {
        pbf_writer out(dictionary, 4);
        out.add_bytes(1, reinterpret_cast<const char*>(link.trace_id.data()), link.trace_id.size());
        out.add_bytes(2, reinterpret_cast<const char*>(link.span_id.data()), link.span_id.size());
    }
    for (const std::string& text : tables.strings.texts()) dictionary.add_string(5, text);
    for (const OtlpTables::Attribute& attribute : tail(tables.attributes)) {
        pbf_writer out(dictionary, 6);
        add_index(out, 1, attribute.key);
        add_any_value(out, 2, attribute.value);
    }
    for (const auto& stack : tail(tables.stacks)) {
        pbf_writer out(dictionary, 7);
        add_packed(out, 1, stack);
    }
}

// ---- JSON ---------------------------------------------------------------------------------------------------------

// A message of the JSON encoding: members that hold their default are left out.
class JsonMessage {
public:
    explicit JsonMessage(std::string& out) : out_(out) { out_ += '{'; }
    ~JsonMessage() { out_ += '}'; }
    JsonMessage(const JsonMessage&) = delete;
    JsonMessage& operator=(const JsonMessage&) = delete;

    std::string& key(std::string_view name) {
        if (!first_) out_ += ',';
        first_ = false;
        out_ += '"';
        out_ += name;
        out_ += "\":";
        return out_;
    }
    void number(std::string_view name, OtlpTables::Index value) {
        if (value != 0) append_number(key(name), value);
    }
    // 64 bits: a string.
    void wide(std::string_view name, std::uint64_t value) {
        if (value == 0) return;
        key(name) += '"';
        append_number(out_, value);
        out_ += '"';
    }
    template <std::size_t Size>
    void id(std::string_view name, const std::array<std::uint8_t, Size>& bytes) {
        key(name) += '"';
        otlp::detail::append_id(out_, Id<Size>::from_bytes(bytes));
        out_ += '"';
    }
    // Calls each(item) for every item, which appends it.
    template <class Items, class Each>
    void list(std::string_view name, const Items& items, Each each) {
        if (items.empty()) return;
        key(name) += '[';
        for (const auto& item : items) {
            each(item);
            out_ += ',';
        }
        out_.back() = ']';
    }
    void numbers(std::string_view name, const std::vector<OtlpTables::Index>& items) {
        list(name, items, [this](OtlpTables::Index item) { append_number(out_, item); });
    }

private:
    std::string& out_;
    bool first_ = true;
};

inline void append_value_type(std::string& out, OtlpTables::Index type, OtlpTables::Index unit) {
    JsonMessage message(out);
    message.number("typeStrindex", type);
    message.number("unitStrindex", unit);
}

inline void append_profile(std::string& out, const OtlpTables& tables, const OtlpTables::ProcessProfile& process,
                           std::uint64_t period_ns) {
    JsonMessage profile(out);
    append_value_type(profile.key("sampleType"), tables.samples_type, tables.count_unit);
    profile.list("samples", process.samples, [&out](const OtlpTables::Sample& sample) {
        JsonMessage message(out);
        message.number("stackIndex", sample.stack);
        message.numbers("attributeIndices", sample.attributes);
        message.number("linkIndex", sample.link);
        message.list("timestampsUnixNano", sample.times, [&out](std::uint64_t time) {
            out += '"';
            append_number(out, time);
            out += '"';
        });
    });
    profile.wide("timeUnixNano", tables.start);
    profile.wide("durationNano", tables.duration);
    append_value_type(profile.key("periodType"), tables.cpu_type, tables.nanoseconds_unit);
    profile.wide("period", period_ns);
    profile.id("profileId", random_trace_id().bytes);
}

inline void append_process(std::string& out, const OtlpTables& tables, const OtlpTables::ProcessProfile& process,
                           std::uint64_t period_ns) {
    out += R"({"resource":{"attributes":[)";
    for (const auto& [key, value] : process.resource->attributes) otlp::detail::append_attribute(out, key, value);
    otlp::detail::close_list(out);
    out += R"(},"scopeProfiles":[{"scope":{"name":")";
    out += scope_name;
    out += R"(","version":")";
    out += library_version;
    out += R"("},"profiles":[)";
    append_profile(out, tables, process, period_ns);
    out += "]}]}";
}

inline void append_dictionary(std::string& out, const OtlpTables& tables) {
    JsonMessage dictionary(out);
    dictionary.list("mappingTable", tables.mappings, [&out](const OtlpTables::Mapping& mapping) {
        JsonMessage message(out);
        message.wide("memoryStart", mapping.start);
        message.wide("memoryLimit", mapping.limit);
        message.wide("fileOffset", mapping.file_offset);
        message.number("filenameStrindex", mapping.filename);
        message.numbers("attributeIndices", mapping.attributes);
    });
    dictionary.list("locationTable", tables.locations, [&out](const OtlpTables::Location& location) {
        JsonMessage message(out);
        message.number("mappingIndex", location.mapping);
        message.wide("address", location.address);
        if (location.function != 0) {
            message.key("lines") += '[';
            {
                JsonMessage line(out);
                line.number("functionIndex", location.function);
                line.wide("line", static_cast<std::uint64_t>(location.line));
            }
            out += ']';
        }
        message.numbers("attributeIndices", location.attributes);
    });
    dictionary.list("functionTable", tables.functions, [&out](const OtlpTables::Function& function) {
        JsonMessage message(out);
        message.number("nameStrindex", function.name);
        message.number("systemNameStrindex", function.name);
        message.number("filenameStrindex", function.filename);
    });
    dictionary.list("linkTable", tables.links, [&out](const OtlpTables::Link& link) {
        JsonMessage message(out);
        message.id("traceId", link.trace_id);
        message.id("spanId", link.span_id);
    });
    dictionary.list("stringTable", tables.strings.texts(),
                    [&out](const std::string& text) { append_json_string(out, text); });
    dictionary.list("attributeTable", tables.attributes, [&out, &tables](const OtlpTables::Attribute& attribute) {
        JsonMessage message(out);
        if (&attribute == &tables.attributes.front()) return;
        message.number("keyStrindex", attribute.key);
        otlp::detail::append_any_value(message.key("value"), attribute.value);
    });
    dictionary.list("stackTable", tables.stacks, [&out](const std::vector<OtlpTables::Index>& stack) {
        JsonMessage message(out);
        message.numbers("locationIndices", stack);
    });
}

}  // namespace detail

// For application/x-protobuf and files.
[[nodiscard]] inline std::string to_otlp_protobuf(const Profile& profile) {
    const OtlpTables tables(profile);
    std::string bytes;
    protozero::pbf_writer request(bytes);
    for (const OtlpTables::ProcessProfile& process : tables.processes)
        detail::add_process(request, tables, process, profile.period_ns);
    detail::add_dictionary(request, tables);
    return bytes;
}

// For application/json and files; one line.
[[nodiscard]] inline std::string to_otlp_json(const Profile& profile) {
    const OtlpTables tables(profile);
    std::string out;
    {
        detail::JsonMessage request(out);
        request.list("resourceProfiles", tables.processes, [&](const OtlpTables::ProcessProfile& process) {
            detail::append_process(out, tables, process, profile.period_ns);
        });
        detail::append_dictionary(request.key("dictionary"), tables);
    }
    out += '\n';
    return out;
}

}  // namespace otel_ebpf::profile
