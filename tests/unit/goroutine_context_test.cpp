// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Which span a goroutine works for (goroutine.bpf.h), and eager publication of it, on the host.
#include "test.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>

#include "bpf_host.hpp"

namespace {

constexpr std::uint16_t kind = OE_KIND_FIRST_PROBE;
constexpr std::uint16_t parent_offset = 40, m_offset = 48, startpc_offset = 64, sched_pc_offset = 72, curg_offset = 16;

// A process whose spans are published in one of the modes.
struct Program {
    HostKernel kernel;
    Goroutines goroutines{kernel};

    explicit Program(oe_publication publication = OE_PUBLISH_JIT) {
        oe_f_g_goid = 0;
        oe_f_g_panic = 1;
        oe_f_g_parent_goid = 2;
        oe_f_g_m = 3;
        oe_f_m_curg = 4;
        oe_f_g_startpc = 5;
        oe_f_g_sched_pc = 6;
        oe_e_goroutines = OE_KIND_FIRST_PROBE + 1;
        oe_exe exe{};
        std::fill(std::begin(exe.value), std::end(exe.value), std::uint16_t{OE_UNKNOWN});
        const std::uint16_t offsets[] = {Goroutines::goid_offset, Goroutines::panic_offset, parent_offset, m_offset,
                                         curg_offset, startpc_offset, sched_pc_offset};
        std::copy(std::begin(offsets), std::end(offsets), exe.value);
        host_set_exe(0, &exe);
        start_process(1, publication);
    }
    ~Program() {
        for (std::uint16_t* slot : {&oe_f_g_parent_goid, &oe_f_g_m, &oe_f_m_curg, &oe_f_g_startpc, &oe_f_g_sched_pc})
            *slot = OE_NO_SLOT;
    }

    void start_process(std::uint32_t generation, oe_publication publication, std::int32_t tls_g_offset = 0) {
        oe_process row{};
        row.tls_g_offset = tls_g_offset;
        row.generation = generation;
        row.publication = static_cast<std::uint8_t>(publication);
        row.probes = ~0ULL;
        host_set_process(1, &row);
    }
    void start(std::uint64_t goid, std::uint64_t frame = 100) {
        const host_hit hit = goroutines.hit(goid, frame);
        REQUIRE(host_op_start(&hit, kind, 1) == HOST_OP_DONE);
    }
    // The record of the span that ended.
    host_op_event end(std::uint64_t goid) {
        const host_hit hit = goroutines.hit(goid, 0);
        REQUIRE(host_op_end(&hit, kind) == HOST_OP_DONE);
        host_op_event event{};
        std::memcpy(&event, kernel.records.back().data(), sizeof(event));
        return event;
    }
    std::optional<oe_traces_ctx_v1> context(std::uint64_t goid, std::uint64_t parent = 0) {
        oe_traces_ctx_v1 ctx{};
        if (host_go_context(goid, parent, &ctx) != 0) return ctx;
        return std::nullopt;
    }
    std::optional<oe_traces_ctx_v1> entry() const {
        oe_traces_ctx_v1 ctx{};
        if (host_entry_of(kernel.tgid, tid(), &ctx) != 0) return ctx;
        return std::nullopt;
    }
    std::uint32_t tid() const { return static_cast<std::uint32_t>(bpf_get_current_pid_tgid()); }

    // A thread's m whose current goroutine is `goid`, and a hit on its g0.
    host_hit on_system_stack(std::uint64_t goid, std::uint64_t argument0, std::uint64_t argument1) {
        const std::uint64_t m = kernel.memory.allocate(64);
        kernel.memory.put(m + curg_offset, goroutines.g_of(goid));
        host_hit hit = goroutines.hit(1'000'000, 0);  // any g: that of the hit is not asked for its goid
        kernel.memory.put(hit.g_addr + m_offset, m);
        hit.args[0] = argument0;
        hit.args[1] = argument1;
        return hit;
    }
    void create(std::uint64_t creator, std::uint64_t created) {
        const std::uint64_t g = goroutines.g_of(created);
        kernel.memory.put(g + startpc_offset, std::uint64_t{0x401000});
        kernel.memory.put(g + sched_pc_offset, std::uint64_t{0x401000});
        const host_hit hit = on_system_stack(creator, 0, g);
        host_go_runqput(&hit);
    }
};

bool is_of(const oe_traces_ctx_v1& ctx, const host_op_event& event) {
    return std::memcmp(ctx.trace_id, event.span.trace_id, 16) == 0 &&
           std::memcmp(ctx.span_id, event.span.span_id, 8) == 0;
}

}  // namespace

