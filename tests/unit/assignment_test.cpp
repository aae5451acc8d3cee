// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Numbers of kinds, facts and options, over several bundles.
#include <otel_ebpf/assignment.hpp>

#include <map>
#include <string>
#include <vector>

#include "../test.hpp"

namespace {

using namespace otel_ebpf;

FactSpec fact(const std::string& slot, std::size_t offset, FactQuery what) {
    FactSpec spec;
    spec.slot = {slot, offset, 2};
    spec.what = what;
    return spec;
}

ProbeSpec probe(const std::string& name, std::vector<FactSpec> facts = {}) {
    ProbeSpec spec;
    spec.name = name;
    spec.event_kind = {name + "_kind", 0, 2};
    spec.facts = std::move(facts);
    return spec;
}

std::map<std::string, std::uint64_t> added(Assignment& assignment, const std::vector<ProbeSpec>& probes,
                                           const OptionValues& options = {}) {
    const auto slots = assignment.add(probes, options);
    REQUIRE(slots);
    std::map<std::string, std::uint64_t> values;
    for (const SlotValue& slot : *slots) values[slot.slot.name] = slot.value;
    return values;
}

constexpr FactQuery method = offset_of("std", "net/http", "Request", "Method");
constexpr FactQuery header = offset_of("std", "net/http", "Request", "Header");

TEST_CASE("assignment: kinds are unique, from the first that Probes may have") {
    Assignment assignment;
    const auto values = added(assignment, {probe("a"), probe("b")});
    CHECK(values.at("a_kind") == OE_KIND_FIRST_PROBE);
    CHECK(values.at("b_kind") == OE_KIND_FIRST_PROBE + 1);
}

TEST_CASE("assignment: two bundles with the same Probe and the same facts share numbers") {
    Assignment assignment;
    const auto first = added(assignment, {probe("a", {fact("f", 2, method), fact("g", 4, header)})});
    const auto second = added(
        assignment, {probe("b", {fact("other", 8, header)}), probe("a", {fact("f", 2, method), fact("g", 4, header)})});
    CHECK(second.at("a_kind") == first.at("a_kind"));
    CHECK(second.at("b_kind") != first.at("a_kind"));
    CHECK(second.at("f") == first.at("f"));
    CHECK(second.at("other") == first.at("g"));
    CHECK(assignment.facts().size() == 2);
}

TEST_CASE("assignment: another Probe of the same name has its own kind") {
    Assignment assignment;
    const auto first = added(assignment, {probe("a", {fact("f", 2, method)})});
    const auto second = added(assignment, {probe("a", {fact("f", 2, header)})});
    CHECK(second.at("a_kind") != first.at("a_kind"));
}

TEST_CASE("assignment: addresses and values are numbered apart") {
    Assignment assignment;
    const auto values =
        added(assignment, {probe("a", {fact("value", 2, method), fact("address", 4, address_of_symbol("runtime.allgs")),
                                       fact("type", 6, address_of_type("net/http", "Request"))})});
    CHECK(values.at("value") == 0);
    CHECK(values.at("address") == 0);
    CHECK(values.at("type") == 1);
    CHECK_FALSE(assignment.facts()[0].is_address);
    CHECK(assignment.facts()[1].is_address);
}

TEST_CASE("assignment: facts of one slot are alternatives with one number") {
    Assignment assignment;
    FactSpec before = fact("f", 2, method), from = fact("f", 2, header);
    before.go = below_version(1, 27);
    from.go = from_version(1, 27);
    added(assignment, {probe("a", {before, from})});
    REQUIRE(assignment.facts().size() == 1);
    CHECK(assignment.facts()[0].sources.size() == 2);
}

TEST_CASE("assignment: groups are facts of their Probe") {
    Assignment assignment;
    FactSpec group;
    group.slot = {"attached", 2, 2};
    group.group = "http2";
    const auto values = added(assignment, {probe("a", {group})});
    FactSpec same_name = group;
    const auto others = added(assignment, {probe("b", {same_name})});
    CHECK(values.at("attached") != others.at("attached"));
    CHECK(assignment.facts()[0].group == "a/http2");
}

TEST_CASE("assignment: what does not fit the row is refused") {
    Assignment assignment;
    std::vector<std::string> names(OE_EXE_VALUES + 1);
    std::vector<FactSpec> facts;
    for (std::size_t i = 0; i < names.size(); ++i) {
        names[i] = "member" + std::to_string(i);
        facts.push_back(fact("f" + std::to_string(i), 2 + 2 * i, offset_of("std", "p", "T", names[i])));
    }
    const auto refused = assignment.add(std::vector{probe("greedy", facts)}, {});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().what.find("probe greedy") != std::string::npos);
    CHECK(refused.error().what.find("128") != std::string::npos);

    Assignment kinds;
    std::vector<ProbeSpec> probes;
    for (int i = 0; i < 65; ++i) probes.push_back(probe("p" + std::to_string(i)));
    const auto too_many = kinds.add(probes, {});
    REQUIRE_FALSE(too_many);
    CHECK(too_many.error().what.find("more than 64") != std::string::npos);
}

TEST_CASE("assignment: options have their default, or what was set by full name") {
    ProbeSpec spec = probe("a");
    spec.options = {{"on", true, "", {"o_on", 8, 1}}, {"off", false, "", {"o_off", 9, 1}}, {"planner", true, "", {}}};
    Assignment assignment;
    auto values = added(assignment, {spec});
    CHECK(values.at("o_on") == 1);
    CHECK(values.at("o_off") == 0);
    CHECK(values.size() == 3);  // and the kind
    values = added(assignment, {spec}, {{"a.on", false}, {"b.off", true}});
    CHECK(values.at("o_on") == 0);
    CHECK(values.at("o_off") == 0);
}

TEST_CASE("assignment: unknown options are named with those there are") {
    ProbeSpec spec = probe("a");
    spec.options = {{"route", true, "", {}}, {"agent", true, "", {}}};
    const std::vector<ProbeSpec> probes = {spec};
    CHECK_FALSE(unknown_option(probes, {{"a.route", true}, {"a.agent", false}}));
    for (const std::string name : {"a.rout", "route", "a.", "", "a.route, a.agent"}) {
        const auto message = unknown_option(probes, {{name, true}});
        REQUIRE(message);
        CHECK(*message == "no option '" + name + "'; there are: a.route, a.agent");
    }
    CHECK(unknown_option({}, {{"x", true}}) == "no option 'x'; there are: none");
}

TEST_CASE("assignment: option values in words") {
    for (const char* text : {"true", "on", "1"}) CHECK(parse_option_value("x", text).value());
    for (const char* text : {"false", "off", "0"}) CHECK_FALSE(parse_option_value("x", text).value());
    for (const char* text : {"", "yes", "TRUE", "2"}) CHECK_FALSE(parse_option_value("x", text));
}

}  // namespace
