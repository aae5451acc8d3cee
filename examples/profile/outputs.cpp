// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
#include "outputs.hpp"

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include <otel_ebpf/profile/flame_graph.hpp>
#include <otel_ebpf/profile/folded.hpp>
#include <otel_ebpf/profile/otlp.hpp>
#include <otel_ebpf/profile/pprof.hpp>

namespace profiler {
namespace {

namespace oe = otel_ebpf;

using oe::profile::Profile;

constexpr OutputKind kinds[] = {
    {"folded", "-", [](const Profile& profile, const OutputChoice&, const Options&) { return to_folded(profile); }},
    {"pprof", "profile.pb.gz", [](const Profile& profile, const OutputChoice&, const Options&) { return to_pprof(profile); }},
    {"otlp", "profile.json",
     [](const Profile& profile, const OutputChoice& output, const Options&) {
         return output.where.ends_with(".pb") ? to_otlp_protobuf(profile) : to_otlp_json(profile);
     }},
    {"flame.svg", "flame.svg",
     [](const Profile& profile, const OutputChoice&, const Options& options) {
         return to_flame_graph_svg(profile, {.trace = options.trace, .span = options.span});
     }},
};

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

oe::Result<void> write_outputs(const Options& options, const oe::profile::Profile& profile) {
    oe::Result<void> result;
    for (const OutputChoice& output : options.outputs) {
        auto written = write_file(output.where, find_output_kind(output.kind)->encode(profile, output, options));
        if (!written && result) result = std::move(written);
    }
    return result;
}

}  // namespace profiler
