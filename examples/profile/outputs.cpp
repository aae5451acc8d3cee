// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
#include "outputs.hpp"

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include <otel_ebpf/profile/folded.hpp>

namespace profiler {
namespace {

namespace oe = otel_ebpf;

std::string encoded(const OutputChoice& output, const Recorded& recorded) {
    if (output.kind == "report.html")
        return oe::profile::to_report_html(recorded.profile, recorded.spans, recorded.report);
    return oe::profile::to_folded(recorded.profile);
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

oe::Result<void> write_outputs(const Options& options, const Recorded& recorded) {
    oe::Result<void> result;
    for (const OutputChoice& output : options.outputs) {
        auto written = write_file(output.where, encoded(output, recorded));
        if (!written && result) result = std::move(written);
    }
    return result;
}

}  // namespace profiler
