// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// OtlpTables: a Profile as OTLP wants it: one dictionary of tables, without duplicates and with nothing unused, that
// all samples refer to by number. Element 0 of each table is the zero value.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <otel_ebpf/detail/string_table.hpp>
#include <otel_ebpf/profile/labels.hpp>
#include <otel_ebpf/profile/model.hpp>
#include <otel_ebpf/span.hpp>
#include <otel_ebpf/trace_context.hpp>

namespace otel_ebpf::profile {

// opentelemetry-proto, profiles/v1development/profiles.proto; members as there.
struct OtlpTables {
    using Index = std::int32_t;

    struct Attribute {
        Index key = 0;
        std::variant<std::string, std::int64_t> value;
        auto operator<=>(const Attribute&) const = default;
    };
    struct Mapping {
        std::uint64_t start = 0, limit = 0, file_offset = 0;
        Index filename = 0;
        std::vector<Index> attributes;
        auto operator<=>(const Mapping&) const = default;
    };
    struct Function {
        Index name = 0, filename = 0;
        auto operator<=>(const Function&) const = default;
    };
    struct Location {
        Index mapping = 0;
        std::uint64_t address = 0;
        Index function = 0;  // 0: no line
        std::int64_t line = 0;
        std::vector<Index> attributes;
        auto operator<=>(const Location&) const = default;
    };
    struct Link {
        std::array<std::uint8_t, 16> trace_id{};
        std::array<std::uint8_t, 8> span_id{};
        auto operator<=>(const Link&) const = default;
    };
    struct Sample {
        Index stack = 0, link = 0;
        std::vector<Index> attributes;
        std::vector<std::uint64_t> times;  // Unix, ns, in order
    };
    struct ProcessProfile {
        const Resource* resource = nullptr;
        std::vector<Sample> samples;
    };

    // Refers to the resources of `profile`, which must outlive it.
    explicit OtlpTables(const Profile& profile) : profile_(profile) {
        mappings = {{}};
        functions = {{}};
        locations = {{}};
        links = {{}};
        attributes = {{}};
        stacks = {{}};
        processes.resize(profile.processes.size());
        for (std::size_t i = 0; i < processes.size(); ++i) processes[i].resource = &profile.processes[i].resource;
        start = profile.start_unix_ns;
        std::uint64_t end = start + profile.duration_ns;
        std::map<std::tuple<std::uint32_t, Index, Index, std::vector<Index>>, std::size_t> merged;
        for (const profile::Sample& sample : profile.samples) {
            if (sample.times_unix_ns.empty()) continue;
            Sample out{stack_of(sample.stack), link_of(sample), attributes_of(sample), sample.times_unix_ns};
            start = std::min(start, out.times.front());
            end = std::max(end, out.times.back() + 1);
            auto& samples = processes[sample.process].samples;
            const auto [known, is_new] =
                merged.try_emplace({sample.process, out.stack, out.link, out.attributes}, samples.size());
            if (is_new) {
                samples.push_back(std::move(out));
                continue;
            }
            auto& times = samples[known->second].times;
            times.insert(times.end(), out.times.begin(), out.times.end());
            std::ranges::sort(times);
        }
        duration = end - start;
        std::erase_if(processes, [](const ProcessProfile& process) { return process.samples.empty(); });
        if (processes.empty()) return;
        samples_type = strings.index("samples");
        count_unit = strings.index("count");
        cpu_type = strings.index("cpu");
        nanoseconds_unit = strings.index("nanoseconds");
    }