TEST_CASE("goroutine context: the innermost live span, then the one around it, then none") {
    Program program;
    CHECK_FALSE(program.context(7));
    program.start(7, 100);
    const auto outer = program.context(7);
    program.start(7, 200);
    const auto inner = program.context(7);
    REQUIRE(outer);
    REQUIRE(inner);
    const host_op_event inner_event = program.end(7);
    CHECK(is_of(*inner, inner_event));
    const auto again = program.context(7);
    REQUIRE(again);
    const host_op_event outer_event = program.end(7);
    CHECK(is_of(*outer, outer_event));
    CHECK(is_of(*again, outer_event));
    CHECK_FALSE(program.context(7));
    CHECK_FALSE(program.context(8));
}

TEST_CASE("goroutine context: a child without spans works for its parent's outermost span while that lives") {
    Program program;
    program.start(7, 100);
    program.start(7, 200);
    const auto child = program.context(20, 7);
    program.end(7);
    CHECK(program.context(20, 7));
    const host_op_event outer = program.end(7);
    REQUIRE(child);
    CHECK(is_of(*child, outer));
    CHECK_FALSE(program.context(20, 7));
    program.start(7);  // the parent's next request
    CHECK_FALSE(program.context(20, 7));
    CHECK(program.context(21, 7));
}

TEST_CASE("goroutine context: what was first seen before its parent's span began never belongs to it") {
    Program program;
    CHECK_FALSE(program.context(20, 7));
    program.start(7);
    CHECK_FALSE(program.context(20, 7));
}

TEST_CASE("goroutine context: another process with the same ids has no part in it") {
    Program program;
    program.start(7);
    CHECK(program.context(20, 7));
    program.start_process(2, OE_PUBLISH_JIT);
    CHECK_FALSE(program.context(7));
    CHECK_FALSE(program.context(20, 7));
}

TEST_CASE("goroutine context: a span on a child goroutine is a child of the span it was started under") {
    Program program;
    program.kernel.memory.put(program.goroutines.g_of(20) + parent_offset, std::uint64_t{7});
    program.start(7);
    program.start(20);
    const host_op_event child = program.end(20), parent = program.end(7);
    CHECK(std::memcmp(child.span.parent_id, parent.span.span_id, 8) == 0);
    CHECK(std::memcmp(child.span.trace_id, parent.span.trace_id, 16) == 0);
    program.start(20);  // its parent's span is over
    const host_op_event later = program.end(20);
    CHECK(std::memcmp(later.span.trace_id, parent.span.trace_id, 16) != 0);
}

TEST_CASE("goroutine context: the creation hook knows the innermost span, and bridges goroutines without spans") {
    Program program;
    program.start(7, 100);
    program.start(7, 200);
    program.create(7, 20);
    program.create(20, 21);  // 20 has no span of its own
    const auto child = program.context(20), grandchild = program.context(21);
    const host_op_event inner = program.end(7);
    REQUIRE(child);
    REQUIRE(grandchild);
    CHECK(is_of(*child, inner));
    CHECK(is_of(*grandchild, inner));
    CHECK_FALSE(program.context(20));
    CHECK_FALSE(program.context(21));
}

TEST_CASE("goroutine context: a goroutine that is made ready again keeps its origin") {
    Program program;
    program.start(7);
    program.create(7, 20);
    program.start(8);
    program.kernel.memory.put(program.goroutines.g_of(20) + sched_pc_offset, std::uint64_t{0x402000});  // it has run
    const host_hit ready = program.on_system_stack(8, 0, program.goroutines.g_of(20));
    host_go_runqput(&ready);
    const auto child = program.context(20);
    REQUIRE(child);
    CHECK(is_of(*child, program.end(7)));
}

