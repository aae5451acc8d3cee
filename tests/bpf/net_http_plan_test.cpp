// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The plan of the net/http Probe on every Go release: how many hits, and at what cost. Loads nothing.
#include "test.hpp"

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include <otel_ebpf/otel_ebpf.hpp>
#include <otel_ebpf/probes/net_http.hpp>

#include "agent.skel.h"
#include "unit/go_targets.hpp"

namespace {

namespace oe = otel_ebpf;

struct Planned {
    oe::AttachPlan plan;
    std::string json;
};

Planned net_http_plan(const std::string& path, const oe::OptionValues& options, oe::site::KernelRelease kernel) {
    const auto bundle = oe::bundle(oe::probes::net_http::server<agent_bpf>);
    REQUIRE(bundle->open());
    const auto executable = oe::Executable::open(path);
    REQUIRE(executable);
    oe::Assignment assignment;
    const auto slots = assignment.add(bundle->probes(), options);
    REQUIRE(slots);
    Planned planned{oe::plan(**executable, bundle->probes(), assignment, options, kernel), {}};
    planned.json = oe::to_json(planned.plan, *slots);
    return planned;
}

}  // namespace

TEST_CASE("net/http plan: 3 emulated hits per HTTP/1 request, 2 without the route site") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const GoTarget& target : targets)
        for (const std::string& path : {target.plain, target.stripped})
            for (const oe::site::KernelRelease kernel : {oe::site::KernelRelease{6, 1}, {6, 12}, {6, 18}})
                for (const bool route : {true, false}) {
                    CAPTURE(path, kernel.to_string(), route);
                    const auto [plan, text] = net_http_plan(path, {{"net_http.route_site", route}}, kernel);
                    // ServeMux has patterns, and the function that finds them, from go1.22 on.
                    const int expected = route && target.release != "1.19" ? 3 : 2;
                    int http1 = 0, http2 = 0, connection = 0;
                    for (const oe::PlanRow& row : plan.rows) {
                        INFO(row.symbol << ": " << row.reason);
                        CHECK((row.attach || row.expected));
                        if (!row.attach) continue;
                        CHECK(row.cost == oe::site::CostClass::emulated);
                        const std::string_view rate = to_string(row.rate);
                        http1 += rate.find("per request h1") != std::string_view::npos;
                        http2 += rate.find("h2") != std::string_view::npos;
                        connection += row.rate == oe::Rate::per_connection;
                    }
                    CHECK(http1 == expected);
                    CHECK(http2 == expected);
                    CHECK(connection == 1);

                    const auto json = nlohmann::json::parse(text);
                    CHECK(json["rows"].size() == plan.rows.size());
                    CHECK(json["rodata"].contains("oe_e_http_server"));
                    for (const auto& fact : json["facts"])
                        if (fact["in"] == "value" && fact["known"] == true)
                            CHECK(plan.table_row.value[fact["index"].get<std::size_t>()] == fact["value"]);
                }
}
