// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// thread_context.bpf.h and context_order.bpf.h on the host: every place of the variable, every combination of writers.
#include "test.hpp"

#include <array>
#include <cstring>
#include <optional>

#include "bpf_host.hpp"
#include "elf_image.hpp"
#include "sdk_under_test.h"

extern "C" {
__u8 oe_ctx_order = 0;
__u16 oe_f_g_labels = OE_NO_SLOT, oe_f_go_label_list = OE_NO_SLOT;
}

namespace {

constexpr std::uint32_t tgid = 7;

struct Thread {
    HostKernel kernel;
    std::uint64_t tp = kernel.memory.allocate(4096) + 2048;
    std::uint64_t record = 0;

    Thread() {
        kernel.task.thread.fsbase = kernel.task.thread.uw.tp_value = tp;
        const std::string bytes = read_file(std::string(OTEL_EBPF_SOURCE_DIR) + "/tests/vectors/thread_record.bin");
        record = kernel.memory.text(bytes);
    }
    void locate(oe_tls_location where) { host_set_sdk_thread(tgid, &where); }
    oe_trace_ctx expect(int state) {
        oe_trace_ctx context;
        std::memset(&context, 0xee, sizeof(context));
        CHECK(host_thread_context_read(tgid, &context) == state);
        return context;
    }
};

oe_tls_location at_offset(std::int64_t offset) {
    oe_tls_location where{};
    where.kind = OE_TLS_STATIC;
    where.offset = offset;
    return where;
}

oe_traces_ctx_v1 ids(std::uint8_t trace, std::uint8_t span) {
    oe_traces_ctx_v1 context{};
    context.trace_id[0] = trace;
    context.span_id[7] = span;
    return context;
}

oe_trace_ctx sdk_ids(std::uint8_t trace, std::uint8_t span, std::uint8_t flags = 1) {
    oe_trace_ctx context{};
    context.trace_id[0] = trace;
    context.span_id[7] = span;
    context.flags = flags;
    return context;
}

bool same(const oe_traces_ctx_v1& a, const oe_traces_ctx_v1& b) {
    return std::memcmp(&a, &b, sizeof(a)) == 0;
}

}  // namespace

TEST_CASE("sdk.bpf: a process without a row publishes nothing") {
    Thread thread;
    const oe_trace_ctx none{};
    const oe_trace_ctx context = thread.expect(OE_SDK_ABSENT);
    CHECK(std::memcmp(&context, &none, sizeof(none)) == 0);
    CHECK(thread.kernel.reads == 0);
}

TEST_CASE("sdk.bpf: the variable at a fixed place; attributes come with it") {
    Thread thread;
    thread.locate(at_offset(-48));
    thread.expect(OE_SDK_NONE);  // NULL: detached
    thread.kernel.memory.put(thread.tp - 48, thread.record);
    const oe_trace_ctx context = thread.expect(OE_SDK_VALID);
    CHECK(context.trace_id[0] == 0x0a);
    CHECK(context.trace_id[15] == 0x9c);
    CHECK(context.span_id[0] == 0xb7);
    CHECK(context.span_id[7] == 0x31);
    CHECK(context.flags == 3);
    oe_thread_attrs attributes;
    CHECK(host_thread_context_attrs(tgid, &attributes) == 42);
    CHECK(attributes.size_bytes == 42);
    CHECK(attributes.published_bytes == 42);
    CHECK(std::memcmp(attributes.bytes + 2, "00f067aa0ba902b7", 16) == 0);
    CHECK(host_stat(OE_STAT_READ_FAULT) == 0);
}

TEST_CASE("sdk.bpf: a record that is not valid, half set or unreadable is none") {
    Thread thread;
    thread.locate(at_offset(-48));
    thread.kernel.memory.put(thread.tp - 48, thread.record);
    thread.expect(OE_SDK_VALID);
    for (const std::uint8_t valid : {0, 2, 255}) {
        thread.kernel.memory.put(thread.record + 24, valid);
        thread.expect(OE_SDK_NONE);
        oe_thread_attrs attributes;
        CHECK(host_thread_context_attrs(tgid, &attributes) == 0);
    }
    thread.kernel.memory.put(thread.record + 24, std::uint8_t{1});
    thread.kernel.memory.put(thread.record + 16, std::uint64_t{0});  // no span id
    thread.expect(OE_SDK_NONE);
    oe_thread_attrs attributes;
    CHECK(host_thread_context_attrs(tgid, &attributes) == 42);  // attributes need no ids
    thread.kernel.memory.put(thread.record + 16, std::uint64_t{1});
    thread.kernel.memory.put(thread.record, std::array<std::uint64_t, 2>{});  // no trace id
    thread.expect(OE_SDK_NONE);
    thread.kernel.memory.put(thread.record + 8, std::uint64_t{1});
    thread.expect(OE_SDK_VALID);
    thread.kernel.memory.put(thread.tp - 48, std::uint64_t{0x10});
    thread.expect(OE_SDK_NONE);
    CHECK(host_stat(OE_STAT_READ_FAULT) == 1);
    thread.locate(at_offset(1 << 20));
    thread.expect(OE_SDK_NONE);
    CHECK(host_stat(OE_STAT_READ_FAULT) == 2);
}

TEST_CASE("sdk.bpf: attributes longer than what is kept are cut and say so") {
    Thread thread;
    thread.locate(at_offset(-48));
    std::string bytes(28 + 612, 'x');
    bytes[24] = 1;
    bytes[26] = static_cast<char>(612 & 0xff);
    bytes[27] = 612 >> 8;
    thread.kernel.memory.put(thread.tp - 48, thread.kernel.memory.text(bytes));
    oe_thread_attrs attributes;
    CHECK(host_thread_context_attrs(tgid, &attributes) == OE_THREAD_ATTRS_BYTES);
    CHECK(attributes.published_bytes == 612);
}

