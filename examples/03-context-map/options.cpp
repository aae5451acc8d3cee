// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
#include "options.hpp"

#include <CLI/CLI.hpp>

#include <otel_ebpf/version_info.hpp>

namespace ctx {
namespace {

constexpr const char* footer = R"(Entries that are written just in time, at a profiler's timer interrupt, exist for
microseconds only: an empty table is normal then.

Exit codes:
  0  done, also when the map is empty
  2  the command line is wrong
  3  there is no such map: no bpffs at the root, or no tool has made the map yet
  4  the map can't be used: no permission, read-only, of another shape, or a container's PID namespace)";

}  // namespace

std::variant<Options, int> parse_options(int argc, char** argv) {
    Options options;
    double seconds = 1;
    bool all = false, dead = false;
    CLI::App app("Looks into the shared trace-context map of a bpffs (OTEP 4855): which thread works for which span.",
                 "otel-ebpf-ctx");
    app.footer(footer);
    app.set_version_flag("--version", "otel-ebpf-ctx " + std::string(otel_ebpf::library_version));
    app.require_subcommand(1);
    app.fallthrough();
    app.add_option("--bpffs-root", options.bpffs_root,
                   "where the bpffs is mounted; default: OTEL_EBPF_BPF_FS_PATH, else /sys/fs/bpf")
        ->type_name("PATH");
    app.add_subcommand("show", "print all entries once");
    CLI::App* const watch = app.add_subcommand("watch", "print all entries again and again");
    watch->add_option("--interval", seconds, "seconds between two tables")
        ->check(CLI::Range(0.01, 86400.0))
        ->type_name("S")
        ->capture_default_str();
    watch->add_option("--count", options.count, "end after so many tables")->check(CLI::PositiveNumber)->type_name("N");
    CLI::App* const drain = app.add_subcommand(
        "drain", "remove entries, whoever wrote them, and print how many; wants one of --dead and --all");
    CLI::Option* const dead_flag = drain->add_flag("--dead", dead, "those of threads that have ended");
    drain->add_flag("--all", all, "all of them; a tool that publishes eagerly writes again when a span changes")
        ->excludes(dead_flag);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? exit_ok : exit_usage;
    }
    if (drain->parsed() && !all && !dead) {
        std::fprintf(stderr, "otel-ebpf-ctx: drain: say which entries: --dead or --all (see drain --help)\n");
        return exit_usage;
    }
    if (watch->parsed()) options.command = Command::watch;
    if (drain->parsed()) options.command = all ? Command::drain_all : Command::drain_dead;
    options.interval = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
    return options;
}

}  // namespace ctx
