// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Link: an owned attachment of a program; closing it detaches.
#pragma once

#include <linux/bpf.h>
#include <linux/perf_event.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/fd.hpp>
#include <otel_ebpf/kernel.hpp>

namespace otel_ebpf {

// One program at one or more places. Closing a perf-event link takes about 0.1 s per site, a uprobe_multi link 20 ms.
class Link {
public:
    Link() = default;

    // `path` is resolved at once (/proc/self/fd/N is fine). offsets: file offsets; cookies: one per offset.
    // pid 0: every process that maps the file. Needs Linux 6.6, CAP_BPF and CAP_PERFMON.
    [[nodiscard]] static Result<Link> uprobe_multi(int program_fd, const std::string& path,
                                                   std::span<const std::uint64_t> offsets,
                                                   std::span<const std::uint64_t> cookies, pid_t pid) {
        detail::UprobeMultiAttr attr;
        attr.prog_fd = static_cast<std::uint32_t>(program_fd);
        attr.path = reinterpret_cast<std::uint64_t>(path.c_str());
        attr.offsets = reinterpret_cast<std::uint64_t>(offsets.data());
        attr.cookies = reinterpret_cast<std::uint64_t>(cookies.data());
        attr.count = static_cast<std::uint32_t>(offsets.size());
        attr.pid = pid;
        Link link;
        link.fds_.emplace_back(detail::link_create_uprobe_multi(attr));
        if (!link.fds_.back()) return fail_errno(Stage::attach, "uprobe_multi" + needs());
        return link;
    }

    // The fallback before Linux 6.6: a perf event and a link per offset. Kernels with the fix of CVE-2025-38466 want
    // CAP_SYS_ADMIN. pid -1: every process.
    [[nodiscard]] static Result<Link> uprobe_perf(int program_fd, const std::string& path,
                                                  std::span<const std::uint64_t> offsets,
                                                  std::span<const std::uint64_t> cookies, pid_t pid) {
        std::ifstream type_file("/sys/bus/event_source/devices/uprobe/type");
        std::uint32_t type = 0;
        if (!(type_file >> type))
            return fail(Stage::unsupported,
                        "read /sys/bus/event_source/devices/uprobe/type: this kernel has no perf-event "
                        "uprobes (CONFIG_UPROBE_EVENTS), or sysfs is not mounted",
                        ENOENT);
        Link link;
        for (std::size_t i = 0; i < offsets.size(); ++i) {
            perf_event_attr attr{};
            attr.size = sizeof(attr);
            attr.type = type;
            attr.config1 = reinterpret_cast<std::uint64_t>(path.c_str());
            attr.config2 = offsets[i];
            Fd event(static_cast<int>(::syscall(SYS_perf_event_open, &attr, pid, pid == -1 ? 0 : -1, -1,
                                                PERF_FLAG_FD_CLOEXEC)));
            if (!event)
                return fail_errno(Stage::attach, fmt::format("perf_event_open of a uprobe{}", needs()));
            LIBBPF_OPTS(bpf_link_create_opts, opts);
            opts.perf_event.bpf_cookie = cookies[i];
            Fd created(::bpf_link_create(program_fd, event.get(), BPF_PERF_EVENT, &opts));
            if (!created) return fail_errno(Stage::attach, "link a program to a perf event (needs Linux 5.15)");
            if (::ioctl(event.get(), PERF_EVENT_IOC_ENABLE, 0) != 0)
                return fail_errno(Stage::attach, "enable a uprobe perf event");
            link.fds_.push_back(std::move(created));  // closed before its event
            link.fds_.push_back(std::move(event));
        }
        return link;
    }

    // The program must be loaded.
    [[nodiscard]] static Result<Link> raw_tracepoint(const bpf_program* program, const char* name) {
        Link link;
        link.fds_.emplace_back(::bpf_raw_tracepoint_open(name, ::bpf_program__fd(program)));
        if (!link.fds_.back())
            return fail_errno(Stage::attach, fmt::format("raw tracepoint {}{}", name, needs()));
        return link;
    }

    // A program of SEC("tp_btf/..."), which names its tracepoint itself. It must be loaded.
    [[nodiscard]] static Result<Link> tracing(const bpf_program* program) {
        Link link;
        link.fds_.emplace_back(::bpf_raw_tracepoint_open(nullptr, ::bpf_program__fd(program)));
        if (!link.fds_.back())
            return fail_errno(Stage::attach,
                              fmt::format("tracepoint program {}{}", ::bpf_program__name(program), needs()));
        return link;
    }

    // Runs a perf_event program `hz` times a second on one CPU, whatever runs there but the idle task. ENODEV: the CPU
    // is offline. Needs CAP_PERFMON.
    [[nodiscard]] static Result<Link> cpu_clock(int program_fd, unsigned cpu, unsigned hz) {
        perf_event_attr attr{};
        attr.size = sizeof(attr);
        attr.type = PERF_TYPE_SOFTWARE;
        attr.config = PERF_COUNT_SW_CPU_CLOCK;
        attr.freq = 1;
        attr.sample_freq = hz;
        attr.exclude_idle = 1;
        attr.disabled = 1;
        Fd event(static_cast<int>(
            ::syscall(SYS_perf_event_open, &attr, -1, static_cast<int>(cpu), -1, PERF_FLAG_FD_CLOEXEC)));
        if (!event)
            return fail_errno(Stage::attach, fmt::format("perf_event_open of cpu-clock on CPU {}{}", cpu, needs()));
        Fd created(::bpf_link_create(program_fd, event.get(), BPF_PERF_EVENT, nullptr));
        if (!created) return fail_errno(Stage::attach, "link a program to a perf event (needs Linux 5.15)");
        if (::ioctl(event.get(), PERF_EVENT_IOC_ENABLE, 0) != 0)
            return fail_errno(Stage::attach, fmt::format("enable cpu-clock on CPU {}", cpu));
        Link link;
        link.fds_.push_back(std::move(created));  // closed before its event
        link.fds_.push_back(std::move(event));
        return link;
    }

    explicit operator bool() const { return !fds_.empty(); }

private:
    static std::string needs() {
        if (const std::string missing = missing_capabilities(); !missing.empty()) return " (missing " + missing + ")";
        return {};
    }

    std::vector<Fd> fds_;
};

}  // namespace otel_ebpf
