// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Spans on threads and tasks (thread_span.bpf.h) on the host: nesting, publication, tasks that change threads; against
// a plain model.
#include "test.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "bpf_host.hpp"
#include "thread_under_test.h"

namespace {

constexpr std::uint16_t kind_a = OE_KIND_FIRST_PROBE, kind_b = OE_KIND_FIRST_PROBE + 1;
constexpr std::uint64_t shallow = 0x7000, deep = 0x6000, deeper = 0x5000;  // stack pointers of calls
constexpr std::uint64_t job = 0xa0, other_job = 0xb0;

using Ids = std::array<std::uint8_t, 24>;

Ids ids_of(const oe_traces_ctx_v1& context) {
    Ids ids;
    std::memcpy(ids.data(), &context, sizeof(context));
    return ids;
}

oe_trace_ctx remote_context(std::uint8_t flags) {
    oe_trace_ctx remote{};
    std::fill(std::begin(remote.trace_id), std::end(remote.trace_id), std::uint8_t{0x11});
    std::fill(std::begin(remote.span_id), std::end(remote.span_id), std::uint8_t{0x22});
    remote.flags = flags;
    return remote;
}

// One process whose context is published eagerly, so that entries can be compared with what oe_thread_current() says.
struct Threads {
    HostKernel kernel;
    std::uint64_t last_number = 0;

    explicit Threads(oe_publication publication = OE_PUBLISH_EAGER) {
        const oe_exe exe{};
        host_set_exe(0, &exe);
        start_process(1, 1, publication);
        on(101);
    }
    void start_process(std::uint32_t tgid, std::uint32_t generation, oe_publication publication = OE_PUBLISH_EAGER) {
        oe_process row{};
        row.generation = generation;
        row.probes = ~0ULL;
        row.publication = static_cast<std::uint8_t>(publication);
        host_set_process(tgid, &row);
    }
    Threads& on(std::uint32_t tid) {
        kernel.tid = tid;
        return *this;
    }
    bool begin(std::uint64_t sp = shallow, std::uint16_t kind = kind_a, const oe_trace_ctx* remote = nullptr,
               host_begin how = HOST_THREAD_SPAN) {
        return host_thread_begin(how, sp, kind, ++last_number, remote) != 0;
    }
    bool begin_in_task(std::uint16_t kind = kind_a, const oe_trace_ctx* remote = nullptr) {
        return begin(shallow, kind, remote, HOST_TASK_SPAN);
    }
    bool end(std::uint16_t kind = kind_a) { return host_thread_end(kind) != 0; }

    // The current thread's context; its entry must say the same.
    std::optional<Ids> current() {
        oe_traces_ctx_v1 current{}, entry{};
        const bool known = host_thread_current(&current) != 0;
        REQUIRE((host_entry(&entry) != 0) == known);
        if (!known) return std::nullopt;
        REQUIRE(ids_of(current) == ids_of(entry));
        return ids_of(current);
    }
    [[nodiscard]] host_op_event record(std::size_t index) const {
        host_op_event event{};
        REQUIRE(kernel.records.at(index).size() == sizeof(event));
        std::memcpy(&event, kernel.records[index].data(), sizeof(event));
        return event;
    }
    [[nodiscard]] Ids ids(std::size_t index) const {
        const host_op_event event = record(index);
        Ids ids;
        std::memcpy(ids.data(), event.span.trace_id, 16);
        std::memcpy(ids.data() + 16, event.span.span_id, 8);
        return ids;
    }
    [[nodiscard]] std::size_t records() const { return kernel.records.size(); }
};

bool is_root(const host_op_event& event) {
    return std::all_of(std::begin(event.span.parent_id), std::end(event.span.parent_id),
                       [](int byte) { return byte == 0; });
}
bool is_child(const host_op_event& child, const host_op_event& parent) {
    return std::equal(std::begin(child.span.parent_id), std::end(child.span.parent_id), parent.span.span_id) &&
           std::equal(std::begin(child.span.trace_id), std::end(child.span.trace_id), parent.span.trace_id);
}
bool is_abandoned(const host_op_event& event) { return (event.span.header.span_flags & OE_SPAN_ABANDONED) != 0; }

}  // namespace

