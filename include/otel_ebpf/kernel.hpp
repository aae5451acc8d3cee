// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What this kernel and these privileges allow, found by trying; bpf(2) calls that libbpf 1.1 lacks.
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/fd.hpp>
#include <otel_ebpf/site/site.hpp>

namespace otel_ebpf {

namespace detail {

// Kernel ABI since 6.6 (89ae89f53d20 "bpf: Add multi uprobe link"); linux/bpf.h of Debian 12 is older.
inline constexpr int attach_type_uprobe_multi = 48;

struct UprobeMultiAttr {
    std::uint32_t prog_fd = 0;
    std::uint32_t target_fd = 0;
    std::uint32_t attach_type = attach_type_uprobe_multi;
    std::uint32_t link_flags = 0;
    std::uint64_t path = 0;
    std::uint64_t offsets = 0;
    std::uint64_t ref_ctr_offsets = 0;
    std::uint64_t cookies = 0;
    std::uint32_t count = 0;
    std::uint32_t flags = 0;
    std::int32_t pid = 0;  // 0: every process
    std::uint32_t pad = 0;
};
static_assert(sizeof(UprobeMultiAttr) == 64);

// A link fd, or -1 with errno.
inline int link_create_uprobe_multi(const UprobeMultiAttr& attr) {
    return static_cast<int>(::syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr)));
}

// The smallest program: returns 0.
inline Fd load_empty_kprobe(int expected_attach_type) {
    const bpf_insn code[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
    };
    LIBBPF_OPTS(bpf_prog_load_opts, opts);
    opts.expected_attach_type = static_cast<bpf_attach_type>(expected_attach_type);
    return Fd(::bpf_prog_load(BPF_PROG_TYPE_KPROBE, "oe_try", "GPL", code, std::size(code), &opts));
}

}  // namespace detail

struct Kernel {
    site::KernelRelease release{};
    bool btf = false;                   // /sys/kernel/btf/vmlinux is there
    bool uprobe_multi = false;          // 6.6+
    bool uprobe_multi_pid = false;      // its PID filter compares processes: 6.10+, 6.6.35+
    bool preempt_guard = false;         // bpf_preempt_disable(): 6.10+
    bool initial_pid_namespace = false;

    // Needs no privilege; without CAP_BPF the features that take a program to try stay false.
    static Kernel detect();
};

// The release that `uname` reports; {0, 0} when it can't be read.
inline site::KernelRelease running_kernel_release() {
    utsname name{};
    if (::uname(&name) != 0) return {};
    return site::KernelRelease::parse(name.release).value_or(site::KernelRelease{});
}

// Whether PIDs here are those that BPF programs see.
inline bool in_initial_pid_namespace() {
    struct stat ns{};
    // The initial PID namespace has a fixed inode: PROC_PID_INIT_INO, include/linux/proc_ns.h.
    return ::stat("/proc/self/ns/pid", &ns) == 0 && ns.st_ino == 0xEFFFFFFCU;
}

// Whether this process holds a capability, by its number in linux/capability.h.
inline bool has_capability(unsigned number) {
    std::FILE* status = std::fopen("/proc/self/status", "re");
    if (status == nullptr) return false;
    char line[256];
    unsigned long long effective = 0;
    while (std::fgets(line, sizeof(line), status) != nullptr)
        if (std::sscanf(line, "CapEff: %llx", &effective) == 1) break;
    std::fclose(status);
    return (effective >> number & 1) != 0;
}

// The capabilities (of those that loading and attaching may need) which are missing, as "CAP_BPF and CAP_PERFMON".
inline std::string missing_capabilities() {
    constexpr unsigned cap_sys_admin = 21, cap_perfmon = 38, cap_bpf = 39;  // include/uapi/linux/capability.h
    if (has_capability(cap_sys_admin)) return {};
    std::string missing;
    if (!has_capability(cap_bpf)) missing = "CAP_BPF";
    if (!has_capability(cap_perfmon)) missing += missing.empty() ? "CAP_PERFMON" : " and CAP_PERFMON";
    return missing;
}

inline Kernel Kernel::detect() {
    Kernel kernel;
    kernel.release = running_kernel_release();
    kernel.btf = ::access("/sys/kernel/btf/vmlinux", R_OK) == 0;

    kernel.initial_pid_namespace = in_initial_pid_namespace();

    if (const Fd program = detail::load_empty_kprobe(detail::attach_type_uprobe_multi)) {
        const std::uint64_t offset = 0;
        detail::UprobeMultiAttr attr;
        attr.prog_fd = static_cast<std::uint32_t>(program.get());
        attr.path = reinterpret_cast<std::uint64_t>("/");
        attr.offsets = reinterpret_cast<std::uint64_t>(&offset);
        attr.count = 1;
        // A directory can't be probed: EBADF comes from the uprobe_multi code itself.
        kernel.uprobe_multi = detail::link_create_uprobe_multi(attr) < 0 && errno == EBADF;
        attr.pid = -1;
        kernel.uprobe_multi_pid =
            kernel.uprobe_multi && detail::link_create_uprobe_multi(attr) < 0 && errno == EINVAL;
    }
    if (kernel.btf) {
        if (struct btf* types = ::btf__load_vmlinux_btf()) {
            kernel.preempt_guard = ::btf__find_by_name_kind(types, "bpf_preempt_disable", BTF_KIND_FUNC) > 0;
            ::btf__free(types);
        }
    }
    return kernel;
}

// The first reason why nothing can be loaded here, with the remedy.
inline Result<void> check_prerequisites(const Kernel& kernel) {
    if (const std::string missing = missing_capabilities(); !missing.empty())
        return fail(Stage::load, fmt::format("load BPF programs: missing {}: run as root, or grant it (setcap "
                                             "cap_bpf,cap_perfmon,cap_sys_ptrace+ep)", missing), EPERM);
    if (!kernel.btf)
        return fail(
            Stage::unsupported,
            "load BPF programs: /sys/kernel/btf/vmlinux is missing: this kernel has no BTF (CONFIG_DEBUG_INFO_BTF), "
            "or sysfs is not mounted",
            ENOENT);
    if (!kernel.initial_pid_namespace)
        return fail(
            Stage::unsupported,
            "find processes: not in the initial PID namespace, so PIDs here are not those that BPF sees: run on "
            "the host or with its PID namespace (docker run --pid=host, hostPID: true)",
            EINVAL);
    return {};
}

}  // namespace otel_ebpf
