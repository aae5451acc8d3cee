// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// publication_modes BPFFS PID=MODE...: one Manager with a target per argument. Each line "PID MODE" on standard input
// changes a target; the answer on standard output is "PID MODE: ok", or the error. Ends with its input.
#include <poll.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "agent_bundle.hpp"

namespace oe = otel_ebpf;

namespace {

struct Wish {
    pid_t pid = 0;
    oe::Publication publication = oe::Publication::off;
};

std::optional<Wish> parse(std::string_view text, char separator) {
    Wish wish;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), wish.pid);
    if (error != std::errc() || end == text.data() + text.size() || *end != separator) return std::nullopt;
    const auto mode = oe::parse_publication(text.substr(static_cast<std::size_t>(end - text.data()) + 1));
    if (!mode) return std::nullopt;
    wish.publication = *mode;
    return wish;
}

bool input_is_ready() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    return ::poll(&input, 1, 0) > 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (arguments.size() < 2) {
        fmt::print(stderr, "usage: publication_modes BPFFS PID=MODE...\n");
        return 2;
    }
    std::vector<oe::Target> targets;
    for (std::size_t i = 1; i < arguments.size(); ++i) {
        const auto wish = parse(arguments[i], '=');
        if (!wish) {
            fmt::print(stderr, "publication_modes: {}: want PID=off, PID=jit or PID=eager\n", arguments[i]);
            return 2;
        }
        targets.emplace_back(oe::ProcessTarget{wish->pid, wish->publication});
    }
    auto manager = oe::Manager::open({.bundles = {agent::bundle()},
                                      .targets = targets,
                                      .publication = oe::Publication::off,
                                      .bpffs_root = arguments.front()});
    if (!manager) {
        fmt::print(stderr, "publication_modes: {}\n", manager.error().what);
        return 1;
    }
    std::cout << "ready" << std::endl;
    for (;;) {
        (*manager)->poll(std::chrono::milliseconds(20));
        if (!input_is_ready()) continue;
        std::string line;
        if (!std::getline(std::cin, line)) return 0;
        const auto wish = parse(line, ' ');
        if (!wish) {
            std::cout << line << ": want PID MODE" << std::endl;
            continue;
        }
        const auto changed = (*manager)->set_publication(wish->pid, wish->publication);
        std::cout << line << ": " << (changed ? "ok" : changed.error().what) << std::endl;
    }
}
