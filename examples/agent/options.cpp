// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
#include "options.hpp"

#include <CLI/CLI.hpp>

#include <charconv>
#include <cstdio>

namespace agent {
namespace {

constexpr const char* footer = R"(Outputs:
  console          spans as text: a live view on a terminal, plain lines in a pipe (NO_COLOR is respected)
  jsonl[:FILE]     OTLP/JSON, one export request per line, to FILE or standard output
  otlp[:URL]       OTLP/JSON over HTTP; default URL from OTEL_EXPORTER_OTLP_*, else http://127.0.0.1:4318
  none             count only

Exit codes:
  0  ended by --duration, a signal, or because every target exited
  2  the command line is wrong
  3  a target can't be instrumented: no such process, not a Go program, unreadable, no Probe fits
  4  the kernel or the privileges don't suffice: the message names the missing capability or feature
  5  the output can't be opened

Once every target is attached, one line that begins with "attached" goes to standard error.)";

std::string check_pid(const std::string& text) {
    int pid = 0;
    const auto end = text.data() + text.size();
    const auto [position, error] = std::from_chars(text.data(), end, pid);
    if (error == std::errc() && position == end && pid > 0) return {};
    return "'" + text + "' is no PID";
}

std::string check_output(const std::string& text) {
    const std::string kind = text.substr(0, text.find(':'));
    for (const char* known : {"console", "jsonl", "otlp", "none"})
        if (kind == known) return {};
    return "no output '" + text + "'; there are: console, jsonl[:FILE], otlp[:URL], none";
}

std::string check_kernel(const std::string& text) {
    return oe::site::KernelRelease::parse(text) ? std::string() : "'" + text + "' is no kernel release such as 6.1";
}

// "NAME=VALUE" into the option values; "" or what is wrong.
std::string add_probe_option(const std::string& text, oe::OptionValues& values) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos) return "'" + text + "': write NAME=VALUE";
    const auto value = oe::parse_option_value(text.substr(0, equals), text.substr(equals + 1));
    if (!value) return value.error().what;
    values[text.substr(0, equals)] = *value;
    return {};
}

}  // namespace

std::variant<Options, int> parse_options(int argc, char** argv) {
    Options options;
    std::vector<std::string> pids, settings;
    std::string kernel, format = "table", link = "jit";
    double seconds = 0;
    CLI::App app("Traces Go programs from outside: spans of HTTP requests, without touching the program.",
                 "otel-ebpf-trace");
    app.footer(footer);
    app.set_version_flag("--version", "otel-ebpf-trace " + std::string(oe::library_version));
    app.add_option("--pid", pids, "process to trace; repeatable")->check(check_pid)->type_name("N");
    app.add_option("--exe", options.executables, "trace every process that runs this file, now or later; repeatable")
        ->type_name("PATH");
    app.add_flag("--plan", options.plan, "print where probes would go and what they cost, then exit; attaches nothing");
    app.add_option("--format", format, "of --plan: table or json")->check(CLI::IsMember({"table", "json"}));
    app.add_option("--kernel", kernel, "plan for this kernel release, not the running one")
        ->check(check_kernel)
        ->type_name("X.Y");
    app.add_option("--output", options.output, "where spans go, see below")
        ->check(check_output)
        ->type_name("KIND[:WHERE]")
        ->capture_default_str();
    auto* duration =
        app.add_option("--duration", seconds, "end after so many seconds")->check(CLI::PositiveNumber)->type_name("S");
    app.add_option("--stats", options.stats_file, "write all counters and the report to FILE as JSON at the end")
        ->type_name("FILE");
    app.add_option("--set", settings, "option of a Probe, e.g. net_http.route_site=false; repeatable")
        ->type_name("NAME=VALUE");
    app.add_option("--profile-link", link,
                   "tell profilers which span a thread works for: jit (at their timer), eager (at every change: also "
                   "for readers without a cpu-clock timer), off")
        ->check(CLI::IsMember({"off", "jit", "eager"}))
        ->capture_default_str();
    app.add_option("--bpffs-root", options.bpffs_root,
                   "bpffs with the map that profilers read, otel/traces_ctx_v1; default OTEL_EBPF_BPF_FS_PATH, else "
                   "/sys/fs/bpf")
        ->type_name("DIR");
    app.add_flag("--verbose", options.verbose, "print messages of the library and of libbpf");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? exit_ok : exit_usage;
    }
    const auto refuse = [](const std::string& message) {
        std::fprintf(stderr, "otel-ebpf-trace: %s\n", message.c_str());
        return exit_usage;
    };
    for (const std::string& pid : pids) options.pids.push_back(std::stoi(pid));
    for (const std::string& setting : settings)
        if (const std::string problem = add_probe_option(setting, options.probe_options); !problem.empty())
            return refuse("--set: " + problem);
    if (options.pids.empty() && options.executables.empty())
        return refuse("nothing to trace: give --pid N or --exe PATH (see --help)");
    if (!kernel.empty()) options.kernel = oe::site::KernelRelease::parse(kernel);
    if (*duration) options.duration = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
    options.publication = *oe::parse_publication(link);
    options.plan_as_json = format == "json";
    return options;
}

}  // namespace agent
