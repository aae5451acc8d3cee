// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Sends a profile with every kind of entry to a Collector and writes the same as JSON: post_profile URL FILE
#include <cstdio>
#include <fstream>
#include <string>

#include <otel_ebpf/profile/otlp.hpp>
#include <otel_ebpf/profile/otlp_http.hpp>

namespace oe = otel_ebpf;

namespace {

oe::profile::Sample sample(std::uint32_t process, std::uint32_t stack, bool in_span, std::uint64_t time) {
    oe::profile::Sample out;
    out.process = process;
    out.tid = 41 + stack;
    out.stack = stack;
    out.times_unix_ns = {time, time + 5, time + 7};
    if (in_span) {
        out.trace_id = oe::random_trace_id();
        out.span_id = oe::random_span_id();
    }
    return out;
}

oe::profile::Profile make_profile() {
    oe::profile::Profile profile;
    profile.start_unix_ns = 1'760'000'000'123'456'789;
    profile.duration_ns = 10'000'000'000;
    profile.period_ns = 10'101'010;
    profile.processes = {{7, "shop", {}}, {8, "db", {}}};
    profile.processes[0].resource.attributes = {{"service.name", std::string("shop")},
                                                {"process.pid", std::int64_t{7}},
                                                {"ratio", 0.5},
                                                {"is_real", true}};
    profile.processes[1].resource.attributes = {{"service.name", std::string("d\xff")}};
    profile.mappings.push_back({"/bin/shop", 0x400000, 0x500000, 0, "", "go-id", "0123"});
    profile.mappings.push_back({"/bin/db", 0x7fff00000000, 0x7fff00100000, 0x1000, "beef", "", ""});
    profile.locations.push_back({1, 0x400100, "main.burn", "/src/main.go", 12, false});
    profile.locations.push_back({2, 0x7fff00000100, "", "", 0, false});
    profile.locations.push_back({0, 0xffffffff81000000, "do_syscall_64", "", 0, true});
    profile.stacks.push_back({1});
    profile.stacks.push_back({3, 2});
    profile.samples = {sample(0, 1, true, profile.start_unix_ns), sample(0, 1, false, profile.start_unix_ns + 100),
                       sample(1, 2, true, profile.start_unix_ns + 200)};
    profile.samples[0].labels = {{"tenant", "blue"}, {"t\xff", "\"<"}};
    return profile;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const oe::profile::Profile profile = make_profile();
    oe::OtlpHttpOptions options;
    options.url = oe::profile::otlp_profiles_url(argv[1]);
    if (auto sent = oe::profile::send_otlp(profile, options); !sent) {
        std::fprintf(stderr, "%s\n", sent.error().what.c_str());
        return 1;
    }
    std::ofstream(argv[2]) << oe::profile::to_otlp_json(profile);
    return 0;
}
