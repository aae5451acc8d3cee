// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A Profile for `go tool pprof`: gzipped profile.proto (https://github.com/google/pprof/blob/main/proto/profile.proto).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <protozero/pbf_writer.hpp>

#include <otel_ebpf/detail/gzip.hpp>
#include <otel_ebpf/detail/string_table.hpp>
#include <otel_ebpf/profile/folded.hpp>
#include <otel_ebpf/profile/labels.hpp>
#include <otel_ebpf/profile/model.hpp>

namespace otel_ebpf::profile {

namespace detail {

class PprofWriter {
public:
    explicit PprofWriter(const Profile& profile) : profile_(profile) {}

    std::string write() {
        add_value_type(1, "samples", "count");
        add_value_type(1, "cpu", "nanoseconds");
        for (const Sample& sample : profile_.samples) add_sample(sample);
        for (std::size_t i = 1; i < profile_.mappings.size(); ++i) add_mapping(i);
        for (std::size_t i = 0; i < profile_.locations.size(); ++i) add_location(static_cast<std::uint32_t>(i));
        for (const auto& [key, id] : functions_) add_function(key, id);
        writer_.add_int64(9, static_cast<std::int64_t>(profile_.start_unix_ns));
        writer_.add_int64(10, static_cast<std::int64_t>(profile_.duration_ns));
        add_value_type(11, "cpu", "nanoseconds");
        writer_.add_int64(12, static_cast<std::int64_t>(profile_.period_ns));
        writer_.add_int64(14, strings_.index("cpu"));  // shown first
        for (const std::string& text : strings_.texts()) writer_.add_string(6, text);
        return std::move(bytes_);
    }

private:
    using FunctionKey = std::pair<std::string, std::string>;  // name, source file

    void add_value_type(std::uint32_t field, std::string_view type, std::string_view unit) {
        protozero::pbf_writer value(writer_, field);
        value.add_int64(1, strings_.index(type));
        value.add_int64(2, strings_.index(unit));
    }
    void add_sample(const Sample& sample) {
        std::vector<std::uint64_t> locations;
        for (const std::uint32_t location : profile_.stacks[sample.stack]) locations.push_back(id_of(location));
        const std::int64_t values[] = {static_cast<std::int64_t>(sample.count()),
                                       static_cast<std::int64_t>(sample.count() * profile_.period_ns)};
        protozero::pbf_writer out(writer_, 2);
        out.add_packed_uint64(1, locations.begin(), locations.end());
        out.add_packed_int64(2, std::begin(values), std::end(values));
        static constexpr std::array<std::string_view, 5> ours{"trace_id", "span_id", "process", "pid", "thread"};
        if (sample.has_context()) {
            add_label(out, ours[0], sample.trace_id.to_hex());
            add_label(out, ours[1], sample.span_id.to_hex());
        }
        const SampledProcess& process = profile_.processes[sample.process];
        add_label(out, ours[2], process.name);
        add_number(out, ours[3], process.tgid);
        add_number(out, ours[4], sample.tid);
        for (const auto& [key, value] : labels_to_write(sample, ours)) add_label(out, key, value);
    }
    void add_label(protozero::pbf_writer& sample, std::string_view key, std::string_view value) {
        protozero::pbf_writer label(sample, 3);
        label.add_int64(1, strings_.index(key));
        label.add_int64(2, strings_.index(value));
    }
    void add_number(protozero::pbf_writer& sample, std::string_view key, std::int64_t value) {
        protozero::pbf_writer label(sample, 3);
        label.add_int64(1, strings_.index(key));
        label.add_int64(3, value);
    }
    void add_mapping(std::size_t index) {
        const Mapping& mapping = profile_.mappings[index];
        protozero::pbf_writer out(writer_, 3);
        out.add_uint64(1, index);
        out.add_uint64(2, mapping.start);
        out.add_uint64(3, mapping.limit);
        out.add_uint64(4, mapping.file_offset);
        out.add_int64(5, strings_.index(mapping.path));
        out.add_int64(6, strings_.index(mapping.gnu_build_id.empty() ? mapping.go_build_id : mapping.gnu_build_id));
        out.add_bool(7, true);
        out.add_bool(8, true);
        out.add_bool(9, true);
    }
    void add_location(std::uint32_t index) {
        const Location& location = profile_.locations[index];
        protozero::pbf_writer out(writer_, 4);
        out.add_uint64(1, id_of(index));
        if (location.mapping != 0) out.add_uint64(2, location.mapping);
        out.add_uint64(3, location.address);
        // A frame without a name has one all the same, or the tool would show its address only.
        const FunctionKey key{frame_name(profile_, index), location.file};
        const auto [position, is_new] = functions_.try_emplace(key, functions_.size() + 1);
        protozero::pbf_writer line(out, 4);
        line.add_uint64(1, position->second);
        line.add_int64(2, location.line);
    }
    void add_function(const FunctionKey& key, std::uint64_t id) {
        protozero::pbf_writer out(writer_, 5);
        out.add_uint64(1, id);
        out.add_int64(2, strings_.index(key.first));
        out.add_int64(3, strings_.index(key.first));
        out.add_int64(4, strings_.index(key.second));
    }
    // Ids begin at 1.
    static std::uint64_t id_of(std::uint32_t location) { return std::uint64_t{location} + 1; }

    const Profile& profile_;
    std::string bytes_;
    protozero::pbf_writer writer_{bytes_};
    otel_ebpf::detail::StringTable strings_;
    std::map<FunctionKey, std::uint64_t> functions_;
};

}  // namespace detail

// Samples and CPU time; the labels trace_id and span_id (hex) of samples inside a span, process, pid, thread, and those
// of the application.
[[nodiscard]] inline std::string to_pprof(const Profile& profile) {
    return otel_ebpf::detail::gzip(detail::PprofWriter(profile).write());
}

}  // namespace otel_ebpf::profile
