// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What native handlers read of target memory (native.bpf.h) on the host.
#include "test.hpp"

#include <string>

#include "bpf_host.hpp"
#include "thread_under_test.h"

TEST_CASE("native: a traceparent in target memory") {
    HostKernel kernel;
    const std::string good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    oe_trace_ctx context{};
    const auto read = [&](const std::string& text) {
        return host_read_traceparent(kernel.memory.text(text), text.size(), &context);
    };
    REQUIRE(read(good) == 1);
    CHECK(context.trace_id[0] == 0x0a);
    CHECK(context.span_id[7] == 0x31);
    CHECK(context.flags == 1);
    CHECK(read("01" + good.substr(2) + "-more") == 1);
    CHECK(host_stat(OE_STAT_BAD_TRACEPARENT) == 0);
    CHECK(read(good + "x") == 0);
    CHECK(read(good.substr(0, 54)) == 0);
    CHECK(host_stat(OE_STAT_BAD_TRACEPARENT) == 2);
    CHECK(host_read_traceparent(0, 0, &context) == 0);
    CHECK(host_read_traceparent(0xdead0000, 55, &context) == 0);
    CHECK(host_stat(OE_STAT_BAD_TRACEPARENT) == 2);
    CHECK(host_stat(OE_STAT_READ_FAULT) == 1);
}