TEST_CASE("thread span: a start and an end make one record, and its context is the thread's in between") {
    Threads threads;
    CHECK_FALSE(threads.current());
    REQUIRE(threads.begin());
    const auto context = threads.current();
    REQUIRE(context);
    REQUIRE(threads.end());
    CHECK_FALSE(threads.current());
    REQUIRE(threads.records() == 1);
    CHECK(threads.ids(0) == *context);
    const host_op_event event = threads.record(0);
    CHECK(event.number == 1);
    CHECK(is_root(event));
    CHECK(event.span.header.trace_flags == 1);
    CHECK(event.span.header.size_bytes == sizeof(event));
    CHECK(event.span.duration_ns > 0);
}

TEST_CASE("thread span: nested spans restore the enclosing one, and threads don't mix") {
    Threads threads;
    threads.begin(shallow, kind_a);
    const auto outer = threads.current();
    threads.on(102).begin(shallow, kind_a);
    const auto other = threads.current();
    threads.on(101).begin(deep, kind_b);
    const auto inner = threads.current();
    CHECK(outer != other);
    CHECK(inner != outer);
    REQUIRE(threads.end(kind_b));
    CHECK(threads.current() == outer);
    CHECK(threads.on(102).current() == other);
    REQUIRE(threads.end(kind_a));
    CHECK(threads.on(101).current() == outer);
    REQUIRE(threads.end(kind_a));
    CHECK(is_child(threads.record(0), threads.record(2)));
    CHECK(is_root(threads.record(1)));
    CHECK(threads.ids(0) == *inner);
}

TEST_CASE("thread span: eight nest; more are counted, and the eighth stays current") {
    Threads threads;
    for (std::uint64_t i = 0; i < 8; ++i) REQUIRE(threads.begin(shallow - 16 * i));
    const auto innermost = threads.current();
    CHECK_FALSE(threads.begin(deeper));
    CHECK(host_stat(OE_STAT_DEPTH_EXCEEDED) == 1);
    CHECK(threads.current() == innermost);
    for (int i = 0; i < 8; ++i) REQUIRE(threads.end());
    CHECK_FALSE(threads.current());
    for (std::size_t i = 0; i + 1 < 8; ++i) CHECK(is_child(threads.record(i), threads.record(i + 1)));
}

TEST_CASE("thread span: a trace that came with the request goes on, and unsampled ones have no context") {
    Threads threads;
    const oe_trace_ctx sampled = remote_context(1), unsampled = remote_context(0);
    threads.begin(shallow, kind_a, &sampled);
    const auto context = threads.current();
    REQUIRE(context);
    CHECK(std::equal(std::begin(sampled.trace_id), std::end(sampled.trace_id), context->begin()));
    threads.begin(deep, kind_b, &unsampled);
    CHECK_FALSE(threads.current());
    threads.begin(deeper, kind_b);  // a child of the unsampled one
    CHECK_FALSE(threads.current());
    threads.end(kind_b);
    CHECK_FALSE(threads.current());
    threads.end(kind_b);
    CHECK(threads.current() == context);
    threads.end(kind_a);
    const host_op_event whole = threads.record(2);
    CHECK(std::equal(std::begin(sampled.span_id), std::end(sampled.span_id), whole.span.parent_id));
    CHECK((whole.span.header.span_flags & OE_SPAN_REMOTE_PARENT) != 0);
    CHECK(threads.record(0).span.header.trace_flags == 0);
}

TEST_CASE("thread span: an end without a start is counted") {
    Threads threads;
    CHECK_FALSE(threads.end());
    threads.begin(shallow, kind_a);
    CHECK_FALSE(threads.end(kind_b));
    CHECK_FALSE(threads.on(102).end(kind_a));
    CHECK(host_stat(OE_STAT_ORPHAN_END) == 3);
    CHECK(threads.on(101).end(kind_a));
}

