// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The two tracepoint programs that publish just in time: whether this kernel can, attached, tried, detached in order.
#pragma once

#include <linux/perf_event.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/fd.hpp>
#include <otel_ebpf/link.hpp>
#include <otel_ebpf/trace_context.hpp>
#include <otel_ebpf/types.h>

namespace otel_ebpf::detail {

// Address of a kernel function from /proc/kallsyms; fails when it isn't there or addresses are hidden.
[[nodiscard]] inline Result<std::uint64_t> kernel_symbol(std::string_view name) {
    std::FILE* file = std::fopen("/proc/kallsyms", "re");
    if (file == nullptr) return fail_errno(Stage::symbol, "open /proc/kallsyms");
    char line[512], symbol[256];
    unsigned long long address = 0, found = 0;
    bool is_there = false;
    while (!is_there && std::fgets(line, sizeof(line), file) != nullptr) {
        if (std::strstr(line, name.data()) == nullptr) continue;
        is_there = std::sscanf(line, "%llx %*c %255s", &address, symbol) == 2 && name == symbol;
        if (is_there) found = address;
    }
    std::fclose(file);
    if (!is_there) return fail(Stage::symbol, fmt::format("find {} in /proc/kallsyms: not there", name), ENOENT);
    if (found == 0)
        return fail(Stage::symbol,
                    fmt::format("find {} in /proc/kallsyms: addresses are hidden (needs CAP_SYSLOG, or "
                                "kernel.kptr_restrict=0)", name), EPERM);
    return found;
}

class JitHooks {
public:
    // The address that oe_perf_timer is set to before load, or why this kernel can't publish just in time.
    [[nodiscard]] static Result<std::uint64_t> timer_address() {
        btf* const types = ::btf__load_vmlinux_btf();
        if (types == nullptr) return fail_errno(Stage::unsupported, "read /sys/kernel/btf/vmlinux");
        std::string missing;
        for (const char* tracepoint : {"btf_trace_hrtimer_expire_entry", "btf_trace_hrtimer_expire_exit"})
            if (::btf__find_by_name_kind(types, tracepoint, BTF_KIND_TYPEDEF) <= 0)
                missing = std::string(tracepoint).substr(std::strlen("btf_trace_"));
        ::btf__free(types);
        if (!missing.empty())
            return fail(Stage::unsupported, fmt::format("this kernel has no tracepoint {}", missing), ENOENT);
        return kernel_symbol("perf_swevent_hrtimer");
    }

    // Attaches both hooks and tries them: a cpu-clock event on this thread must find what is published for it. Takes a
    // few milliseconds of CPU. The object is loaded; nothing stays attached on failure.
    [[nodiscard]] Result<void> attach(bpf_object* object) {
        auto exit = tracing(object, "oe_jit_exit");
        if (!exit) return Failure(exit.error());
        auto entry = tracing(object, "oe_jit_entry");
        if (!entry) return Failure(entry.error());
        exit_ = std::move(*exit);
        entry_ = std::move(*entry);
        auto works = self_test(object);
        if (!works) detach();
        return works;
    }

    [[nodiscard]] bool attached() const { return static_cast<bool>(entry_); }

    // The hook that sets goes first, so that no interrupt is left half done.
    void detach() {
        entry_ = {};
        exit_ = {};
    }

private:
    static constexpr std::uint64_t wanted_samples = 5;

    static Result<Link> tracing(const bpf_object* object, const char* name) {
        const bpf_program* program = ::bpf_object__find_program_by_name(object, name);
        if (program == nullptr || ::bpf_program__fd(program) < 0)
            return fail(Stage::attach, fmt::format("attach {}: the program was not loaded", name), ENOENT);
        return Link::tracing(program);
    }

    static Result<void> self_test(const bpf_object* object) {
        const int map = ::bpf_object__find_map_fd_by_name(object, "oe_self_test");
        const int contexts = ::bpf_object__find_map_fd_by_name(object, "traces_ctx_v1");
        const bpf_program* sample = ::bpf_object__find_program_by_name(object, "oe_self_sample");
        if (map < 0 || contexts < 0 || sample == nullptr || ::bpf_program__fd(sample) < 0)
            return fail(Stage::unsupported, "self-test: the BPF object lacks parts of publish.programs.h", ENOENT);
        oe_self_test test{};
        test.key = static_cast<std::uint64_t>(::getpid()) << 32 | static_cast<std::uint32_t>(::gettid());
        const TraceId trace_id = random_trace_id();
        const SpanId span_id = random_span_id();
        std::memcpy(test.ctx.trace_id, trace_id.bytes.data(), sizeof(test.ctx.trace_id));
        std::memcpy(test.ctx.span_id, span_id.bytes.data(), sizeof(test.ctx.span_id));
        const std::uint32_t zero = 0;
        if (::bpf_map_update_elem(map, &zero, &test, BPF_ANY) != 0) return fail_errno(Stage::map, "self-test");
        auto done = sample_self(sample, map);
        const std::uint64_t key = test.key;
        const oe_self_test none{};
        ::bpf_map_lookup_elem(map, &zero, &test);
        ::bpf_map_update_elem(map, &zero, &none, BPF_ANY);
        if (!done) return done;
        if (test.found == 0 || test.missed != 0)
            return fail(Stage::unsupported,
                        fmt::format("self-test: a cpu-clock event on this kernel found the context in {} of {} samples",
                                    test.found, test.found + test.missed), ENOTSUP);
        oe_traces_ctx_v1 left{};
        if (::bpf_map_lookup_elem(contexts, &key, &left) == 0)
            return fail(Stage::unsupported, "self-test: the entry was still there after the interrupt", ENOTSUP);
        return {};
    }

    // Burns CPU until enough samples of this thread were taken.
    static Result<void> sample_self(const bpf_program* program, int map) {
        perf_event_attr attr{};
        attr.size = sizeof(attr);
        attr.type = PERF_TYPE_SOFTWARE;
        attr.config = PERF_COUNT_SW_CPU_CLOCK;
        attr.sample_period = 1'000'000;  // ns
        attr.disabled = 1;
        const Fd event(static_cast<int>(::syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC)));
        if (!event) return fail_errno(Stage::unsupported, "self-test: perf_event_open of a cpu-clock event");
        if (::ioctl(event.get(), PERF_EVENT_IOC_SET_BPF, ::bpf_program__fd(program)) != 0 ||
            ::ioctl(event.get(), PERF_EVENT_IOC_ENABLE, 0) != 0)
            return fail_errno(Stage::unsupported, "self-test: run a program at a cpu-clock event");
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
        const std::uint32_t zero = 0;
        oe_self_test test{};
        do {
            if (::bpf_map_lookup_elem(map, &zero, &test) != 0) return fail_errno(Stage::map, "self-test");
        } while (test.found + test.missed < wanted_samples && std::chrono::steady_clock::now() < end);
        ::ioctl(event.get(), PERF_EVENT_IOC_DISABLE, 0);
        if (test.found + test.missed == 0)
            return fail(Stage::unsupported, "self-test: no sample of a cpu-clock event within 2 s", ENOTSUP);
        return {};
    }

    Link entry_, exit_;
};

}  // namespace otel_ebpf::detail
