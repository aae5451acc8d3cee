// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
#include "inspect.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/go/line_table.hpp>
#include <otel_ebpf/plan.hpp>

#include "promise.hpp"

namespace hostile {

namespace oe = otel_ebpf;

namespace {

oe::UprobeSpec uprobe(std::string symbol, oe::Site at, std::string callee = {}) {
    oe::UprobeSpec spec;
    spec.symbol = std::move(symbol);
    spec.at = at;
    spec.callee = std::move(callee);
    spec.program = "program";
    spec.required = false;
    spec.live_registers = at == oe::Site::returns ? 0 : 0b11;
    return spec;
}

// The points of net/http, and every kind of point in functions that each Go executable has; main() of C and C++.
std::vector<oe::ProbeSpec> probes() {
    std::vector<oe::ProbeSpec> all(2);
    oe::ProbeSpec& go = all[0];
    go.name = "go";
    for (const char* const symbol : {"net/http.serverHandler.ServeHTTP", "net/http.(*response).finishRequest",
                                     "runtime.newproc1", "runtime.mallocgc", "main.main"})
        go.uprobes.push_back(uprobe(symbol, oe::Site::entry));
    for (const char* const symbol : {"net/http.serverHandler.ServeHTTP", "runtime.gopark", "runtime.main"})
        go.uprobes.push_back(uprobe(symbol, oe::Site::returns));
    go.uprobes.push_back(
        uprobe("net/http.(*ServeMux).ServeHTTP", oe::Site::after_call, "net/http.(*ServeMux).findHandler"));
    go.uprobes.push_back(uprobe("runtime.newproc1", oe::Site::after_call, "runtime.malg"));
    const oe::FactQuery facts[] = {
        oe::offset_of("std", "net/http", "Request", "Method"), oe::offset_of("std", "runtime", "g", "stack.hi"),
        oe::offset_of("example.com/m", "runtime", "g", "m"),   oe::size_of("std", "net/http", "Request"),
        oe::address_of_symbol("runtime.main"),                 oe::address_of_type("net/http", "Request"),
        oe::version_in("std", oe::from_version(1, 22))};
    for (std::size_t i = 0; i < std::size(facts); ++i) {
        oe::FactSpec fact;
        fact.slot = {"slot", i, 2};
        fact.what = facts[i];
        fact.required = false;
        go.facts.push_back(fact);
    }
    oe::ProbeSpec& native = all[1];
    native.name = "native";
    native.abi = oe::Abi::native;
    native.uprobes = {uprobe("main", oe::Site::entry), uprobe("main", oe::Site::returns)};
    return all;
}

void plan_all(const oe::Executable& executable, oe::site::KernelRelease kernel, std::size_t file_size,
                     Depth& depth) {
    static const std::vector<oe::ProbeSpec> specs = probes();
    oe::Assignment assignment;
    promise(worked(assignment.add(specs, {})), "the Probes of this test can be numbered");
    const oe::AttachPlan plan = oe::plan(executable, specs, assignment, {}, kernel);
    for (const oe::PlanRow& row : plan.rows) {
        promise(!row.reason.empty(), "every row of a plan has a reason");
        if (!row.attach) continue;
        ++depth.attached;
        promise(row.file_offset < file_size, "a probe lies in the file");
        promise(executable.elf().is_code(row.vaddr, 1), "a probe lies in code");
    }
    for (const oe::PlanFact& fact : plan.facts) {
        promise(fact.known || !fact.reason.empty(), "every fact that is not known has a reason");
        if (fact.known) ++depth.facts;
    }
}

void list_functions(const oe::Executable& executable, Depth& depth) {
    std::optional<oe::Function> last;
    executable.for_each_function([&](std::string_view name, std::uint64_t vaddr, std::uint64_t size) {
        ++depth.functions;
        promise(executable.elf().is_code(vaddr, size), "a function lies in code");
        if (depth.functions % 64 == 1) last = oe::Function{std::string(name), vaddr, size};
        return true;
    });
    if (!last || last->size == 0) return;
    promise(executable.function_at(last->vaddr).has_value(), "a function covers its own address");
    if (const auto code = executable.code(*last); worked(code))
        promise(code->size() == last->size, "a function has the code that it says");
}

void read_lines(const oe::Executable& executable, Depth& depth) {
    const oe::ElfFile& elf = executable.elf();
    const auto header = oe::go::read_pclntab_header(elf);
    if (!worked(header)) return;
    auto table = oe::go::Pclntab::open(elf, *header);
    if (!worked(table)) return;
    const auto start = oe::go::find_text_start(elf, *header, *table);
    if (!worked(start)) return;
    const std::uint32_t end = table->entry(table->size());
    const auto lines = oe::go::LineTable::open(
        elf, std::move(*table), *start, oe::go::find_function_data(elf, *header, executable.go_version()));
    if (!worked(lines)) return;
    for (std::uint64_t step = 0; step < 64; ++step) {
        const std::uint64_t vaddr = *start + step * end / 64;
        static_cast<void>(lines->stack_delta_at(vaddr));
        for (const oe::go::SourcePlace& place : lines->places_at(vaddr)) {
            promise(place.line >= 0, "a line has no negative number");
            ++depth.places;
        }
    }
}

// Struct layouts by DWARF, whether the table knows them or not.
void read_layouts(const oe::Executable& executable, Depth& depth) {
    const auto types = oe::go::DwarfTypes::open(executable.elf());
    if (!worked(types)) return;
    for (const auto& [type, member] : {std::pair("runtime.g", "goid"), std::pair("runtime.g", "sched.pc"),
                                       std::pair("runtime.m", "curg"), std::pair("net/http.Request", "URL")}) {
        if (types->member_offset(type, member).state == oe::go::DwarfState::found) ++depth.layouts;
        if (types->size_of(type).state == oe::go::DwarfState::found) ++depth.layouts;
    }
}

}  // namespace

Depth inspect(std::span<const std::byte> file) {
    Depth depth;
    const auto opened = oe::Executable::from_memory(file);
    if (!worked(opened)) return depth;
    const oe::Executable& executable = **opened;
    depth.opened = true;
    depth.is_go = executable.is_go();
    depth.text_start = executable.go_text_start();
    promise(executable.build_id().size() <= 2 * file.size(), "a build id is a part of the file");
    for (const oe::go::Dependency& module : executable.modules())
        static_cast<void>(module.effective().known_version());
    list_functions(executable, depth);
    for (const oe::site::KernelRelease kernel : {oe::site::KernelRelease{6, 1}, oe::site::KernelRelease{6, 18}})
        plan_all(executable, kernel, file.size(), depth);
    if (const auto offset = executable.tls_g_offset(); worked(offset))
        promise(*offset % 8 == 0, "the TLS offset of g is aligned");
    if (depth.is_go) {
        read_lines(executable, depth);
        read_layouts(executable, depth);
    }
    return depth;
}

}  // namespace hostile
