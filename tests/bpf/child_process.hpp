// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A part of a test in a process of its own, with fewer privileges where wanted.
#pragma once

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

// Runs `body` in a child. What it returns is given back; "died: ..." when it did not come to that.
template <class Body>
std::string in_child(Body body) {
    int channel[2];
    if (::pipe(channel) != 0) return "died: no pipe";
    const pid_t child = ::fork();
    if (child < 0) return "died: no process";
    if (child == 0) {
        ::close(channel[0]);
        const std::string text = body();
        ::_exit(::write(channel[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1);
    }
    ::close(channel[1]);
    std::string text;
    char buffer[4096];
    for (ssize_t got; (got = ::read(channel[0], buffer, sizeof(buffer))) > 0;)
        text.append(buffer, static_cast<std::size_t>(got));
    ::close(channel[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? text : "died: status " + std::to_string(status);
}

// From here on this process has these capabilities only, as user nobody. False when that failed.
inline bool become_nobody(std::initializer_list<unsigned> capabilities) {
    constexpr uid_t nobody = 65534;
    if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || ::setresuid(nobody, nobody, nobody) != 0) return false;
    std::uint64_t mask = 0;
    for (const unsigned capability : capabilities) mask |= std::uint64_t{1} << capability;
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    for (int half = 0; half < 2; ++half)
        data[half].effective = data[half].permitted = static_cast<std::uint32_t>(mask >> 32 * half);
    return ::syscall(SYS_capset, &header, data) == 0;
}

// From here on bpf(2) refuses `command` with `error`, as a container's policy may. False when that failed.
inline bool forbid_bpf_command(std::uint32_t command, std::uint32_t error = EPERM) {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, command, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{sizeof(code) / sizeof(code[0]), code};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