TEST_CASE("thread span: a call that was left by an exception is ended by the next call at its depth or above") {
    Threads threads;
    threads.begin(shallow, kind_a);
    threads.begin(deep, kind_b);  // throws
    SECTION("by the next call") {
        threads.begin(deep, kind_b);
        REQUIRE(threads.records() == 1);
        threads.end(kind_b);
        threads.end(kind_a);
        CHECK(is_child(threads.record(1), threads.record(2)));
    }
    SECTION("by the end around it") { threads.end(kind_a); }
    CHECK(is_abandoned(threads.record(0)));
    CHECK(is_child(threads.record(0), threads.record(threads.records() - 1)));
    CHECK(host_stat(OE_STAT_ABANDONED) == 1);
    CHECK_FALSE(threads.current());
}

TEST_CASE("thread span: one that is not bound to a call contains what begins above its frame, and ends its like") {
    Threads threads;
    threads.begin(deep, kind_a, nullptr, HOST_THREAD_SPAN_ONLY);
    const auto whole = threads.current();
    threads.begin(shallow, kind_b);
    threads.end(kind_b);
    CHECK(threads.current() == whole);
    threads.begin(deep, kind_a, nullptr, HOST_THREAD_SPAN_ONLY);
    CHECK(threads.current() != whole);
    threads.end(kind_a);
    REQUIRE(threads.records() == 3);
    CHECK(is_child(threads.record(0), threads.record(1)));
    CHECK(is_abandoned(threads.record(1)));
    CHECK(is_root(threads.record(2)));
}

TEST_CASE("thread span: a discarded one leaves the enclosing one current") {
    Threads threads;
    threads.begin(0x2000, kind_a);
    const auto outer = threads.current();
    CHECK(host_thread_begin_and_discard(kind_b) == 1);
    CHECK(threads.current() == outer);
    CHECK(threads.records() == 0);
    CHECK(host_stat(OE_STAT_DISCARDED) == 1);
}

TEST_CASE("thread span: a process with the same ids has nothing of its predecessor") {
    Threads threads;
    threads.begin();
    threads.start_process(1, 2);
    oe_traces_ctx_v1 context{};
    CHECK(host_thread_current(&context) == 0);
    CHECK_FALSE(threads.end());
    REQUIRE(threads.begin());
    REQUIRE(threads.end());
    CHECK(threads.record(0).span.header.generation == 2);
    host_erase_process(1);
    CHECK_FALSE(threads.begin());
    CHECK(host_thread_current(&context) == 0);
}

TEST_CASE("thread span: without memory for the thread the span is lost and counted") {
    Threads threads;
    threads.kernel.storage_fails = true;
    CHECK_FALSE(threads.begin());
    CHECK(host_stat(OE_STAT_THREADS_FULL) == 1);
    CHECK_FALSE(threads.end());
}

TEST_CASE("thread span: nothing is published unless eagerly, and never over another tool's entry") {
    for (const auto publication : {OE_PUBLISH_OFF, OE_PUBLISH_JIT}) {
        Threads threads(publication);
        threads.begin();
        oe_traces_ctx_v1 context{};
        CHECK(host_entry(&context) == 0);
        CHECK(host_thread_current(&context) == 1);
    }
    Threads threads;
    oe_traces_ctx_v1 foreign{}, entry{};
    foreign.span_id[0] = 0x77;
    host_set_entry(&foreign);
    threads.begin();
    threads.end();
    REQUIRE(host_entry(&entry) == 1);
    CHECK(ids_of(entry) == ids_of(foreign));
    CHECK(host_foreign(1) == 1);
}

