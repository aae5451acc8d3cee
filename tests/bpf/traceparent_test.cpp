// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The shared traceparent vectors inside the kernel, through BPF_PROG_TEST_RUN.
#include "test.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <string_view>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <otel_ebpf/trace_context.hpp>

#include "../vectors/traceparent.h"
#include "traceparent.skel.h"

namespace {

struct Destroy {
    void operator()(traceparent_bpf* skeleton) const { traceparent_bpf::destroy(skeleton); }
};
using Skeleton = std::unique_ptr<traceparent_bpf, Destroy>;

// Null when this machine does not let us load programs; errno says why.
Skeleton load() { return Skeleton(traceparent_bpf::open_and_load()); }

void run(const bpf_program* program) {
    char packet[64] = {}; // test_run of packet programs wants one; ours never look at it
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof packet);
    REQUIRE(bpf_prog_test_run_opts(bpf_program__fd(program), &options) == 0);
    REQUIRE(options.retval == 0);
}

oe_trace_ctx expected_context(std::uint8_t flags) {
    oe_trace_ctx context{};
    std::memcpy(context.trace_id, traceparent_vector_trace_id, sizeof context.trace_id);
    std::memcpy(context.span_id, traceparent_vector_span_id, sizeof context.span_id);
    context.flags = flags;
    return context;
}

std::uint32_t verified_instructions(const bpf_program* program) {
    bpf_prog_info info{};
    __u32 size = sizeof info;
    REQUIRE(bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size) == 0);
    return info.verified_insns;
}

}  // namespace

TEST_CASE("traceparent.bpf: the kernel reads every vector as C++ does") {
    const Skeleton skeleton = load();
    if (skeleton == nullptr && errno == EPERM) SKIP_TEST("needs CAP_BPF and CAP_NET_ADMIN");
    REQUIRE(skeleton != nullptr);
    for (const traceparent_vector& vector : traceparent_vectors) {
        INFO(vector.what);
        auto& io = *skeleton->bss;
        std::memset(io.text, 0xee, sizeof io.text);
        std::memcpy(io.text, vector.text, std::min(vector.size_bytes, sizeof io.text));
        io.text_size_bytes = static_cast<__u32>(vector.size_bytes);
        io.parse_result = 1;
        std::memset(&io.context, 0xee, sizeof io.context);
        run(skeleton->progs.parse_text);

        const bool valid = vector.error == nullptr;
        CHECK(io.parse_result == (valid ? 0 : -EINVAL));
        const oe_trace_ctx expected = valid ? expected_context(vector.flags) : oe_trace_ctx{};
        CHECK(std::memcmp(&io.context, &expected, sizeof expected) == 0);
        CHECK(otel_ebpf::parse_traceparent({vector.text, vector.size_bytes}).has_value() == valid);
    }
}

TEST_CASE("traceparent.bpf: the kernel writes what C++ writes") {
    const Skeleton skeleton = load();
    if (skeleton == nullptr && errno == EPERM) SKIP_TEST("needs CAP_BPF and CAP_NET_ADMIN");
    REQUIRE(skeleton != nullptr);
    for (const auto& vector : traceparent_written) {
        auto& io = *skeleton->bss;
        io.context = expected_context(vector.flags);
        run(skeleton->progs.write_text);
        CHECK(std::string_view(io.written, sizeof io.written) == vector.text);
    }
}

TEST_CASE("traceparent.bpf: ids made in the kernel are not zero and not repeated") {
    const Skeleton skeleton = load();
    if (skeleton == nullptr && errno == EPERM) SKIP_TEST("needs CAP_BPF and CAP_NET_ADMIN");
    REQUIRE(skeleton != nullptr);
    std::set<otel_ebpf::TraceId> trace_ids;
    std::set<otel_ebpf::SpanId> span_ids;
    constexpr std::size_t rounds = 1000;
    for (std::size_t i = 0; i < rounds; ++i) {
        run(skeleton->progs.make_ids);
        trace_ids.insert(otel_ebpf::TraceId::from_bytes(skeleton->bss->trace_id));
        span_ids.insert(otel_ebpf::SpanId::from_bytes(skeleton->bss->span_id));
    }
    CHECK(trace_ids.size() == rounds);
    CHECK(span_ids.size() == rounds);
    CHECK_FALSE(trace_ids.contains({}));
    CHECK_FALSE(span_ids.contains({}));
}

TEST_CASE("traceparent.bpf: the verifier's work stays bounded") {
    const Skeleton skeleton = load();
    if (skeleton == nullptr && errno == EPERM) SKIP_TEST("needs CAP_BPF and CAP_NET_ADMIN");
    REQUIRE(skeleton != nullptr);
    // Measured on 6.18 with clang-14, plus 10 %.
    CHECK(verified_instructions(skeleton->progs.parse_text) <= 3870);
    CHECK(verified_instructions(skeleton->progs.write_text) <= 2580);
    CHECK(verified_instructions(skeleton->progs.make_ids) <= 197);
}
