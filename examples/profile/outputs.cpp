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

bool wants_protobuf(const Options& options, const OutputChoice& output) {
    return options.format == Format::protobuf || (options.format == Format::automatic && output.where.ends_with(".pb"));
}

std::string encoded(const Options& options, const OutputChoice& output, const oe::profile::Profile& profile) {
    if (output.kind == "pprof") return oe::profile::to_pprof(profile);
    if (output.kind == "otlp")
        return wants_protobuf(options, output) ? oe::profile::to_otlp_protobuf(profile) : oe::profile::to_otlp_json(profile);
    if (output.kind == "flame.svg")
        return oe::profile::to_flame_graph_svg(profile, {.trace = options.trace, .span = options.span});
    return oe::profile::to_folded(profile);
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

oe::Result<void> write_outputs(const Options& options, const oe::profile::Profile& profile) {
    oe::Result<void> result;
    for (const OutputChoice& output : options.outputs) {
        auto written = write_file(output.where, encoded(options, output, profile));
        if (!written && result) result = std::move(written);
    }
    return result;
}

}  // namespace profiler
