// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The planner on real Go servers, with Probes written by hand.
#include <otel_ebpf/plan.hpp>

#include <string>
#include <string_view>
#include <vector>

#include "../test.hpp"
#include "go_targets.hpp"

namespace {

using namespace otel_ebpf;

constexpr site::KernelRelease old_kernel{6, 1}, new_kernel{6, 18};
const std::string handler = "net/http.serverHandler.ServeHTTP";
const std::string finish = "net/http.(*response).finishRequest";
const std::string mux = "net/http.(*ServeMux).ServeHTTP";
const std::string nowhere = "example.com/no.Where";

UprobeSpec uprobe(const std::string& symbol, Site at = Site::entry) {
    UprobeSpec spec;
    spec.symbol = symbol;
    spec.at = at;
    spec.program = "program_of_" + symbol;
    return spec;
}

FactSpec fact(std::size_t slot, FactQuery what, bool required = true) {
    FactSpec spec;
    spec.slot = {"slot_" + std::to_string(slot), slot, 2};
    spec.what = what;
    spec.required = required;
    return spec;
}

ProbeSpec probe(std::vector<UprobeSpec> uprobes) {
    ProbeSpec spec;
    spec.name = "test";
    spec.event_kind = {"kind", 0, 2};
    spec.uprobes = std::move(uprobes);
    return spec;
}

AttachPlan plan_of(const std::string& path, const ProbeSpec& spec, const OptionValues& options = {},
                   site::KernelRelease kernel = new_kernel) {
    const auto executable = Executable::open(path);
    REQUIRE(executable);
    Assignment assignment;
    const std::vector<ProbeSpec> probes = {spec};
    REQUIRE(assignment.add(probes, options));
    return plan(**executable, probes, assignment, options, kernel);
}

const PlanRow& row_of(const AttachPlan& planned, std::string_view symbol, Site at = Site::entry) {
    for (const PlanRow& row : planned.rows)
        if (row.symbol == symbol && row.at == at) return row;
    FAIL("no row of " << symbol);
    return planned.rows.front();
}

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

TEST_CASE("plan: entries, ends and call sites of every build, emulated on old and new kernels") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    UprobeSpec route = uprobe(mux, Site::after_call);
    route.callee = "net/http.(*ServeMux).findHandler";
    route.live_registers = results(2, 3);
    route.go = from_version(1, 22);
    const ProbeSpec spec = probe({uprobe(handler), uprobe(finish, Site::next_call), route});
    for (const GoTarget& target : targets)
        for (const site::KernelRelease kernel : {old_kernel, new_kernel}) {
            const AttachPlan plain = plan_of(target.plain, spec, {}, kernel);
            const AttachPlan stripped = plan_of(target.stripped, spec, {}, kernel);
            const bool has_route = target.release != "1.19";
            for (const AttachPlan* planned : {&plain, &stripped}) {
                CAPTURE(planned->executable);
                REQUIRE(planned->rows.size() == 3);
                CHECK(planned->kernel == kernel);
                CHECK(planned->go_version.starts_with("go" + target.release + "."));
                for (const PlanRow& row : planned->rows) {
                    if (row.symbol == mux && !has_route) continue;
                    INFO(row.symbol << ": " << row.reason);
                    CHECK(row.attach);
                    CHECK(row.cost == site::CostClass::emulated);
                    CHECK(row.vaddr != 0);
                    CHECK(row.file_offset != 0);
                    CHECK(OE_DESCRIPTOR_COST(row.descriptor) == OE_COST_EMULATED);
                    CHECK(OE_DESCRIPTOR_KIND(row.descriptor) == static_cast<std::uint32_t>(row.at));
                    CHECK((OE_DESCRIPTOR_FILTER(row.descriptor) == OE_FILTER_STACK_CHECK) ==
                          (row.rule == site::Rule::stack_check_jump || row.filter == site::FlagsFilter::stack_check));
                }
                const PlanRow& routed = row_of(*planned, mux, Site::after_call);
                CHECK(routed.attach == has_route);
                CHECK(routed.expected == !has_route);
                if (has_route) CHECK(OE_DESCRIPTOR_ARGS(routed.descriptor) == OE_ARGS_GO_RESULTS);
                else CHECK(contains(routed.reason, "not in Go 1.19"));
            }
            // Stripping moves nothing in the text.
            for (std::size_t i = 0; i < 3; ++i) CHECK(plain.rows[i].descriptor == stripped.rows[i].descriptor);
        }
}