TEST_CASE("thread span: a thread that ends takes its entry along, and its open spans are written") {
    Threads threads;
    threads.begin(shallow, kind_a);
    threads.begin(deep, kind_b);
    host_thread_gone();
    CHECK_FALSE(threads.current());
    REQUIRE(threads.records() == 2);
    CHECK(is_abandoned(threads.record(0)));
    CHECK(is_abandoned(threads.record(1)));
    threads.begin();  // a new thread with the same tid
    threads.end();
    CHECK(is_root(threads.record(2)));
}

TEST_CASE("task: its context is that of the thread that works on it, and of no other") {
    Threads threads;
    host_task_begin(job);
    CHECK_FALSE(threads.current());
    host_task_resume(job);
    CHECK_FALSE(threads.current());
    threads.begin_in_task();
    const auto context = threads.current();
    REQUIRE(context);
    host_task_suspend(job);
    CHECK_FALSE(threads.current());
    CHECK_FALSE(threads.on(102).current());
    host_task_resume(job);
    CHECK(threads.current() == context);
    CHECK_FALSE(threads.on(101).current());
    CHECK_FALSE(threads.end());  // the span is the task's, not this thread's
    threads.on(102).begin_in_task(kind_b);
    host_task_suspend(job);
    threads.on(103);
    host_task_resume(job);
    REQUIRE(threads.end(kind_b));
    CHECK(threads.current() == context);
    REQUIRE(threads.end(kind_a));
    CHECK_FALSE(threads.current());
    CHECK(is_child(threads.record(0), threads.record(1)));
    host_task_end(job);
    CHECK(host_tasks() == 0);
    CHECK(host_stat(OE_STAT_ORPHAN_END) == 1);
}

TEST_CASE("task: its outermost spans are children of the span in which it was made") {
    Threads threads;
    threads.begin(shallow, kind_a);
    host_task_begin(job);
    threads.end(kind_a);
    threads.on(102);
    host_task_resume(job);
    REQUIRE(threads.begin_in_task(kind_b));
    REQUIRE(threads.end(kind_b));
    CHECK(is_child(threads.record(1), threads.record(0)));
    CHECK((threads.record(1).span.header.span_flags & OE_SPAN_REMOTE_PARENT) == 0);
    host_task_end(job);
    // Its id is used again, for a task that was made outside of any span.
    host_task_begin(job);
    host_task_resume(job);
    threads.begin_in_task(kind_b);
    threads.end(kind_b);
    CHECK(is_root(threads.record(2)));
}

TEST_CASE("task: while a thread's task is unknown there is no span of a task, counted, and no context") {
    Threads threads;
    CHECK_FALSE(threads.begin_in_task());
    CHECK(host_stat(OE_STAT_TASK_UNKNOWN) == 1);
    host_task_resume(job);
    CHECK(threads.begin_in_task());
    // Another thread goes on with it before it was seen to leave this one.
    threads.on(102);
    host_task_resume(job);
    CHECK(threads.current());
    threads.on(101);
    oe_traces_ctx_v1 context{};
    CHECK(host_thread_current(&context) == 0);
    CHECK_FALSE(threads.begin_in_task());
    CHECK(host_stat(OE_STAT_TASK_UNKNOWN) == 2);
    host_task_suspend(job);  // late: the other thread keeps the task
    CHECK_FALSE(threads.current());
    CHECK(threads.on(102).current());
}

TEST_CASE("task: spans that it leaves open are written when it ends, or when its id is used again") {
    Threads threads;
    host_task_resume(job);
    threads.begin_in_task(kind_a);
    SECTION("it ends") {
        host_task_end(job);
        CHECK_FALSE(threads.current());
    }
    SECTION("its end was not seen") {
        host_task_suspend(job);
        host_task_begin(job);
    }
    REQUIRE(threads.records() == 1);
    CHECK(is_abandoned(threads.record(0)));
    CHECK(host_tasks() == 0);
}

