// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ProcessImage: what the addresses of one process mean.
#pragma once

#include <linux/types.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include <otel_ebpf/clock.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/log.hpp>
#include <otel_ebpf/process.hpp>
#include <otel_ebpf/profile/code_file.hpp>
#include <otel_ebpf/profile/memory_map.hpp>

namespace otel_ebpf::profile {

// An address of a process: where it lies and which functions it is in.
struct ResolvedAddress {
    const MappedRange* range = nullptr;  // null: not in an executable mapping
    std::shared_ptr<const CodeFile> file; // null: memory without a file, or it can't be opened
    std::vector<CodeFrame> frames;        // innermost first; empty: unknown
};

// Reads the mappings at once, since the process may be gone a moment later, and files when they are first needed.
class ProcessImage {
public:
    ProcessImage(std::uint32_t tgid, CodeFiles& files) : tgid_(tgid), files_(files) { read_maps(); }

    // False when there was no such process any more.
    [[nodiscard]] bool has_maps() const { return !map_.ranges().empty(); }

    // `is_return`: the address behind a call, which may belong to the next function already.
    [[nodiscard]] ResolvedAddress resolve(std::uint64_t address, bool is_return) {
        ResolvedAddress resolved;
        const auto index = find(address);
        if (!index) return resolved;
        resolved.range = &map_.ranges()[*index];
        resolved.file = file_of(*index);
        if (!resolved.file) return resolved;
        if (const auto vaddr = vaddr_of(*resolved.range, *resolved.file, address))
            resolved.frames = resolved.file->frames_at(*vaddr - (is_return ? 1 : 0));
        return resolved;
    }

    // True when the address is in an executable mapping: a walk that leaves them has gone astray.
    [[nodiscard]] bool is_code(std::uint64_t address) { return find(address).has_value(); }

    // The return address of the leaf, where frame pointers don't show it, since it has no frame now or never. `top`:
    // the words at the stack pointer; `caller`: who frame pointers say called. Of code that is not Go, a word counts
    // when a call of that very function is before the place it points to; calls through tables are not recognised.
    [[nodiscard]] std::optional<std::uint64_t> hidden_caller(std::uint64_t leaf, std::span<const __u64> top,
                                                             std::uint64_t caller) {
        const auto index = find(leaf);
        const auto file = index ? file_of(*index) : nullptr;
        const auto vaddr = file ? vaddr_of(map_.ranges()[*index], *file, leaf) : std::nullopt;
        if (!vaddr) return std::nullopt;
        if (const auto delta = file->stack_delta_at(*vaddr)) {
            if (*delta % 8 != 0 || *delta / 8 >= top.size()) return std::nullopt;
            const std::uint64_t address = top[*delta / 8];
            return address != caller && is_code(address) ? std::optional(address) : std::nullopt;
        }
        const auto start = file->function_start(*vaddr);
        if (!start) return std::nullopt;
        for (const std::uint64_t address : top) {
            if (address == caller) return std::nullopt;
            if (is_code(address) && called_before(address) == leaf - (*vaddr - *start)) return address;
        }
        return std::nullopt;
    }

private:
    static constexpr std::uint64_t reread_after_ns = 20'000'000;

    void read_maps() {
        read_at_ns_ = now_ns(CLOCK_MONOTONIC);
        std::string text = otel_ebpf::detail::read_whole(fmt::format("/proc/{}/maps", tgid_));
        if (text.empty()) return;  // it has exited: what was read before is still true of the samples
        map_ = MemoryMap::parse(text);
        code_.assign(map_.ranges().size(), {});
    }

    // Index of a mapping. Reads them anew, but not too often, for an address that is in none: libraries come and go.
    std::optional<std::size_t> find(std::uint64_t address) {
        if (const std::size_t index = map_.index_at(address); index < map_.ranges().size()) return index;
        if (now_ns(CLOCK_MONOTONIC) - read_at_ns_ < reread_after_ns) return std::nullopt;
        read_maps();
        const std::size_t index = map_.index_at(address);
        return index < map_.ranges().size() ? std::optional(index) : std::nullopt;
    }

    struct Code {
        bool was_opened = false;
        std::shared_ptr<const CodeFile> file;
    };

    std::shared_ptr<const CodeFile> file_of(std::size_t index) {
        Code& code = code_[index];
        if (!std::exchange(code.was_opened, true)) code.file = open_file(map_.ranges()[index]);
        return code.file;
    }

    std::shared_ptr<const CodeFile> open_file(const MappedRange& range) {
        if (range.path == "[vdso]") return vdso();
        if (range.inode == 0 || !range.path.starts_with('/')) return nullptr;
        // The first reaches files that were deleted or replaced, but wants CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
        const std::string folder = fmt::format("/proc/{}/", tgid_);
        auto file = files_.open(fmt::format("{}map_files/{:x}-{:x}", folder, range.start, range.limit), range.path);
        if (file) return *file;
        for (const std::string& path : {folder + "root" + range.path, range.path}) {
            struct stat status {};
            if (range.is_deleted || ::stat(path.c_str(), &status) != 0 || status.st_ino != range.inode) continue;
            if (auto same = files_.open(path, range.path)) return *same;
        }
        log(LogLevel::info, fmt::format("process {}: no symbols of {}: {}", tgid_, range.path, file.error().what));
        return nullptr;
    }

    // Every process of a kernel has the same one.
    static std::shared_ptr<const CodeFile> vdso() {
        static const std::shared_ptr<const CodeFile> file = []() -> std::shared_ptr<const CodeFile> {
            const auto address = static_cast<std::uint64_t>(::getauxval(AT_SYSINFO_EHDR));
            const MemoryMap own = MemoryMap::parse(otel_ebpf::detail::read_whole("/proc/self/maps"));
            const std::size_t index = own.index_at(address);
            if (address == 0 || index == own.ranges().size()) return nullptr;
            const std::uint64_t size = own.ranges()[index].limit - address;
            return CodeFile::from_memory({reinterpret_cast<const std::byte*>(address), size}, "[vdso]");
        }();
        return file;
    }

    // The target of the direct call (x86: e8, 4 bytes of distance) that ends at an address; 0: there is none.
    [[nodiscard]] std::uint64_t called_before(std::uint64_t address) const {
        std::array<std::byte, 5> code{};
        iovec to{code.data(), code.size()}, from{reinterpret_cast<void*>(address - code.size()), code.size()};
        if (::process_vm_readv(static_cast<pid_t>(tgid_), &to, 1, &from, 1, 0) != static_cast<ssize_t>(code.size()))
            return 0;
        constexpr std::byte call_rel32{0xe8};
        if (code[0] != call_rel32) return 0;
        return address + static_cast<std::uint64_t>(std::int64_t{load<std::int32_t>(code, 1)});
    }

    static std::optional<std::uint64_t> vaddr_of(const MappedRange& range, const CodeFile& file,
                                                 std::uint64_t address) {
        return file.vaddr_of(address - range.start + range.file_offset);
    }

    std::uint32_t tgid_;
    CodeFiles& files_;
    MemoryMap map_;
    std::vector<Code> code_;  // by index of the mapping
    std::uint64_t read_at_ns_ = 0;
};

}  // namespace otel_ebpf::profile
