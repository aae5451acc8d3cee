// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A Probe is constexpr data, and what is wrong with one is known at compile time.
#include <otel_ebpf/skeleton.hpp>

#include <span>
#include <string_view>
#include <type_traits>

#include "../compile_fail/fake_skeleton.hpp"
#include "../test.hpp"

namespace {

using Uprobe = oe::Uprobe<shop_bpf>;
using Fact = oe::Fact<shop_bpf>;
using Option = oe::Option<shop_bpf>;
using Probe = oe::Probe<shop_bpf, ShopEvent>;

template <class T>
constexpr bool is_plain_data =
    std::is_aggregate_v<T>&& std::is_trivially_copyable_v<T>&& std::is_trivially_destructible_v<T>;
static_assert(is_plain_data<Probe> && is_plain_data<Uprobe> && is_plain_data<Fact> && is_plain_data<Option> &&
              is_plain_data<oe::MapRequirement<shop_bpf>> && is_plain_data<oe::FactQuery>);

constexpr Uprobe uprobes[] = {
    {.symbol = "shop.Order", .run = &Progs::shop_start, .group = "orders", .option = "slow"},
    {.symbol = "shop.Order", .at = oe::Site::after_call, .run = &Progs::shop_end, .callee = "shop.pay"},
};
constexpr Fact facts[] = {
    {&Rodata::shop_f_order_id, oe::offset_of("shop", "shop", "Order", "id")},
    {.slot = &Rodata::shop_f_order_id, .group = "orders"},
};
constexpr Option options[] = {{.name = "slow"}};
constexpr Probe good{.name = "shop",
                     .event_kind = &Rodata::shop_e_order,
                     .uprobes = uprobes,
                     .facts = facts,
                     .options = options,
                     .to_span = &to_span};

// The first problem of the good Probe after one change.
template <class Change>
constexpr std::string_view problem_after(Change change) {
    Probe probe = good;
    change(probe);
    return oe::problem_in(probe);
}

// Of a Probe with one changed uprobe.
template <class Change>
constexpr std::string_view uprobe_problem_after(Change change) {
    Uprobe changed[] = {uprobes[0], uprobes[1]};
    change(changed);
    Probe probe = good;
    probe.uprobes = changed;
    return oe::problem_in(probe);
}

template <class Change>
constexpr std::string_view fact_problem_after(Change change) {
    Fact changed[] = {facts[0], facts[1]};
    change(changed);
    Probe probe = good;
    probe.facts = changed;
    return oe::problem_in(probe);
}

static_assert(oe::args(0) == 1 && oe::args(1, 2) == 6 && oe::args() == 0 && oe::results(8) == 0x100);

// At compile time too: tests/compile_fail. Here, since sanitizers make GCC take a function's address for no constant.
TEST_CASE("probe: what is wrong with one is said in a sentence") {
    CHECK(oe::problem_in(good).empty());
    CHECK(problem_after([](Probe& probe) { probe.name = ""; }) == "the Probe has no name");
    CHECK(problem_after([](Probe& probe) { probe.event_kind = nullptr; }) == "the Probe has no event_kind slot");
    CHECK(problem_after([](Probe& probe) { probe.to_span = nullptr; }) == "the Probe has no to_span function");
    CHECK(problem_after([](Probe& probe) { probe.uprobes = {}; }) == "the Probe has no uprobes");
    CHECK(problem_after([](Probe& probe) { probe.options = {}; }) ==
          "a uprobe names an option that the Probe does not declare");
    CHECK(uprobe_problem_after([](Uprobe* uprobe) { uprobe->symbol = ""; }) == "a uprobe has no symbol");
    CHECK(uprobe_problem_after([](Uprobe* uprobe) { uprobe->run = nullptr; }) == "a uprobe has no program");
    CHECK(uprobe_problem_after([](Uprobe* uprobe) { uprobe[1].callee = ""; }) ==
          "a uprobe at Site::after_call has no callee");
    CHECK(uprobe_problem_after([](Uprobe* uprobe) { uprobe->callee = "shop.pay"; }) ==
          "only Site::after_call takes a callee");
    CHECK(uprobe_problem_after([](Uprobe* uprobe) { uprobe->group = "other"; }) ==
          "a fact names a group that no uprobe belongs to");
    CHECK(fact_problem_after([](Fact* fact) { fact->slot = nullptr; }) == "a fact has no slot");
    CHECK(fact_problem_after([](Fact* fact) { fact->what = {}; }) == "a fact needs either a query or a group");
    CHECK(fact_problem_after([](Fact* fact) { fact->group = "orders"; }) == "a fact needs either a query or a group");
}

TEST_CASE("probe: rates in words") {
    CHECK(to_string(oe::Rate::per_request_h1) == "per request h1");
    CHECK(to_string(oe::Rate::per_request) == "per request h1, h2");
    CHECK(to_string(oe::Rate::per_connection) == "per connection");
}

TEST_CASE("probe: the bytes behind a record") {
    struct {
        ShopEvent event{};
        char text[8] = {'t', 'e', 'x', 't'};
    } record;
    record.event.span.header.size_bytes = sizeof(ShopEvent) + 4;
    CHECK(oe::tail_of(record.event) == "text");
    record.event.span.header.size_bytes = sizeof(ShopEvent);
    CHECK(oe::tail_of(record.event).empty());
    record.event.span.header.size_bytes = 3;
    CHECK(oe::tail_of(record.event).empty());
}

}  // namespace
