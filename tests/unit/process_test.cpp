// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What /proc tells, and the Resource that is made of it.
#include <otel_ebpf/process.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <thread>

#include "../test.hpp"

namespace {

using namespace otel_ebpf;

ProcessFacts facts(std::string service_name = "", std::string resource_attributes = "") {
    ProcessFacts facts;
    facts.pid = 812;
    facts.executable = "/srv/bin/shop";
    facts.service_name = std::move(service_name);
    facts.resource_attributes = std::move(resource_attributes);
    return facts;
}

// "(none)" when the Resource lacks the key; it must not have it twice.
std::string text(const Resource& resource, std::string_view key) {
    std::string found = "(none)";
    int count = 0;
    for (const auto& [name, value] : resource.attributes) {
        if (name != key) continue;
        ++count;
        if (const auto* string = std::get_if<std::string>(&value)) found = *string;
        else found = std::to_string(std::get<std::int64_t>(value));
    }
    CHECK(count <= 1);
    return found;
}

TEST_CASE("resource: what every process has") {
    const Resource resource = make_resource(facts(), "1.26.8");
    CHECK(text(resource, "service.name") == "unknown_service:shop");
    CHECK(text(resource, "process.pid") == "812");
    CHECK(text(resource, "process.executable.path") == "/srv/bin/shop");
    CHECK(text(resource, "process.runtime.name") == "go");
    CHECK(text(resource, "process.runtime.version") == "1.26.8");
    CHECK(text(resource, "telemetry.sdk.name") == "otel_ebpf");
    CHECK(text(resource, "telemetry.sdk.language") == "go");
    CHECK_FALSE(text(resource, "telemetry.sdk.version").empty());
    CHECK(service_name_of(resource) == "unknown_service:shop");
}

TEST_CASE("resource: OTEL_SERVICE_NAME wins over OTEL_RESOURCE_ATTRIBUTES, which wins over the executable") {
    CHECK(service_name_of(make_resource(facts("checkout", "service.name=other"), "")) == "checkout");
    CHECK(service_name_of(make_resource(facts("", "service.name=other"), "")) == "other");
    CHECK(service_name_of(make_resource(facts("", "service.version=2"), "")) == "unknown_service:shop");
}

TEST_CASE("resource: OTEL_RESOURCE_ATTRIBUTES are pairs, percent-encoded") {
    const Resource resource = make_resource(
        facts("", "a=1, b = 2 ,c=x%3Dy%2Cz,d=%41%20b,e=,no-value,=no-key,,f=50%,g=%4,h=%zz,a=last,i=k=v,j=%c3%a4"), "");
    CHECK(text(resource, "a") == "last");
    CHECK(text(resource, "c") == "x=y,z");
    CHECK(text(resource, "d") == "A b");
    CHECK(text(resource, "e").empty());
    CHECK(text(resource, "f") == "50%");
    CHECK(text(resource, "g") == "%4");
    CHECK(text(resource, "h") == "%zz");
    CHECK(text(resource, "i") == "k=v");
    CHECK(text(resource, "j") == "\xc3\xa4");
    CHECK(text(resource, "no-value") == "(none)");
    CHECK(text(resource, "") == "(none)");
}

TEST_CASE("resource: what we know of the process is not the environment's to change") {
    const Resource resource =
        make_resource(facts("", "process.pid=1,telemetry.sdk.name=mine,process.executable.path=/bin/sh"), "1.26.8");
    CHECK(text(resource, "process.pid") == "812");
    CHECK(text(resource, "telemetry.sdk.name") == "otel_ebpf");
    CHECK(text(resource, "process.executable.path") == "/srv/bin/shop");
}

TEST_CASE("process: environment variables by exact name") {
    using namespace std::string_view_literals;
    constexpr std::string_view environment =
        "OTEL_SERVICE_NAME_X=no\0XOTEL_SERVICE_NAME=no\0OTEL_SERVICE_NAME=a=b\0OTEL_SERVICE_NAME=second\0EMPTY="sv;
    CHECK(detail::environment_variable(environment, "OTEL_SERVICE_NAME") == "a=b");
    CHECK(detail::environment_variable(environment, "EMPTY").empty());
    CHECK(detail::environment_variable(environment, "OTEL").empty());
    CHECK(detail::environment_variable("", "OTEL").empty());
}

TEST_CASE("process: ourselves") {
    const auto own = read_process(::getpid());
    REQUIRE(own);
    CHECK(own->pid == ::getpid());
    CHECK(own->executable.ends_with("unit_tests"));
    CHECK(own->start_ticks > 0);
    const auto all = all_processes();
    CHECK(std::find(all.begin(), all.end(), ::getpid()) != all.end());
    CHECK(std::find(all.begin(), all.end(), 1) != all.end());
}

TEST_CASE("process: none, a dead one, one without an executable") {
    CHECK(read_process(0x3ffffff).error().what == "target PID 67108863: no such process");
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    while (::kill(child, 0) == 0 && read_process(child)) std::this_thread::yield();  // until it is a zombie
    const auto zombie = read_process(child);
    REQUIRE_FALSE(zombie);
    CHECK(zombie.error().what.find(std::to_string(child)) != std::string::npos);
    ::waitpid(child, nullptr, 0);
}

}  // namespace