TEST_CASE("sdk.bpf: the variable by the dynamic thread vector of glibc and musl") {
    for (const bool is_glibc : {true, false}) {
        Thread thread;
        oe_tls_location where{};
        where.kind = OE_TLS_DTV;
        where.module_id = 3;
        where.offset = 16;
        where.dtv_offset = 8;
        where.dtv_stride = is_glibc ? 16 : 8;
        where.dtv_count_offset = is_glibc ? -16 : 0;
        thread.locate(where);
        thread.expect(OE_SDK_NONE);  // no vector
        auto& memory = thread.kernel.memory;
        const std::uint64_t vector = memory.allocate(256) + 64, block = memory.allocate(64);
        memory.put(thread.tp + 8, vector);
        memory.put(block + 16, thread.record);
        const std::uint64_t entry = vector + 3 * where.dtv_stride;
        memory.put(entry, block);
        memory.put(vector + where.dtv_count_offset, std::uint64_t{2});
        thread.expect(OE_SDK_NONE);  // a vector that is too short for the module: what lies behind is not read
        memory.put(vector + where.dtv_count_offset, std::uint64_t{3});
        thread.expect(OE_SDK_VALID);
        for (const std::uint64_t unallocated : {std::uint64_t{0}, ~std::uint64_t{0}}) {
            memory.put(entry, unallocated);
            thread.expect(OE_SDK_NONE);
        }
        CHECK(host_stat(OE_STAT_READ_FAULT) == 0);
    }
}

TEST_CASE("sdk.bpf: contexts at an unknown place are none, not absent") {
    Thread thread;
    thread.locate({});
    thread.expect(OE_SDK_NONE);
}

TEST_CASE("context order: who wins, for every combination of writers") {
    const HostKernel kernel;
    const oe_trace_ctx sampled = sdk_ids(1, 2), unsampled = sdk_ids(1, 2, 2), empty{};
    const oe_traces_ctx_v1 ours = ids(1, 9), none{}, theirs = ids(1, 2);
    struct Case {
        int state;
        const oe_trace_ctx* sdk;
        bool have_ebpf;
        int sdk_first, ebpf_first, published;  // 0 nobody, 1 SDK, 2 eBPF
    };
    const Case cases[] = {
        {OE_SDK_ABSENT, &empty, false, 0, 0, 0}, {OE_SDK_ABSENT, &empty, true, 2, 2, 2},
        {OE_SDK_NONE, &empty, false, 0, 0, 0},   {OE_SDK_NONE, &empty, true, 2, 2, 0},
        {OE_SDK_VALID, &sampled, false, 1, 1, 1}, {OE_SDK_VALID, &sampled, true, 1, 2, 1},
        {OE_SDK_VALID, &unsampled, false, 0, 0, 0}, {OE_SDK_VALID, &unsampled, true, 2, 2, 0},
    };
    const oe_traces_ctx_v1 by_source[] = {none, theirs, ours};
    for (const Case& one : cases) {
        CAPTURE(one.state, one.sdk->flags, one.have_ebpf);
        const oe_traces_ctx_v1* ebpf = one.have_ebpf ? &ours : nullptr;
        for (const std::uint8_t order : {0, 1}) {
            oe_ctx_order = order;
            const int expected = order == 0 ? one.sdk_first : one.ebpf_first;
            oe_traces_ctx_v1 out, loser;
            std::memset(&out, 0xee, sizeof(out));
            std::memset(&loser, 0xee, sizeof(loser));
            CHECK(host_context_choose(tgid, one.state, one.sdk, ebpf, &out, &loser) == expected);
            CHECK(same(out, by_source[expected]));
            const bool both = one.state == OE_SDK_VALID && one.sdk->flags == 1 && one.have_ebpf;
            CHECK(same(loser, both ? by_source[3 - expected] : none));
            std::memset(&out, 0xee, sizeof(out));
            // Whatever the order.
            CHECK(host_context_to_publish(tgid, one.state, one.sdk, ebpf, &out) == one.published);
            CHECK(same(out, by_source[one.published]));
        }
        oe_ctx_order = 0;
    }
}

TEST_CASE("context order: agreement is counted per process") {
    const HostKernel kernel;
    const oe_trace_ctx sdk = sdk_ids(1, 2);
    oe_traces_ctx_v1 out, loser;
    const auto look = [&](const oe_traces_ctx_v1& ours, int state = OE_SDK_VALID) {
        host_context_choose(tgid, state, &sdk, &ours, &out, &loser);
    };
    look(ids(1, 2), OE_SDK_NONE);
    host_context_choose(tgid, OE_SDK_VALID, &sdk, nullptr, &out, &loser);
    CHECK(host_sdk_counts(tgid).both == 0);
    look(ids(1, 2));  // the same
    look(ids(1, 3));
    look(ids(2, 3));
    look(ids(2, 2));
    oe_traces_ctx_v1 late = ids(1, 3);  // differs in the last byte only
    late.trace_id[15] = 1;
    host_context_to_publish(tgid, OE_SDK_VALID, &sdk, &late, &out);
    const oe_ctx_counts counts = host_sdk_counts(tgid);
    CHECK(counts.both == 5);
    CHECK(counts.trace_differs == 3);
    CHECK(counts.span_differs == 1);
    CHECK(counts.published == 0);
    CHECK(host_sdk_counts(tgid + 1).both == 0);
}