TEST_CASE("task: a thread's own span is current again when no task is") {
    Threads threads;
    threads.begin(shallow, kind_a);
    const auto own = threads.current();
    host_task_resume(job);
    CHECK_FALSE(threads.current());
    threads.begin(deep, kind_b);
    const auto of_task = threads.current();
    CHECK(of_task != own);
    host_task_suspend(job);
    CHECK(threads.current() == own);
    threads.end(kind_a);
    host_task_resume(job);
    CHECK(threads.current() == of_task);
    host_thread_gone();
    CHECK_FALSE(threads.current());
    threads.on(102);
    host_task_resume(job);
    CHECK(threads.current() == of_task);  // a task outlives its thread
}

TEST_CASE("task: tasks without open spans leave nothing behind, and more than there is room for are counted") {
    Threads threads;
    for (std::uint64_t id = 1; id <= 2 * OE_MAX_TASKS; ++id) {
        host_task_resume(id);
        REQUIRE(threads.begin_in_task());
        REQUIRE(threads.end());
        host_task_suspend(id);
    }
    CHECK(host_tasks() == 0);
    for (std::uint64_t id = 1; id <= OE_MAX_TASKS + 3; ++id) {
        host_task_resume(id);
        CHECK(threads.begin_in_task() == (id <= OE_MAX_TASKS));
        host_task_suspend(id);
    }
    CHECK(host_stat(OE_STAT_THREADS_FULL) == 3);
    CHECK(host_tasks() == OE_MAX_TASKS);
}

TEST_CASE("native: a traceparent in target memory") {
    Threads threads;
    const std::string good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    oe_trace_ctx context{};
    const auto read = [&](const std::string& text) {
        return host_read_traceparent(threads.kernel.memory.text(text), text.size(), &context);
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

TEST_CASE("task: any order of work on several threads agrees with a plain model") {
    struct Task {
        std::vector<Ids> spans;
        std::uint32_t runs_on = 0;
    };
    for (unsigned seed = 0; seed < 20; ++seed) {
        Threads threads;
        std::mt19937 random(seed);
        std::map<std::uint64_t, Task> tasks;
        std::map<std::uint32_t, std::uint64_t> task_of;  // by thread
        for (std::uint64_t id = 1; id <= 6; ++id) tasks[id];
        std::size_t written = 0;
        for (int step = 0; step < 2000; ++step) {
            const std::uint32_t tid = 101 + random() % 4;
            threads.on(tid);
            const std::uint64_t running = task_of[tid];
            switch (random() % 4) {
                case 0:
                    if (running != 0) {
                        host_task_suspend(running);
                        tasks[running].runs_on = 0;
                        task_of[tid] = 0;
                        break;
                    }
                    if (const std::uint64_t id = 1 + random() % tasks.size(); tasks[id].runs_on == 0) {
                        host_task_resume(id);
                        tasks[id].runs_on = tid;
                        task_of[tid] = id;
                    }
                    break;
                case 1:
                    if (threads.begin_in_task()) {
                        REQUIRE(running != 0);
                        REQUIRE(threads.current());
                        tasks[running].spans.push_back(*threads.current());
                    } else {
                        REQUIRE((running == 0 || tasks[running].spans.size() == 8));
                    }
                    break;
                case 2:
                    if (running != 0 && !tasks[running].spans.empty()) {
                        REQUIRE(threads.end());
                        REQUIRE(threads.ids(written++) == tasks[running].spans.back());
                        tasks[running].spans.pop_back();
                    } else {
                        REQUIRE_FALSE(threads.end());
                    }
                    break;
                case 3:
                    if (running != 0 && random() % 4 == 0) {
                        host_task_end(running);
                        written += tasks[running].spans.size();
                        tasks[running] = {};
                        task_of[tid] = 0;
                    }
                    break;
            }
            REQUIRE(threads.records() == written);
            for (std::uint32_t each = 101; each <= 104; ++each) {
                const auto& spans = tasks[task_of[each]].spans;
                const auto expected = task_of[each] == 0 || spans.empty() ? std::nullopt : std::optional(spans.back());
                REQUIRE(threads.on(each).current() == expected);
            }
            tasks.erase(0);
        }
        CHECK(host_stat(OE_STAT_STORE_FULL) == 0);
    }
}
