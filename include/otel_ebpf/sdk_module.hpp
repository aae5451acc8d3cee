// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Finds the thread-context variable among the executable and the libraries of a process.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/fd.hpp>
#include <otel_ebpf/process_maps.hpp>
#include <otel_ebpf/thread_context.hpp>
#include <otel_ebpf/tls_variable.hpp>

namespace otel_ebpf {

// The libc of a process by what it has mapped; a static executable needs no answer.
[[nodiscard]] inline Libc libc_of(const std::vector<ProcessMapping>& mappings) {
    const bool is_musl = std::ranges::any_of(mappings, [](const ProcessMapping& mapping) {
        const std::string_view name = std::string_view(mapping.path).substr(mapping.path.rfind('/') + 1);
        return name.starts_with("ld-musl-") || name.starts_with("libc.musl-");
    });
    return is_musl ? Libc::musl : Libc::glibc;
}

// Address in the process less address in the file, from one mapping of the file.
[[nodiscard]] inline std::optional<std::uint64_t> load_bias(const ElfFile& elf, const ProcessMapping& mapping) {
    if (!elf.is_position_independent()) return 0;
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) - 1;
    for (const Elf64_Phdr& segment : elf.segments())
        if (segment.p_type == PT_LOAD && (segment.p_offset & ~page) == mapping.file_offset &&
            ((segment.p_flags & PF_X) != 0) == mapping.executable)
            return mapping.start - (segment.p_vaddr & ~page);
    return std::nullopt;
}

// Where the variable is in one process, and in which file.
struct ThreadContextPlace {
    TlsPlace place;
    std::string file;
};

// Remembers which files have no such variable. Needs CAP_SYS_PTRACE for processes of other users.
class ThreadContextFinder {
public:
    // nullopt: no file of the process defines the variable. Fails when one does, but it can't be located (yet).
    [[nodiscard]] Result<std::optional<ThreadContextPlace>> find(pid_t pid, const std::vector<ProcessMapping>& mappings,
                                                                 const ReadMemory& read) {
        struct stat executable {};
        if (::stat(fmt::format("/proc/{}/exe", pid).c_str(), &executable) != 0)
            return fail_errno(Stage::target, fmt::format("read /proc/{}/exe", pid));
        std::optional<Error> problem;
        std::set<std::pair<std::string, std::uint64_t>> seen;
        for (const bool want_executable : {true, false}) {  // its definition comes first for the loader too
            for (const ProcessMapping& mapping : mappings) {
                const bool is_file = mapping.executable && mapping.inode != 0 && mapping.path.starts_with('/');
                if (!is_file || (mapping.inode == executable.st_ino) != want_executable ||
                    !seen.insert({mapping.device, mapping.inode}).second)
                    continue;
                auto found = look_into(pid, mapping, mappings, want_executable, read);
                if (!found) problem = std::move(found.error()).in(mapping.path);
                else if (*found) return std::optional(ThreadContextPlace{**found, mapping.path});
            }
        }
        if (problem) return Failure(std::move(*problem));
        return std::nullopt;
    }

private:
    using FileKey = std::pair<std::pair<std::uint64_t, std::uint64_t>, std::pair<std::int64_t, std::int64_t>>;
    static constexpr std::size_t max_remembered = 8192;

    // The first reaches files that were deleted or replaced, but wants CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
    static Result<Fd> open_file(pid_t pid, const ProcessMapping& mapping, struct stat& status) {
        for (const std::string& path : {fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, mapping.start, mapping.limit),
                                        fmt::format("/proc/{}/root{}", pid, mapping.path)}) {
            Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
            if (fd && ::fstat(fd.get(), &status) == 0 && S_ISREG(status.st_mode) && status.st_ino == mapping.inode)
                return fd;
        }
        return fail(Stage::target, "can't be opened as what is mapped (it was replaced, or needs CAP_SYS_PTRACE)", ENOENT);
    }

    Result<std::optional<TlsPlace>> look_into(pid_t pid, const ProcessMapping& mapping,
                                              const std::vector<ProcessMapping>& mappings, bool is_executable,
                                              const ReadMemory& read) {
        struct stat status {};
        auto fd = open_file(pid, mapping, status);
        if (!fd) return Failure(fd.error());
        const FileKey key{{status.st_dev, status.st_ino}, {status.st_size, status.st_mtim.tv_sec}};
        if (without_.contains(key)) return std::nullopt;
        const auto elf = ElfFile::open(ByteSource::from_fd(fd->get(), static_cast<std::uint64_t>(status.st_size)));
        auto variable = elf ? find_tls_variable(*elf, thread_context_symbol) : Failure(elf.error());
        if (!variable || !*variable) {
            // What can't be read defines nothing that its own code could use.
            if (without_.size() == max_remembered) without_.clear();
            without_.insert(key);
            return std::nullopt;
        }
        if (is_executable) return local_exec_place(*elf, **variable).map([](TlsPlace place) { return std::optional(place); });
        const auto bias = load_bias(*elf, mapping);
        if (!bias) return fail(Stage::target, "is mapped in a way that none of its segments describes");
        return place_in_process(*elf, **variable, *bias, libc_of(mappings), read).map([](TlsPlace place) {
            return std::optional(place);
        });
    }

    std::set<FileKey> without_;
};

}  // namespace otel_ebpf
