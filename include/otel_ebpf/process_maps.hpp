// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Mappings of a process from /proc/PID/maps, and reads of its memory.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <otel_ebpf/error.hpp>

namespace otel_ebpf {

struct ProcessMapping {
    std::uint64_t start = 0;
    std::uint64_t limit = 0;
    std::uint64_t file_offset = 0;
    std::uint64_t inode = 0;  // 0: no file
    std::string device;       // "fd:01"
    std::string path;         // as the kernel shows it, without " (deleted)"; "[anon:NAME]"; empty: none
    bool readable = false;
    bool executable = false;
};

namespace detail {

// "55d0c6a00000-55d0c6a29000 r-xp 00001000 fd:01 123456   /usr/bin/cat"
inline bool parse_mapping(std::string_view line, ProcessMapping& mapping) {
    const auto field = [&line] {
        line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
        const std::string_view text = line.substr(0, line.find(' '));
        line.remove_prefix(text.size());
        return text;
    };
    const auto number = [](std::string_view text, std::uint64_t& value, int base) {
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
        return error == std::errc() && end == text.data() + text.size();
    };
    const std::string_view addresses = field(), rights = field(), offset = field();
    mapping.device = field();
    const std::string_view inode = field();
    const std::size_t dash = addresses.find('-');
    if (dash == std::string_view::npos || rights.size() < 3 || !number(addresses.substr(0, dash), mapping.start, 16) ||
        !number(addresses.substr(dash + 1), mapping.limit, 16) || !number(offset, mapping.file_offset, 16) ||
        !number(inode, mapping.inode, 10) || mapping.start >= mapping.limit)
        return false;
    mapping.readable = rights[0] == 'r';
    mapping.executable = rights[2] == 'x';
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    constexpr std::string_view deleted = " (deleted)";
    if (line.ends_with(deleted)) line.remove_suffix(deleted.size());
    mapping.path = line;
    return true;
}

}  // namespace detail

// In the order of the text, which the kernel sorts by address. Lines that are no mapping are passed over.
[[nodiscard]] inline std::vector<ProcessMapping> parse_process_maps(std::string_view text) {
    std::vector<ProcessMapping> mappings;
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        ProcessMapping mapping;
        if (detail::parse_mapping(line, mapping)) mappings.push_back(std::move(mapping));
    }
    return mappings;
}

// Fills `out` whole from an address of a process, or fails.
using ReadMemory = std::function<Result<void>(std::uint64_t addr, std::span<std::byte> out)>;

// Needs CAP_SYS_PTRACE for processes of other users, and for those that are not dumpable.
[[nodiscard]] inline ReadMemory memory_of(pid_t pid) {
    return [pid](std::uint64_t addr, std::span<std::byte> out) -> Result<void> {
        iovec local{out.data(), out.size()};
        iovec remote{reinterpret_cast<void*>(addr), out.size()};  // NOLINT(performance-no-int-to-ptr)
        const ssize_t count = ::process_vm_readv(pid, &local, 1, &remote, 1, 0);
        const std::string what = "read memory of PID " + std::to_string(pid);
        if (count < 0 && errno == EPERM) return fail(Stage::target, what + ": not permitted (needs CAP_SYS_PTRACE)", EPERM);
        if (count < 0) return fail_errno(Stage::target, what);
        if (static_cast<std::size_t>(count) != out.size())
            return fail(Stage::target, what + ": only a part is mapped", EFAULT);
        return {};
    };
}

// A T at an address of a process.
template <class T>
[[nodiscard]] Result<T> read_memory(const ReadMemory& read, std::uint64_t addr) {
    T value{};
    if (auto done = read(addr, std::as_writable_bytes(std::span(&value, 1))); !done) return Failure(done.error());
    return value;
}

}  // namespace otel_ebpf
