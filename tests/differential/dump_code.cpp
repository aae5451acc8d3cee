// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// dump-code FILE [MAJOR.MINOR]: what the library reads in an executable, as lines of words divided by tabs. Of each
// function "function VADDR SIZE NAME", and with a kernel's release, of x86-64 code:
//
//   lengths LENGTHS                            of its instructions, a hexadecimal digit each
//   entry VADDR COST FILTER RULE               the site of its entry
//   returns RULE VADDR...                      those of its returns
//   after CALLEE VADDR...                      those after its calls of CALLEE, first two results intact
//   no-lengths, no-entry, no-returns, no-after REASON
//
// Numbers but lengths are hexadecimal. Functions are those of the file, each taken for one of Go.
#include <cstdio>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/core.h>

#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/site/select.hpp>

namespace oe = otel_ebpf;
namespace site = otel_ebpf::site;

namespace {

constexpr site::LiveRegisters two_results = 0b11;

void print_points(std::string_view kind, const oe::Result<std::vector<site::Point>>& points, std::string_view first) {
    if (!points) {
        fmt::print("no-{}\t{}\n", kind, points.error().what);
        return;
    }
    fmt::print("{}\t{}", kind, first.empty() ? to_string(points->front().rule) : first);
    for (const site::Point& point : *points) fmt::print("\t{:x}", point.vaddr);
    fmt::print("\n");
}

void print_sites(const site::Code& code, site::KernelRelease kernel, const std::set<std::uint64_t>& morestack) {
    const auto function = site::x86_64::decode(code, "lengths");
    if (!function) {
        fmt::print("no-lengths\t{}\n", function.error().what);
        return;
    }
    fmt::print("lengths\t");
    std::set<std::uint64_t> callees;
    for (const auto& instruction : function->instructions) {
        fmt::print("{:x}", instruction.encoding.length);
        if (instruction.flow == site::Flow::call) callees.insert(instruction.target);
    }
    fmt::print("\n");
    const auto is_morestack = [&](std::uint64_t vaddr) { return morestack.contains(vaddr); };
    const auto entry = site::entry(site::Arch::x86_64, code, kernel, site::all_registers, is_morestack);
    if (entry)
        fmt::print("entry\t{:x}\t{}\t{}\t{}\n", entry->vaddr, to_string(entry->cost), to_string(entry->filter),
                   to_string(entry->rule));
    else fmt::print("no-entry\t{}\n", entry.error().what);
    print_points("returns", site::returns(site::Arch::x86_64, code, kernel, two_results), {});
    for (const std::uint64_t callee : callees)
        print_points("after", site::after_call(site::Arch::x86_64, code, callee, kernel, two_results),
                     fmt::format("{:x}", callee));
}

int dump(const char* path, std::optional<site::KernelRelease> kernel) {
    const auto executable = oe::Executable::open(path);
    if (!executable) {
        fmt::print(stderr, "dump-code: {}\n", executable.error().what);
        return 1;
    }
    std::vector<oe::Function> functions;
    std::set<std::uint64_t> morestack;
    (*executable)->for_each_function([&](std::string_view name, std::uint64_t vaddr, std::uint64_t size) {
        functions.push_back({std::string(name), vaddr, size});
        if (name.starts_with("runtime.morestack")) morestack.insert(vaddr);
        return true;
    });
    for (const oe::Function& function : functions) {
        fmt::print("function\t{:x}\t{:x}\t{}\n", function.vaddr, function.size, function.name);
        if (!kernel) continue;
        const auto bytes = (*executable)->code(function);
        if (bytes) print_sites({function.vaddr, *bytes, function.name}, *kernel, morestack);
        else fmt::print("no-lengths\t{}\n", bytes.error().what);
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const auto kernel = argc == 3 ? site::KernelRelease::parse(argv[2]) : std::nullopt;
    if (argc != 2 && !kernel) {
        fmt::print(stderr, "usage: dump-code FILE [MAJOR.MINOR]\n");
        return 2;
    }
    return dump(argv[1], kernel);
}
