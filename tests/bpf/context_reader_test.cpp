// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// traces_ctx.bpf.h in a profiler's program: the sampled thread's entry, and no other.
#include "test.hpp"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <utility>
#include <vector>

#include <otel_ebpf/context_map.hpp>

#include "private_bpffs.hpp"
#include "privileges.hpp"
#include "reader.skel.h"

namespace {

namespace oe = otel_ebpf;

// What reader.bpf.c counts by.
struct Work {
    std::uint64_t thread;
    oe_traces_ctx_v1 context;
};

std::int64_t cpu_time_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// This thread's ticks while it burns some CPU time, by the context that the program saw.
std::vector<std::pair<Work, std::uint64_t>> burn_and_count(const reader_bpf* reader) {
    perf_event_attr attr{};
    attr.type = PERF_TYPE_SOFTWARE;
    attr.size = sizeof(attr);
    attr.config = PERF_COUNT_SW_CPU_CLOCK;
    attr.freq = 1;
    attr.sample_freq = 997;
    const auto event = static_cast<int>(::syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC));
    REQUIRE(event >= 0);
    bpf_link* const link = ::bpf_program__attach_perf_event(reader->progs.on_tick, event);
    REQUIRE(link != nullptr);
    const std::int64_t begin = cpu_time_ns();
    while (cpu_time_ns() - begin < 100'000'000) continue;
    ::bpf_link__destroy(link);

    std::vector<std::pair<Work, std::uint64_t>> all;
    const int ticks = ::bpf_map__fd(reader->maps.ticks);
    Work work;
    while (::bpf_map_get_next_key(ticks, nullptr, &work) == 0) {
        std::uint64_t count = 0;
        REQUIRE(::bpf_map_lookup_elem(ticks, &work, &count) == 0);
        REQUIRE(::bpf_map_delete_elem(ticks, &work) == 0);
        all.emplace_back(work, count);
    }
    return all;
}

}  // namespace

TEST_CASE("context map: a BPF program reads the entry of the thread it interrupts") {
    SKIP_UNLESS_LOADABLE();
    const PrivateBpffs bpffs;
    if (!bpffs.why_not().empty()) SKIP_TEST(bpffs.why_not().c_str());
    const auto map = oe::ContextMap::open({.bpffs_root = bpffs.root()});
    REQUIRE(map);
    reader_bpf* const reader = ::reader_bpf__open();
    REQUIRE(reader != nullptr);
    REQUIRE(::bpf_map__reuse_fd(reader->maps.traces_ctx_v1, map->fd()) == 0);
    REQUIRE(::reader_bpf__load(reader) == 0);
    CHECK(map_id(::bpf_map__fd(reader->maps.traces_ctx_v1)) == map_id(map->fd()));

    const oe::ContextKey self{static_cast<std::uint32_t>(::getpid()), static_cast<std::uint32_t>(::gettid())};
    const oe::SpanContext context{*oe::TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736"),
                                  *oe::SpanId::from_hex("00f067aa0ba902b7")};
    CHECK(burn_and_count(reader).empty());
    REQUIRE(map->set({self.tgid, self.tid + 1}, context));
    CHECK(burn_and_count(reader).empty());
    REQUIRE(map->set(self, context));
    const auto seen = burn_and_count(reader);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].first.thread == self.raw());
    CHECK(oe::to_span_context(seen[0].first.context) == context);
    CHECK(seen[0].second >= 10);
    // Half a context is none.
    REQUIRE(map->set(self, {context.trace_id, {}}));
    CHECK(burn_and_count(reader).empty());
    REQUIRE(map->set(self, {{}, context.span_id}));
    CHECK(burn_and_count(reader).empty());
    CHECK(map->erase(self).value());
    CHECK(burn_and_count(reader).empty());
    ::reader_bpf__destroy(reader);
}
