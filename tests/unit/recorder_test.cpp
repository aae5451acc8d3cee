// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// From records of the sampler to a profile and folded stacks.
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <otel_ebpf/profile/folded.hpp>
#include <otel_ebpf/profile/recorder.hpp>

#include "../test.hpp"

namespace {

using namespace otel_ebpf;
using namespace otel_ebpf::profile;

[[gnu::noinline]] void recorder_test_leaf() {
    asm volatile("");
}
[[gnu::noinline]] void recorder_test_caller() {
    recorder_test_leaf();
    asm volatile("");
}

std::uint64_t address_of(void (*function)()) {
    return reinterpret_cast<std::uint64_t>(function);
}

// A record of this process, as the kernel side would write it.
oe_sample own_sample(std::vector<std::uint64_t> user_stack) {
    oe_sample sample{};
    sample.time_ns = now_ns(CLOCK_MONOTONIC);
    sample.tgid = static_cast<std::uint32_t>(::getpid());
    sample.tid = sample.tgid;
    const auto facts = read_process(::getpid());
    REQUIRE(facts);
    sample.process_start_ns = facts->start_ticks * 10'000'000;
    ::prctl(PR_GET_NAME, sample.comm);
    sample.user_bytes = static_cast<std::int32_t>(user_stack.size() * 8);
    std::copy(user_stack.begin(), user_stack.end(), sample.user_stack);
    return sample;
}

void set_ids(oe_traces_ctx_v1& ctx, unsigned char trace, unsigned char span) {
    std::memset(ctx.trace_id, trace, sizeof(ctx.trace_id));
    std::memset(ctx.span_id, span, sizeof(ctx.span_id));
}

const std::vector<std::uint64_t> two_frames{address_of(&recorder_test_leaf), address_of(&recorder_test_caller) + 1};

TEST_CASE("recorder: one sample, with its process, names, mapping and time") {
    Recorder recorder(100);
    const std::uint64_t before = now_ns(CLOCK_REALTIME);
    recorder.add(own_sample(two_frames));
    const std::uint64_t after = now_ns(CLOCK_REALTIME);
    const Profile& profile = recorder.profile();
    CHECK(profile.period_ns == 10'000'000);
    REQUIRE(profile.processes.size() == 1);
    CHECK(profile.processes[0].tgid == static_cast<std::uint32_t>(::getpid()));
    const auto facts = read_process(::getpid());
    CHECK(profile.processes[0].resource.attributes == make_resource(*facts, "").attributes);
    REQUIRE(profile.samples.size() == 1);
    const Sample& sample = profile.samples[0];
    CHECK_FALSE(sample.has_context());
    REQUIRE(sample.times_unix_ns.size() == 1);
    constexpr std::uint64_t slack_ns = 50'000'000;
    CHECK(sample.times_unix_ns[0] + slack_ns >= before);
    CHECK(sample.times_unix_ns[0] <= after + slack_ns);
    const auto& stack = profile.stacks[sample.stack];
    REQUIRE(stack.size() == 2);
    CHECK(profile.locations[stack[0]].function.find("recorder_test_leaf()") != std::string::npos);
    CHECK(profile.locations[stack[1]].function.find("recorder_test_caller()") != std::string::npos);
    CHECK(profile.locations[stack[0]].address == two_frames[0]);
    const Mapping& mapping = profile.mappings[profile.locations[stack[0]].mapping];
    CHECK(mapping.path == facts->executable);
    CHECK((mapping.start <= two_frames[0] && two_frames[0] < mapping.limit));
    CHECK_FALSE(mapping.htlhash.empty());
    CHECK(recorder.stats().unknown_user_frames == 0);
}

TEST_CASE("recorder: samples that share everything are one, others are not; tables hold each entry once") {
    Recorder recorder(99);
    oe_sample sample = own_sample(two_frames);
    recorder.add(sample);
    recorder.add(sample);
    sample.tid += 1;
    recorder.add(sample);
    set_ids(sample.ctx, 1, 2);
    sample.source = OE_CTX_EBPF;
    recorder.add(sample);
    set_ids(sample.ctx, 1, 3);
    sample.source = OE_CTX_SDK;
    recorder.add(sample);
    recorder.add(own_sample({two_frames[0]}));
    const Profile& profile = recorder.profile();
    REQUIRE(profile.samples.size() == 5);
    CHECK(profile.samples[0].count() == 2);
    CHECK(profile.sample_count() == 6);
    CHECK(profile.samples[2].source == ContextSource::ebpf);
    CHECK(profile.samples[2].trace_id.to_hex() == "01010101010101010101010101010101");
    CHECK(profile.samples[2].span_id.to_hex() == "0202020202020202");
    CHECK(profile.samples[3].source == ContextSource::sdk);
    CHECK(profile.processes.size() == 1);
    CHECK(profile.stacks.size() == 3);     // none, two frames, one frame
    CHECK(profile.locations.size() == 3);  // unknown, leaf, caller
    CHECK(profile.mappings.size() == 2);
    CHECK(recorder.stats().samples == 6);
    CHECK(recorder.stats().from_ebpf == 1);
    CHECK(recorder.stats().from_sdk == 1);
}

TEST_CASE("recorder: differences between the context that counts and the other one") {
    Recorder recorder(99);
    oe_sample sample = own_sample(two_frames);
    set_ids(sample.ctx, 1, 1);
    sample.source = OE_CTX_SDK;
    recorder.add(sample);  // there is no other
    set_ids(sample.other_ctx, 1, 1);
    recorder.add(sample);  // the same
    set_ids(sample.other_ctx, 1, 2);
    recorder.add(sample);
    set_ids(sample.other_ctx, 3, 2);
    recorder.add(sample);
    const auto counts = recorder.counts();
    REQUIRE(counts.size() == 1);
    CHECK(counts[0].samples == 4);
    CHECK(counts[0].from_sdk == 4);
    CHECK(counts[0].span_differs == 1);
    CHECK(counts[0].trace_differs == 1);
}

TEST_CASE("recorder: labels of the application tell samples apart; those that did not fit are counted") {
    std::vector<std::uint32_t> programs;
    Recorder recorder(99, [&programs](std::uint32_t tgid) { programs.push_back(tgid); });
    oe_sample sample = own_sample(two_frames);
    recorder.add(sample);
    std::strcpy(sample.labels.label[0].key, "route");
    std::strcpy(sample.labels.label[0].value, "/pay");
    std::memset(sample.labels.label[1].key, 'k', OE_GO_LABEL_KEY);  // without an end
    sample.labels.count = sample.labels.published = 2;
    recorder.add(sample);
    recorder.add(sample);
    sample.labels.published = 3;
    recorder.add(sample);
    const Profile& profile = recorder.profile();
    REQUIRE(profile.samples.size() == 2);
    CHECK(profile.samples[0].labels.empty());
    const std::vector<std::pair<std::string, std::string>> expected{{"route", "/pay"},
                                                                    {std::string(OE_GO_LABEL_KEY, 'k'), ""}};
    CHECK(profile.samples[1].labels == expected);
    CHECK(profile.samples[1].count() == 3);
    CHECK(recorder.stats().cut_labels == 1);
    sample.labels.count = 255;
    recorder.add(sample);
    CHECK(recorder.profile().samples[2].labels.size() == OE_GO_LABELS);
    CHECK(programs == std::vector<std::uint32_t>{static_cast<std::uint32_t>(::getpid())});
}

TEST_CASE("recorder: a process that is gone, or whose number another one has now, keeps its addresses") {
    Recorder recorder(99);
    oe_sample sample = own_sample({0x1234});
    sample.process_start_ns += 60'000'000'000;  // another process
    std::strcpy(sample.comm, "former");
    recorder.add(sample);
    const Profile& profile = recorder.profile();
    CHECK(recorder.stats().gone_processes == 1);
    CHECK(recorder.stats().unknown_leaves == 1);
    REQUIRE(profile.processes.size() == 1);
    CHECK(service_name_of(profile.processes[0].resource) == "unknown_service:former");
    CHECK(to_folded(profile) == "former;[0x1234] 1\n");
}

TEST_CASE("recorder: one program after another in a process are two") {
    Recorder recorder(99);
    oe_sample sample = own_sample(two_frames);
    recorder.add(sample);
    sample.exec_id += 1;
    recorder.add(sample);
    CHECK(recorder.profile().processes.size() == 2);
}

TEST_CASE("recorder: stacks that are missing, cut, or lead out of all code are counted") {
    Recorder recorder(99);
    oe_sample failed = own_sample({});
    failed.user_bytes = -EFAULT;
    recorder.add(failed);
    CHECK(recorder.stats().failed_stacks == 1);
    CHECK(recorder.profile().samples[0].stack == 0);
    recorder.add(own_sample(std::vector<std::uint64_t>(OE_SAMPLE_FRAMES, two_frames[0])));
    CHECK(recorder.stats().cut_stacks == 1);
    recorder.add(own_sample({two_frames[0], 0xc000123456, two_frames[1]}));
    CHECK(recorder.stats().astray_stacks == 1);
    CHECK(recorder.profile().stacks[recorder.profile().samples[2].stack].size() == 1);
    recorder.add(own_sample({two_frames[0], two_frames[1], 0}));  // the end of a chain of frames, not astray
    CHECK(recorder.stats().astray_stacks == 1);
    oe_sample lying = own_sample(two_frames);
    lying.user_bytes = 1 << 30;
    recorder.add(lying);
    CHECK(recorder.stats().cut_stacks == 2);
}

TEST_CASE("recorder: a caller without a place in the chain of frames is put back") {
    Recorder recorder(99);
    oe_sample sample = own_sample({two_frames[0], two_frames[1]});
    // Behind the call of the leaf in its caller: e8 and 4 bytes of distance.
    const auto* code = reinterpret_cast<const unsigned char*>(two_frames[1] - 1);
    std::uint64_t behind_call = 0;
    for (int i = 0; i < 64 && behind_call == 0; ++i) {
        std::int32_t distance = 0;
        std::memcpy(&distance, code + i + 1, sizeof(distance));
        const std::uint64_t next = reinterpret_cast<std::uint64_t>(code) + static_cast<std::uint64_t>(i) + 5;
        if (code[i] == 0xe8 && next + static_cast<std::uint64_t>(std::int64_t{distance}) == two_frames[0])
            behind_call = next;
    }
    if (behind_call == 0) SKIP_TEST("the compiler made no direct call");
    sample.user_stack[1] = address_of(&recorder_test_leaf) + 1;  // whoever called the caller
    sample.user_top[0] = behind_call;
    recorder.add(sample);
    CHECK(recorder.stats().restored_callers == 1);
    CHECK(recorder.profile().stacks[recorder.profile().samples[0].stack].size() == 3);
    sample.user_top[0] = two_frames[1] + 1;  // code, but no call of the leaf is before it
    recorder.add(sample);
    CHECK(recorder.stats().restored_callers == 1);
}

TEST_CASE("folded: outermost first, kernel marked, unknown as addresses, separators replaced") {
    Profile profile;
    profile.processes.push_back({1, "a;b", {}});
    profile.mappings.push_back({"/usr/lib/libx.so", 0x7000, 0x9000, 0x1000, {}, {}, {}});
    profile.locations = {{},
                         {1, 0x7100, "inner(a; b)", "x.c", 7, false},
                         {1, 0x7200, "", "", 0, false},
                         {0, 0x9000, "", "", 0, false},
                         {0, 0xffffffff81000000, "do_idle", "", 0, true},
                         {0, 0xffffffff81000001, "", "", 0, true}};
    profile.stacks = {{}, {4, 1, 2, 3}, {5}, {0}};
    const auto sample = [](std::uint32_t stack, std::size_t count) {
        Sample made;
        made.stack = stack;
        made.times_unix_ns.assign(count, 1);
        return made;
    };
    profile.samples = {sample(1, 3), sample(2, 1), sample(1, 2), sample(3, 1), sample(0, 1)};
    CHECK(to_folded(profile) == "a:b 1\n"
                                "a:b;[0x9000];[libx.so+0x1200];inner(a: b);do_idle_[k] 5\n"
                                "a:b;[kernel 0xffffffff81000001] 1\n"
                                "a:b;[unknown] 1\n");
    CHECK(to_folded({}) == "");
}

}  // namespace
