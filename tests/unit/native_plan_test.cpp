// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The planner on a native program: this one.
#include <otel_ebpf/plan.hpp>

#include <string>
#include <string_view>
#include <vector>

#include "../test.hpp"
#include "native_functions.h"

namespace {

using namespace otel_ebpf;

UprobeSpec uprobe(const std::string& symbol, Site at = Site::entry) {
    UprobeSpec spec;
    spec.symbol = symbol;
    spec.at = at;
    spec.program = "program";
    spec.live_registers = at == Site::returns ? results(0) : args(0, 1);
    return spec;
}

std::shared_ptr<const Executable> this_program() {
    const auto executable = Executable::open("/proc/self/exe");
    REQUIRE(executable);
    return *executable;
}

AttachPlan plan_of(const Executable& executable, std::vector<UprobeSpec> uprobes, Abi abi = Abi::native) {
    ProbeSpec probe;
    probe.name = "test";
    probe.abi = abi;
    probe.event_kind = {"kind", 0, 2};
    probe.uprobes = std::move(uprobes);
    Assignment assignment;
    const std::vector<ProbeSpec> probes = {probe};
    REQUIRE(assignment.add(probes, {}));
    return plan(executable, probes, assignment, {}, {6, 18});
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// Where a function of this process came from in its file.
std::uint64_t vaddr_of(const Executable& executable, const std::string& symbol) {
    const std::string_view names[] = {symbol};
    const auto found = executable.find_functions(names);
    REQUIRE(found.size() == 1);
    return found.front().vaddr;
}

}  // namespace

TEST_CASE("native plan: an entry and every return of functions of this program") {
    const auto executable = this_program();
    const long numbers[] = {1, 2, 3};
    CHECK(native_sum(numbers, 3) != 0);  // so that it is linked in
    const AttachPlan planned = plan_of(*executable, {uprobe("native_sum"), uprobe("native_sum", Site::returns),
                                                     uprobe("native_switch", Site::returns)});
    REQUIRE(planned.rows.size() >= 3);
    for (const PlanRow& row : planned.rows) {
        CAPTURE(row.symbol, row.reason);
        REQUIRE(row.attach);
        const std::uint64_t vaddr = vaddr_of(*executable, row.symbol);
        CHECK((row.at == Site::returns || row.vaddr - vaddr < 48));
        CHECK(row.file_offset == *executable->file_offset(row.vaddr));
        CHECK(OE_DESCRIPTOR_ARGS(row.descriptor) ==
              (row.at == Site::entry ? OE_ARGS_NATIVE_REGISTERS : OE_ARGS_NATIVE_RESULTS));
    }
    CHECK(planned.go_version.empty());
}

TEST_CASE("native plan: two functions of one name are refused, with both places") {
    const auto executable = this_program();
    CHECK(native_twins(1) == 8);
    const AttachPlan planned = plan_of(*executable, {uprobe("native_twin")});
    REQUIRE(planned.rows.size() == 1);
    CHECK_FALSE(planned.rows[0].attach);
    CHECK_FALSE(planned.rows[0].expected);
    CHECK(contains(planned.rows[0].reason, "several functions have this name, at 0x"));
}

TEST_CASE("native plan: what is not there is named, and a Go Probe does not fit") {
    const auto executable = this_program();
    const AttachPlan absent = plan_of(*executable, {uprobe("no_such_function")});
    CHECK_FALSE(absent.attaches_anything());
    CHECK(contains(absent.rows.at(0).reason, "no such function"));
    CHECK(absent.rows.at(0).expected);  // its library is not linked in
    const AttachPlan of_go = plan_of(*executable, {uprobe("main.main")}, Abi::go);
    CHECK_FALSE(of_go.attaches_anything());
}

TEST_CASE("native plan: no function of this program gets a site outside of it or inside an instruction") {
    const auto executable = this_program();
    otel_ebpf::detail::ExecutableImage image(*executable);
    std::size_t functions = 0, emulated = 0, refused = 0, seen = 0;
    std::vector<Function> all;
    executable->for_each_function([&](std::string_view name, std::uint64_t vaddr, std::uint64_t size) {
        if (seen++ % 37 == 0) all.push_back({std::string(name), vaddr, size});
        return all.size() < 120;
    });
    for (const Function& function : all) {
        const auto code = image.code_of(function, Abi::native);
        REQUIRE(code);
        const auto point = site::entry(site::Arch::x86_64, *code, {6, 18}, args(0), nullptr);
        ++functions;
        if (!point) {
            ++refused;
            continue;
        }
        emulated += point->cost == site::CostClass::emulated ? 1 : 0;
        const auto decoded = site::x86_64::decode(*code, "a check");
        REQUIRE(decoded);
        bool starts = false;
        for (const auto& instruction : decoded->instructions) {
            starts = starts || decoded->vaddr_of(instruction) == point->vaddr;
            if (decoded->vaddr_of(instruction) >= point->vaddr) break;
            INFO(function.name << ": " << point->why);
            CHECK((instruction.flow == site::Flow::next && (instruction.writes & 0x90) == 0));  // rsp, rdi
        }
        CHECK(starts);
    }
    CHECK(functions == all.size());
    INFO(functions << " functions, " << emulated << " emulated, " << refused << " refused");
    CHECK(emulated > functions / 2);
    CHECK(refused < functions / 10);
}