TEST_CASE("plan: a plan is a function of its input") {
    const std::string path = test_target("server-go1.24");
    if (path.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    const ProbeSpec spec = probe({uprobe(handler), uprobe(finish, Site::next_call)});
    const AttachPlan first = plan_of(path, spec), second = plan_of(path, spec);
    for (std::size_t i = 0; i < first.rows.size(); ++i) {
        CHECK(first.rows[i].file_offset == second.rows[i].file_offset);
        CHECK(first.rows[i].descriptor == second.rows[i].descriptor);
    }
    CHECK(std::memcmp(&first.table_row, &second.table_row, sizeof(first.table_row)) == 0);
}

TEST_CASE("plan: a group attaches whole or not at all") {
    const std::string path = test_target("server-go1.24");
    if (path.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    UprobeSpec in_group = uprobe(finish, Site::next_call), other_in_group = uprobe(nowhere);
    in_group.group = other_in_group.group = "pair";
    FactSpec attached;
    attached.slot = {"pair_attached", 40, 2};
    attached.group = "pair";

    SECTION("a required part is missing: the rest of the Probe stays") {
        ProbeSpec spec = probe({uprobe(handler), in_group, other_in_group});
        spec.facts = {attached};
        const AttachPlan planned = plan_of(path, spec);
        CHECK(row_of(planned, handler).attach);
        CHECK_FALSE(row_of(planned, finish, Site::next_call).attach);
        CHECK(contains(row_of(planned, finish, Site::next_call).reason, "group pair"));
        CHECK_FALSE(row_of(planned, finish, Site::next_call).expected);
        CHECK(planned.table_row.value[0] == 0);
    }
    SECTION("an optional part is missing: the group stays") {
        other_in_group.required = false;
        ProbeSpec spec = probe({uprobe(handler), in_group, other_in_group});
        spec.facts = {attached};
        const AttachPlan planned = plan_of(path, spec);
        CHECK(row_of(planned, finish, Site::next_call).attach);
        CHECK(row_of(planned, nowhere).expected);
        CHECK(planned.table_row.value[0] == 1);
        CHECK(planned.facts.at(0).known);
    }
}

TEST_CASE("plan: without a required part, the Probe does not attach; without an optional one it does") {
    const std::string path = test_target("server-go1.24");
    if (path.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    UprobeSpec missing = uprobe(nowhere);
    const AttachPlan without = plan_of(path, probe({uprobe(handler), missing}));
    CHECK_FALSE(without.attaches_anything());
    CHECK(contains(row_of(without, handler).reason, nowhere));
    CHECK(row_of(without, nowhere).absent);
    missing.required = false;
    const AttachPlan with = plan_of(path, probe({uprobe(handler), missing}));
    CHECK(row_of(with, handler).attach);
    CHECK(row_of(with, nowhere).expected);
}

TEST_CASE("plan: a library that is not linked in is nothing to worry about") {
    const std::string path = test_target("server-go1.24");
    if (path.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    const AttachPlan planned = plan_of(path, probe({uprobe(nowhere), uprobe(nowhere + "Else")}));
    CHECK_FALSE(planned.attaches_anything());
    for (const PlanRow& row : planned.rows) {
        CHECK(row.expected);
        CHECK(contains(row.reason, "not linked in"));
    }
}

TEST_CASE("plan: version ranges choose among the forms of a hook") {
    const std::string path = test_target("server-go1.24");
    if (path.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    UprobeSpec before = uprobe(handler), from = uprobe(finish, Site::next_call);
    before.go = below_version(1, 24);
    from.go = from_version(1, 24);
    const AttachPlan planned = plan_of(path, probe({before, from}));
    CHECK_FALSE(row_of(planned, handler).attach);
    CHECK(row_of(planned, handler).expected);
    CHECK(contains(row_of(planned, handler).reason, "not in Go 1.24"));
    CHECK(row_of(planned, finish, Site::next_call).attach);
}

TEST_CASE("plan: options turn their uprobes on and off") {
    const std::string path = test_target("server-go1.24");
    if (path.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    UprobeSpec optional = uprobe(finish, Site::next_call);
    optional.option = "ends";
    ProbeSpec spec = probe({uprobe(handler), optional});
    for (const bool by_default : {false, true}) {
        spec.options = {{"ends", by_default, "", {}}};
        CHECK(row_of(plan_of(path, spec), finish, Site::next_call).attach == by_default);
        for (const bool value : {false, true})
            CHECK(row_of(plan_of(path, spec, {{"test.ends", value}}), finish, Site::next_call).attach == value);
        CHECK(row_of(plan_of(path, spec, {{"other.ends", !by_default}}), finish, Site::next_call).attach == by_default);
    }
    const PlanRow off = row_of(plan_of(path, spec, {{"test.ends", false}}), finish, Site::next_call);
    CHECK(off.expected);
    CHECK(off.reason == "option test.ends is off");
    CHECK(row_of(plan_of(path, spec, {{"test.ends", false}}), handler).attach);
}

TEST_CASE("plan: facts go to the table row, each by the alternative of its Go release") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    ProbeSpec spec = probe({uprobe(handler)});
    FactSpec old_rws = fact(2, offset_of("std", "net/http", "http2responseWriter", "rws"));
    FactSpec new_rws = fact(2, offset_of("std", "net/http/internal/http2", "responseWriter", "rws"));
    old_rws.go = below_version(1, 27);
    new_rws.go = from_version(1, 27);
    FactSpec pattern = fact(4, offset_of("std", "net/http", "Request", "Pattern"), false);
    pattern.go = from_version(1, 23);
    spec.facts = {fact(0, offset_of("std", "net/http", "Request", "Method")), old_rws, new_rws, pattern,
                  fact(6, version_in("std", from_version(1, 24)), false)};
    for (const GoTarget& target : targets)
        for (const std::string& path : {target.plain, target.stripped}) {
            CAPTURE(path);
            const AttachPlan planned = plan_of(path, spec);
            CHECK(row_of(planned, handler).attach);
            REQUIRE(planned.facts.size() == 4);
            CHECK(planned.table_row.value[planned.facts[0].index] == 0);
            CHECK(planned.facts[1].known);
            CHECK(contains(planned.facts[1].name, target.release == "1.27" ? "internal/http2" : "http2responseWriter"));
            const bool has_pattern = target.release != "1.19";
            CHECK(planned.facts[2].known == has_pattern);
            CHECK((planned.table_row.value[planned.facts[2].index] == OE_UNKNOWN) == !has_pattern);
            CHECK(planned.table_row.value[planned.facts[3].index] == (target.release == "1.19" ? 0 : 1));
            CHECK(planned.table_row.value[4] == OE_UNKNOWN);  // nobody's
        }
}

TEST_CASE("plan: without a required fact, the Probe does not attach, and says which") {
    const std::string path = test_target("server-go1.24");
    if (path.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    ProbeSpec spec = probe({uprobe(handler)});
    spec.facts = {fact(0, offset_of("std", "net/http", "Request", "Moon"))};
    const AttachPlan without = plan_of(path, spec);
    CHECK_FALSE(without.attaches_anything());
    CHECK(contains(row_of(without, handler).reason, "net/http.Request.Moon"));
    spec.facts[0].required = false;
    const AttachPlan with = plan_of(path, spec);
    CHECK(with.attaches_anything());
    CHECK(with.table_row.value[0] == OE_UNKNOWN);
    CHECK_FALSE(with.facts[0].known);
    CHECK_FALSE(with.facts[0].reason.empty());
}

TEST_CASE("plan: what is no Go program has rows, none attached") {
    const std::string path = test_target("bad-not-go");
    if (path.empty()) SKIP_TEST("no test programs (OTEL_EBPF_TEST_TARGETS)");
    const AttachPlan planned = plan_of(path, probe({uprobe(handler), uprobe(finish, Site::next_call)}));
    CHECK(planned.rows.size() == 2);
    CHECK_FALSE(planned.attaches_anything());
}

}  // namespace