    otel_ebpf::detail::StringTable strings;
    std::vector<Mapping> mappings;
    std::vector<Function> functions;
    std::vector<Location> locations;
    std::vector<Link> links;
    std::vector<Attribute> attributes;
    std::vector<std::vector<Index>> stacks;  // of locations, leaf first
    std::vector<ProcessProfile> processes;   // those with samples
    Index samples_type = 0, count_unit = 0, cpu_type = 0, nanoseconds_unit = 0;
    std::uint64_t start = 0, duration = 0;  // ns; every sample lies within

private:
    // The number of an entry, which is added when it is new.
    template <class Entry>
    static Index index_of(std::vector<Entry>& table, std::map<Entry, Index>& numbers, Entry entry) {
        const auto [position, is_new] = numbers.try_emplace(entry, static_cast<Index>(table.size()));
        if (is_new) table.push_back(std::move(entry));
        return position->second;
    }
    Index attribute(std::string_view key, std::variant<std::string, std::int64_t> value) {
        if (auto* const text = std::get_if<std::string>(&value)) *text = otel_ebpf::detail::valid_utf8(*text);
        return index_of(attributes, attribute_numbers_, Attribute{strings.index(key), std::move(value)});
    }
    Index mapping_of(std::uint32_t index) {
        const profile::Mapping& mapping = profile_.mappings[index];
        // A mapping must carry a build id; memory without a file has none.
        if (index == 0 || (mapping.gnu_build_id.empty() && mapping.go_build_id.empty() && mapping.htlhash.empty()))
            return 0;
        Mapping out{mapping.start, mapping.limit, mapping.file_offset, strings.index(mapping.path), {}};
        for (const auto& [key, value] : {std::pair{"process.executable.build_id.gnu", &mapping.gnu_build_id},
                                         {"process.executable.build_id.go", &mapping.go_build_id},
                                         {"process.executable.build_id.htlhash", &mapping.htlhash}})
            if (!value->empty()) out.attributes.push_back(attribute(key, *value));
        return index_of(mappings, mapping_numbers_, std::move(out));
    }
    Index location_of(std::uint32_t index) {
        const profile::Location& location = profile_.locations[index];
        Location out;
        out.mapping = mapping_of(location.mapping);
        out.address = location.address;
        if (!location.function.empty())
            out.function = index_of(functions, function_numbers_,
                                    Function{strings.index(location.function), strings.index(location.file)});
        out.line = location.function.empty() ? 0 : location.line;
        const bool is_go = !profile_.mappings[location.mapping].go_build_id.empty();
        out.attributes.push_back(attribute("profile.frame.type", std::string(location.is_kernel ? "kernel"
                                                                             : is_go            ? "go"
                                                                                                : "native")));
        return index_of(locations, location_numbers_, std::move(out));
    }
    Index stack_of(std::uint32_t index) {
        const auto [known, is_new] = stacks_of_profile_.try_emplace(index, 0);
        if (!is_new || profile_.stacks[index].empty()) return known->second;
        std::vector<Index> frames;
        for (const std::uint32_t location : profile_.stacks[index]) frames.push_back(location_of(location));
        return known->second = index_of(stacks, stack_numbers_, std::move(frames));
    }
    Index link_of(const profile::Sample& sample) {
        if (!sample.has_context()) return 0;
        return index_of(links, link_numbers_, Link{sample.trace_id.bytes, sample.span_id.bytes});
    }
    std::vector<Index> attributes_of(const profile::Sample& sample) {
        static constexpr std::array<std::string_view, 1> ours{"thread.id"};
        std::vector<Index> out{attribute(ours[0], std::int64_t{sample.tid})};
        for (auto& [key, value] : labels_to_write(sample, ours)) out.push_back(attribute(key, std::move(value)));
        std::ranges::sort(out);
        return out;
    }

    const Profile& profile_;
    std::map<Attribute, Index> attribute_numbers_;
    std::map<Mapping, Index> mapping_numbers_;
    std::map<Function, Index> function_numbers_;
    std::map<Location, Index> location_numbers_;
    std::map<Link, Index> link_numbers_;
    std::map<std::vector<Index>, Index> stack_numbers_;
    std::map<std::uint32_t, Index> stacks_of_profile_;
};

}  // namespace otel_ebpf::profile
