// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Publication of current spans, without a target: the self-test of the timer hooks, and the sites in Go's scheduler.
#include "test.hpp"

#include <cstdint>
#include <string>

#include <otel_ebpf/otel_ebpf.hpp>
#include <otel_ebpf/probes/goroutines.hpp>

#include "agent.skel.h"
#include "privileges.hpp"
#include "unit/go_targets.hpp"

namespace {

namespace oe = otel_ebpf;

// The agent's object with private maps, loaded for a timer function at that address.
struct Loaded {
    explicit Loaded(std::uint64_t timer) : skeleton(agent_bpf::open(nullptr)) {
        REQUIRE(skeleton != nullptr);
        skeleton->rodata->oe_perf_timer = timer;
        bpf_program* program = nullptr;
        while ((program = ::bpf_object__next_program(skeleton->obj, program)) != nullptr) {
            const std::string name = ::bpf_program__name(program);
            ::bpf_program__set_autoload(program,
                                        name == "oe_jit_entry" || name == "oe_jit_exit" || name == "oe_self_sample");
        }
        REQUIRE(agent_bpf::load(skeleton) == 0);
    }
    ~Loaded() { agent_bpf::destroy(skeleton); }
    Loaded(const Loaded&) = delete;
    Loaded& operator=(const Loaded&) = delete;

    agent_bpf* skeleton;
};

oe::AttachPlan plan_of(const std::string& path, const oe::OptionValues& options) {
    const auto bundle = oe::bundle(oe::probes::goroutines::scheduler<agent_bpf>);
    REQUIRE(bundle->open());
    const auto executable = oe::Executable::open(path);
    REQUIRE(executable);
    oe::Assignment assignment;
    REQUIRE(assignment.add(bundle->probes(), options));
    return oe::plan(**executable, bundle->probes(), assignment, options, {6, 1});
}

}  // namespace

TEST_CASE("publication: the self-test finds what was published in the interrupt, and nothing is left") {
    SKIP_UNLESS_LOADABLE();
    const auto timer = oe::detail::JitHooks::timer_address();
    INFO((timer ? "" : timer.error().what));
    REQUIRE(timer);
    const Loaded loaded(*timer);
    oe::detail::JitHooks hooks;
    const auto attached = hooks.attach(loaded.skeleton->obj);
    INFO((attached ? "" : attached.error().what));
    CHECK(attached);
    CHECK(hooks.attached());
    hooks.detach();
    CHECK_FALSE(hooks.attached());
}

TEST_CASE("publication: hooks that wait for another timer fail the self-test and are detached") {
    SKIP_UNLESS_LOADABLE();
    const Loaded loaded(1);
    oe::detail::JitHooks hooks;
    const auto attached = hooks.attach(loaded.skeleton->obj);
    REQUIRE_FALSE(attached);
    INFO(attached.error().what);
    CHECK(attached.error().what.find("found the context in 0 of 5 samples") != std::string::npos);
    CHECK_FALSE(hooks.attached());
}

TEST_CASE("publication: the address of a kernel function that isn't there is an error") {
    const auto nothing = oe::detail::kernel_symbol("no_such_function_of_any_kernel");
    REQUIRE_FALSE(nothing);
    CHECK(nothing.error().what.find("not there") != std::string::npos);
}

TEST_CASE("publication: nothing in Go's scheduler is hooked unless asked for, and then at emulated sites") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const GoTarget& target : targets)
        for (const std::string& path : {target.plain, target.stripped}) {
            CAPTURE(path);
            for (const oe::PlanRow& row : plan_of(path, {}).rows) CHECK((!row.attach && row.expected));
            int attached = 0;
            const auto all = plan_of(path, {{"goroutines.eager", true}, {"goroutines.creation_hook", true}});
            for (const oe::PlanRow& row : all.rows) {
                INFO(row.symbol << ": " << row.reason);
                CHECK((row.attach || row.expected));
                attached += row.attach ? 1 : 0;
                if (row.attach) CHECK(row.cost == oe::site::CostClass::emulated);
            }
            CHECK(attached >= 3);  // execute, schedule, runqput; coroswitch_m where the program uses it
            for (const oe::PlanFact& fact : all.facts) {
                INFO(fact.name << ": " << fact.reason);
                CHECK((fact.known || (fact.absent && fact.name == "runtime.g.parentGoid" && target.release == "1.19")));
            }
        }
}
