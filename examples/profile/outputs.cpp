// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
#include "outputs.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <otel_ebpf/profile/flame_graph.hpp>
#include <otel_ebpf/profile/folded.hpp>
#include <otel_ebpf/profile/otlp.hpp>
#include <otel_ebpf/profile/otlp_http.hpp>
#include <otel_ebpf/profile/pprof.hpp>

namespace profiler {
namespace {

namespace oe = otel_ebpf;

std::string flame_graph(const Recorded& recorded, const Options& options) {
    oe::profile::FlameGraphOptions out{.trace = options.trace, .span = options.span};
    for (const oe::profile::SpanRecord& span : recorded.spans) out.span_names[span.span_id.to_hex()] = span.name;
    const auto is_drawn = [&options](const oe::profile::Sample& sample) {
        return sample.trace_id == options.trace.value_or(sample.trace_id) &&
               sample.span_id == options.span.value_or(sample.span_id);
    };
    if (!recorded.profile.samples.empty() && std::ranges::none_of(recorded.profile.samples, is_drawn))
        std::fprintf(stderr, "warning: flame.svg is empty: no sample is of the trace or span that was chosen\n");
    return to_flame_graph_svg(recorded.profile, out);
}

constexpr OutputKind kinds[] = {
    {"folded", "-",
     [](const Recorded& recorded, const OutputChoice&, const Options&) { return to_folded(recorded.profile); }},
    {"pprof", "profile.pb.gz",
     [](const Recorded& recorded, const OutputChoice&, const Options&) { return to_pprof(recorded.profile); }},
    {"otlp", "profile.json",
     [](const Recorded& recorded, const OutputChoice& output, const Options&) {
         return output.where.ends_with(".pb") ? to_otlp_protobuf(recorded.profile) : to_otlp_json(recorded.profile);
     }},
    {"flame.svg", "flame.svg",
     [](const Recorded& recorded, const OutputChoice&, const Options& options) {
         return flame_graph(recorded, options);
     }},
    {"report.html", "report.html",
     [](const Recorded& recorded, const OutputChoice&, const Options&) {
         return to_report_html(recorded.profile, recorded.spans, recorded.report);
     }},
};

bool is_url(std::string_view where) {
    return where.starts_with("http://") || where.starts_with("https://");
}

oe::Result<void> send(const oe::profile::Profile& profile, const OutputChoice& output) {
    oe::OtlpHttpOptions options = oe::otlp_http_options_from_environment(oe::profile::otlp_profiles);
    options.url = oe::profile::otlp_profiles_url(output.where);
    options.give_up_after = std::chrono::seconds(5);  // somebody waits for the end
    return oe::profile::send_otlp(profile, options);
}

oe::Result<void> write_file(const std::string& path, const std::string& bytes) {
    const std::string name = path == "-" ? "standard output" : path;
    const auto close = [](std::FILE* file) { return file == stdout ? std::fflush(file) : std::fclose(file); };
    std::unique_ptr<std::FILE, decltype(close)> file(path == "-" ? stdout : std::fopen(path.c_str(), "we"), close);
    if (!file) return oe::fail_errno(oe::Stage::open, "write " + name);
    const bool is_whole = std::fwrite(bytes.data(), 1, bytes.size(), file.get()) == bytes.size();
    if (close(file.release()) != 0 || !is_whole) return oe::fail_errno(oe::Stage::open, "write " + name);
    return {};
}

}  // namespace

std::span<const OutputKind> output_kinds() {
    return kinds;
}

const OutputKind* find_output_kind(const std::string& name) {
    for (const OutputKind& kind : kinds)
        if (kind.name == name) return &kind;
    return nullptr;
}

oe::Result<void> write_outputs(const Options& options, const Recorded& recorded) {
    oe::Result<void> result;
    for (const OutputChoice& output : options.outputs) {
        const auto encode = find_output_kind(output.kind)->encode;
        auto written = is_url(output.where) ? send(recorded.profile, output)
                                            : write_file(output.where, encode(recorded, output, options));
        if (!written && result) result = std::move(written);
    }
    return result;
}

}  // namespace profiler
