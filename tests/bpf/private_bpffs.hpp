// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A bpffs of a test's own, so that no pin of the machine is touched.
#pragma once

#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include <bpf/bpf.h>

class PrivateBpffs {
public:
    PrivateBpffs() {
        char name[] = "/tmp/otel_ebpf_bpffs.XXXXXX";
        if (::mkdtemp(name) == nullptr || ::mount("bpf", name, "bpf", 0, nullptr) != 0) {
            why_not_ = "mount a bpffs: " + std::system_category().message(errno);
            return;
        }
        root_ = name;
    }
    PrivateBpffs(const PrivateBpffs&) = delete;
    PrivateBpffs& operator=(const PrivateBpffs&) = delete;
    ~PrivateBpffs() {
        if (root_.empty()) return;
        ::umount2(root_.c_str(), MNT_DETACH);
        ::rmdir(root_.c_str());
    }

    // "" when it is mounted.
    [[nodiscard]] const std::string& why_not() const { return why_not_; }
    [[nodiscard]] const std::string& root() const { return root_; }
    [[nodiscard]] std::string path(const std::string& below) const { return root_ + "/" + below; }
    void make_read_only() const { ::mount(nullptr, root_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr); }

private:
    std::string root_, why_not_;
};

// A map's number in this kernel; 0 when `fd` is no map.
inline std::uint32_t map_id(int fd) {
    bpf_map_info info{};
    std::uint32_t size = sizeof(info);
    return ::bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? info.id : 0;
}

// The same of what is pinned at `path`; 0 when nothing is.
inline std::uint32_t pinned_map_id(const std::string& path) {
    const int fd = ::bpf_obj_get(path.c_str());
    if (fd < 0) return 0;
    const std::uint32_t id = map_id(fd);
    ::close(fd);
    return id;
}