TEST_CASE("eager publication: entries follow the spans of the goroutine that runs") {
    Program program(OE_PUBLISH_EAGER);
    program.start(7, 100);
    const auto outer = program.entry();
    program.start(7, 200);
    const auto inner = program.entry();
    const host_op_event inner_event = program.end(7);
    const auto again = program.entry();
    const host_op_event outer_event = program.end(7);
    REQUIRE(outer);
    REQUIRE(inner);
    REQUIRE(again);
    CHECK(is_of(*outer, outer_event));
    CHECK(is_of(*inner, inner_event));
    CHECK(is_of(*again, outer_event));
    CHECK_FALSE(program.entry());
    CHECK(host_is_owned(1, program.tid()) == 0);
}

TEST_CASE("eager publication: no entry while the scheduler runs, then that of the next goroutine") {
    Program program(OE_PUBLISH_EAGER);
    program.start(7);
    REQUIRE(program.entry());
    const host_hit leave = program.on_system_stack(7, 0, 0);
    host_go_leave(&leave);
    CHECK_FALSE(program.entry());
    const host_hit other = program.on_system_stack(7, program.goroutines.g_of(8), 0);
    host_go_execute(&other);
    CHECK_FALSE(program.entry());
    const host_hit back = program.on_system_stack(7, program.goroutines.g_of(7), 0);
    host_go_execute(&back);
    const auto entry = program.entry();
    REQUIRE(entry);
    CHECK(is_of(*entry, program.end(7)));
}

TEST_CASE("eager publication: another tool's entry is left alone, and counted") {
    Program program(OE_PUBLISH_EAGER);
    oe_traces_ctx_v1 foreign{};
    foreign.trace_id[0] = foreign.span_id[0] = 9;
    host_set_entry_of(1, program.tid(), &foreign);
    program.start(7);
    CHECK(program.entry()->span_id[0] == 9);
    program.end(7);
    REQUIRE(program.entry());
    CHECK(program.entry()->span_id[0] == 9);
    oe_ctx_counts counts{};
    REQUIRE(host_ctx_counts(1, &counts) == 1);
    CHECK(counts.foreign == 1);
    CHECK(counts.published == 0);
}

TEST_CASE("eager publication: an entry that another tool has written over is not taken back") {
    Program program(OE_PUBLISH_EAGER);
    oe_traces_ctx_v1 foreign{};
    foreign.trace_id[0] = foreign.span_id[0] = 9;
    program.start(7);
    host_set_entry_of(1, program.tid(), &foreign);
    program.end(7);
    REQUIRE(program.entry());
    CHECK(program.entry()->span_id[0] == 9);
}

TEST_CASE("goroutine context: the current goroutine is found from the thread pointer") {
    Program program;
    constexpr std::int32_t tls_offset = -8;
    const std::uint64_t tls = program.kernel.memory.allocate(64), m = program.kernel.memory.allocate(64);
    const std::uint64_t g0 = program.goroutines.g_of(1'000'000);
    program.kernel.memory.put(tls + 56, g0);
    program.kernel.memory.put(g0 + m_offset, m);
    program.kernel.task.thread.fsbase = tls + 64;
    program.start_process(1, OE_PUBLISH_JIT, tls_offset);
    oe_traces_ctx_v1 ctx{};
    CHECK(host_context_current(&ctx) == 0);  // the scheduler
    program.kernel.memory.put(m + curg_offset, program.goroutines.g_of(7));
    CHECK(host_context_current(&ctx) == 0);
    program.start(7);
    REQUIRE(host_context_current(&ctx) == 1);
    CHECK(is_of(ctx, program.end(7)));
    program.kernel.task.thread.fsbase = 0;
    CHECK(host_context_current(&ctx) == -EFAULT);
    program.start_process(1, OE_PUBLISH_JIT, 0);  // where g is isn't known
    CHECK(host_context_current(&ctx) == 0);
}

TEST_CASE("eager publication: just in time and off, nothing is written when spans begin and end") {
    for (const oe_publication publication : {OE_PUBLISH_OFF, OE_PUBLISH_JIT}) {
        Program program(publication);
        program.start(7);
        CHECK_FALSE(program.entry());
        const host_hit run = program.on_system_stack(7, program.goroutines.g_of(7), 0);
        host_go_execute(&run);
        CHECK_FALSE(program.entry());
    }
}
