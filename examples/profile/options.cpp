// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
#include "options.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string>

#include <otel_ebpf/version_info.hpp>

#include "outputs.hpp"

namespace profiler {
namespace {

constexpr const char* footer = R"(Outputs, each of which may be given once:
  folded[:FILE]     one line per stack, for flame graph tools; default: standard output
  pprof[:FILE]      gzipped profile.proto for `go tool pprof`; default: profile.pb.gz
  otlp[:FILE]       OTLP profiles, in JSON, or in protobuf when FILE ends with .pb; default: profile.json
  otlp:URL          the same in protobuf, sent to an OTLP server, such as http://127.0.0.1:4318; for 5 s at most, with
                    OTEL_EXPORTER_OTLP_PROFILES_HEADERS and _TIMEOUT, or the general ones
  flame.svg[:FILE]  a flame graph for the browser; default: flame.svg
  report.html[:FILE]  with --spans: traces and the flame graph of each span on one page; default: report.html
FILE may be "-", standard output.

Samples carry the trace and span that their thread works for, where an OpenTelemetry SDK in the process publishes it,
or a tracer writes it to the shared map BPFFS/otel/traces_ctx_v1, which is made when absent: start in any order.

Exit codes:
  0  ended by --duration, a signal, or because every process of --pid exited
  2  the command line is wrong
  3  there is no such process
  4  the kernel or the privileges don't suffice: the message names the missing capability or feature
  5  an output can't be written
  6  no sample was taken: nothing that was chosen used the CPU

Once sampling, one line that begins with "profiling" goes to standard error.)";

std::string check_pid(const std::string& text) {
    int pid = 0;
    const auto end = text.data() + text.size();
    const auto [position, error] = std::from_chars(text.data(), end, pid);
    if (error == std::errc() && position == end && pid > 0) return {};
    return "'" + text + "' is no PID";
}

// "folded:stacks.txt" in its two parts; nullopt when there is no such kind.
std::optional<OutputChoice> parse_output(const std::string& text) {
    const std::size_t colon = text.find(':');
    const OutputKind* const kind = find_output_kind(text.substr(0, colon));
    if (kind == nullptr) return std::nullopt;
    return OutputChoice{kind->name, colon == std::string::npos ? kind->default_file : text.substr(colon + 1)};
}

std::string check_output(const std::string& text) {
    const auto output = parse_output(text);
    std::string names;
    for (const OutputKind& kind : output_kinds()) names += (names.empty() ? "" : ", ") + std::string(kind.name);
    if (!output) return "no output '" + text + "'; there are: " + names + ", each with [:FILE]";
    if (output->kind != "otlp" && output->where.starts_with("http"))
        return "only otlp is sent to a server: '" + text + "'";
    return output->where.empty() ? "'" + text + "': the file name is missing" : std::string();
}

template <class Id>
std::string check_id(const std::string& text) {
    return Id::from_hex(text) ? std::string()
                              : "'" + text + "' is no id: " + std::to_string(Id::hex_length) + " lower-case hex digits";
}

int refuse(const std::string& message) {
    std::fprintf(stderr, "otel-ebpf-profile: %s\n", message.c_str());
    return exit_usage;
}

// "" or what is wrong.
std::string add_outputs(const std::vector<std::string>& texts, Options& options) {
    for (const std::string& text : texts) {
        OutputChoice output = *parse_output(text);
        for (const OutputChoice& other : options.outputs) {
            if (other.kind == output.kind) return "--output " + output.kind + " is given twice";
            if (other.where == output.where)
                return "--output " + output.kind + " and " + other.kind + " go to the same place: " + output.where;
        }
        options.outputs.push_back(std::move(output));
    }
    if (options.outputs.empty()) options.outputs.push_back({"folded", "-"});
    return {};
}

}  // namespace

std::variant<Options, int> parse_options(int argc, char** argv) {
    Options options;
    std::vector<std::string> pids, outputs;
    std::string trace, span;
    double seconds = 10;
    CLI::App app("Samples the CPU: which functions run, and for which trace and span.", "otel-ebpf-profile");
    app.footer(footer);
    app.set_version_flag("--version", "otel-ebpf-profile " + std::string(otel_ebpf::library_version));
    app.add_option("--pid", pids, "process to sample; repeatable")->check(check_pid)->type_name("N");
    app.add_flag("--all", options.all, "sample every process, and the kernel on its own");
    app.add_flag("--spans", options.spans,
                 "trace the processes of --pid as otel-ebpf-trace does: for report.html, and for samples with spans "
                 "where no other tracer runs");
    app.add_option("--hz", options.hz, "samples per second of CPU time")
        ->check(CLI::Range(1u, 1'000'000u))
        ->type_name("N")
        ->capture_default_str();
    app.add_option("--duration", seconds, "end after so many seconds; 0: when interrupted")
        ->check(CLI::NonNegativeNumber)
        ->type_name("S")
        ->capture_default_str();
    app.add_option("--output", outputs, "what to write, see below; repeatable; default: folded")
        ->check(check_output)
        ->type_name("KIND[:FILE]");
    app.add_option("--trace", trace, "of --output flame.svg: only the samples of this trace")
        ->check(check_id<otel_ebpf::TraceId>)
        ->type_name("HEX");
    app.add_option("--span", span, "of --output flame.svg: only the samples of this span")
        ->check(check_id<otel_ebpf::SpanId>)
        ->type_name("HEX");
    app.add_option("--bpffs-root", options.bpffs_root,
                   "bpffs that holds otel/traces_ctx_v1; default: OTEL_EBPF_BPF_FS_PATH, else /sys/fs/bpf")
        ->type_name("PATH");
    app.add_flag("--verbose", options.verbose, "print messages of the library and of libbpf");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? exit_ok : exit_usage;
    }
    if (pids.empty() && !options.all) return refuse("nothing to sample: give --pid N or --all (see --help)");
    if (!pids.empty() && options.all) return refuse("give --pid N or --all, not both");
    for (const std::string& pid : pids) options.pids.push_back(std::stoi(pid));
    if (const std::string problem = add_outputs(outputs, options); !problem.empty()) return refuse(problem);
    const bool is_drawn = std::ranges::any_of(
        options.outputs, [](const OutputChoice& output) { return output.kind == "flame.svg"; });
    if ((!trace.empty() || !span.empty()) && !is_drawn)
        return refuse("--trace and --span choose what --output flame.svg shows, which is not asked for");
    if (options.spans && options.all) return refuse("--spans needs --pid N: which processes to trace");
    options.trace = otel_ebpf::TraceId::from_hex(trace);
    options.span = otel_ebpf::SpanId::from_hex(span);
    options.duration = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
    if (seconds == 0) options.duration.reset();
    return options;
}

}  // namespace profiler
