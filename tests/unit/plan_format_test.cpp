// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A plan as a table and as JSON.
#include <otel_ebpf/plan_format.hpp>

#include <cstring>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../test.hpp"

namespace {

using namespace otel_ebpf;

AttachPlan example() {
    AttachPlan plan;
    plan.executable = "/srv/\"shop\"\n";
    plan.build_id = "c0ffee";
    plan.go_version = "go1.26.8";
    plan.kernel = {6, 12};
    PlanRow attached;
    attached.probe = "net_http";
    attached.symbol = "net/http.serverHandler.ServeHTTP";
    attached.program = "oe_http_start";
    attached.rate = Rate::per_request;
    attached.attach = true;
    attached.reason = "jbe of the stack check at +4";
    attached.vaddr = 0x401000;
    attached.file_offset = 0x1000;
    attached.filter = site::FlagsFilter::stack_check;
    attached.descriptor =
        OE_SITE_DESCRIPTOR(OE_SITE_ENTRY, OE_FILTER_STACK_CHECK, OE_COST_EMULATED, OE_ARGS_GO_REGISTERS);
    PlanRow skipped;
    skipped.probe = "net_http";
    skipped.group = "http2";
    skipped.symbol = "net/http.http2";
    skipped.program = "oe_http2_end";
    skipped.at = Site::next_call;
    skipped.expected = true;
    skipped.reason = "not in Go 1.26.8";
    plan.rows = {attached, skipped};
    PlanFact known{.name = "net/http.Request.Method", .index = 1, .value = 16, .known = true,
                   .assumption = "from an earlier patch release"};
    PlanFact unknown{.name = "net/http.Request.Moon", .index = 2, .reason = "no such member"};
    plan.facts = {known, unknown};
    plan.table_row.value[1] = 0x1234;
    plan.table_row.tls_g_offset = -8;
    return plan;
}

std::vector<SlotValue> slots() {
    return {{{"oe_f_method", 0, 2}, 1}, {{"oe_f_moon", 2, 2}, 2}, {{"oe_f_method", 0, 2}, 1}};
}

TEST_CASE("plan format: the JSON holds all that a loader needs") {
    const AttachPlan plan = example();
    const auto json = nlohmann::json::parse(to_json(plan, slots()));
    CHECK(json["otel_ebpf_plan"] == plan_json_version);
    CHECK(json["abi_version"] == OE_ABI_VERSION);
    CHECK(json["executable"] == plan.executable);
    CHECK(json["build_id"] == "c0ffee");
    CHECK(json["go_version"] == "go1.26.8");
    CHECK(json["kernel"] == "6.12");

    REQUIRE(json["rows"].size() == 2);
    const auto& attached = json["rows"][0];
    CHECK(attached["attach"] == true);
    CHECK(attached["probe"] == "net_http");
    CHECK(attached["symbol"] == "net/http.serverHandler.ServeHTTP");
    CHECK(attached["program"] == "oe_http_start");
    CHECK(attached["site"] == "entry");
    CHECK(attached["rate"] == "per request h1, h2");
    CHECK(attached["vaddr"] == 0x401000);
    CHECK(attached["file_offset"] == 0x1000);
    CHECK(attached["cost"] == "emulated");
    CHECK(attached["filter"] == "stack check");
    CHECK(attached["descriptor"] == plan.rows[0].descriptor);
    const auto& skipped = json["rows"][1];
    CHECK(skipped["attach"] == false);
    CHECK(skipped["group"] == "http2");
    CHECK(skipped["expected"] == true);
    CHECK(skipped["reason"] == "not in Go 1.26.8");
    CHECK_FALSE(skipped.contains("file_offset"));

    CHECK(json["facts"][0]["value"] == 16);
    CHECK(json["facts"][0]["assumed"] == true);
    CHECK(json["facts"][0]["reason"] == "from an earlier patch release");
    CHECK(json["facts"][0]["in"] == "value");
    CHECK(json["facts"][1]["known"] == false);
    CHECK(json["facts"][1]["reason"] == "no such member");

    const std::string hex = json["table_row"];
    REQUIRE(hex.size() == 2 * sizeof(oe_exe));
    oe_exe row{};
    for (std::size_t i = 0; i < sizeof(row); ++i)
        reinterpret_cast<unsigned char*>(&row)[i] =
            static_cast<unsigned char>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
    CHECK(std::memcmp(&row, &plan.table_row, sizeof(row)) == 0);
}

TEST_CASE("plan format: a variable is named once in the JSON") {
    std::vector<std::string> names;
    const auto collect = [&names](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
        if (depth == 2 && event == nlohmann::json::parse_event_t::key) names.push_back(parsed);
        return true;
    };
    const auto json = nlohmann::json::parse(to_json(example(), slots()), collect);
    CHECK(json["rodata"] == nlohmann::json({{"oe_f_method", 1}, {"oe_f_moon", 2}}));
    CHECK(names == std::vector<std::string>{"oe_f_method", "oe_f_moon"});
}

TEST_CASE("plan format: the table tells rates, costs and reasons") {
    const std::string table = to_table(example());
    for (const char* part : {"Go 1.26.8", "build id c0ffee", "planned for Linux 6.12", "per request h1, h2", "emulated",
                             "oe_http_start", "0x1000", "net/http.serverHandler.ServeHTTP", "not in Go 1.26.8",
                             "assumed net/http.Request.Method = 16: from an earlier patch release",
                             "unknown net/http.Request.Moon: no such member"}) {
        INFO(table);
        CHECK(table.find(part) != std::string::npos);
    }
}

}  // namespace
