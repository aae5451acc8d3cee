// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Every program of our tools loads on this kernel, at no more than the recorded cost for the verifier.
#include "test.hpp"

#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include <coro.hpp>
#include <ledger.hpp>
#include <otel_ebpf/otel_ebpf.hpp>
#include <otel_ebpf/probes/goroutines.hpp>
#include <otel_ebpf/probes/net_http.hpp>
#include <otel_ebpf/profile/sampler_object.hpp>
#include <pool.hpp>

#include "agent.skel.h"
#include "native_watch.skel.h"
#include "privileges.hpp"
#include "profile.skel.h"
#include "settle_watch.skel.h"

namespace {

namespace oe = otel_ebpf;

const std::string record_path = OTEL_EBPF_SOURCE_DIR "/tests/bpf/verified_instructions.txt";

// "settle_watch/ledger_start" -> instructions, as the verifier counts them.
using Counts = std::map<std::string, std::uint64_t>;

void count(const std::string& tool, oe::Bundle bundle, Counts& counts) {
    auto manager = oe::Manager::open({.bundles = {std::move(bundle)}});
    INFO((manager ? "" : manager.error().what));
    REQUIRE(manager);
    for (const std::string& message : (*manager)->report().messages)
        CHECK(message.find("refused by the verifier") == std::string::npos);
    for (const oe::ProgramStats& program : (*manager)->stats().programs) {
        CHECK(program.verified_instructions > 0);
        counts[tool + "/" + program.name] = program.verified_instructions;
    }
}

void count_sampler(Counts& counts) {
    const auto object = oe::profile::SamplerObject<profile_bpf>::load(-1);
    INFO((object ? "" : object.error().what + "\n" + object.error().verifier_log));
    REQUIRE(object);
    bpf_prog_info info{};
    std::uint32_t size = sizeof(info);
    REQUIRE(::bpf_obj_get_info_by_fd(::bpf_program__fd(object->skeleton().progs.oe_sample), &info, &size) == 0);
    counts["profile/oe_sample"] = info.verified_insns;
}

// "6.18, clang-14": counts of other kernels and compilers can't be compared.
std::string conditions() {
    return oe::running_kernel_release().to_string() + ", clang-" OTEL_EBPF_CLANG_MAJOR;
}

}  // namespace

TEST_CASE("load: every program of our tools, within 10 % of the recorded verifier's work") {
    SKIP_UNLESS_LOADABLE();
    Counts counts;
    count("agent",
          oe::bundle(oe::probes::net_http::server<agent_bpf>, ledger::settle<agent_bpf>,
                     oe::probes::goroutines::scheduler<agent_bpf>),
          counts);
    count("settle_watch", oe::bundle(ledger::settle<settle_watch_bpf>), counts);
    using Native = native_watch_bpf;
    const auto native = oe::bundle(pool::exchange<Native>, pool::charge<Native>, coro_pack::exchange<Native>,
                                   coro_pack::step<Native>);
    count("native_watch", native, counts);
    count_sampler(counts);
    CHECK(counts.size() == 18 + 5 + 20 + 1);

    if (std::getenv("OTEL_EBPF_RECORD") != nullptr) {
        std::ofstream record(record_path);
        record << "# Instructions that the verifier walks, by tool/program; OTEL_EBPF_RECORD=1 bpf_tests writes this "
                  "file.\n"
               << conditions() << "\n";
        for (const auto& [program, instructions] : counts) record << program << " " << instructions << "\n";
    }
    std::ifstream record(record_path);
    // In a guest, which boots another kernel than the recorded one, the source tree is not there.
    if (!record) SKIP_TEST("no record of verified instructions here: loaded, not compared");
    std::string line;
    std::getline(record, line);
    std::getline(record, line);
    if (line != conditions())
        SKIP_TEST(("recorded on " + line + ", this is " + conditions() + ": loaded, not compared").c_str());
    Counts recorded;
    std::string program;
    for (std::uint64_t instructions = 0; record >> program >> instructions;) recorded[program] = instructions;
    for (const auto& [name, instructions] : counts) {
        INFO(name << " is not within 10 %: OTEL_EBPF_RECORD=1 build/bin/bpf_tests 'load:*' records what is meant");
        REQUIRE(recorded.contains(name));
        CHECK(instructions * 10 <= recorded[name] * 11);
    }
    CHECK(recorded.size() == counts.size());
}
