// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ByteSource: bounded reads from a file or from memory.
//
// Files are read, not mapped: a file that shrinks while it is inspected gives an error, not SIGBUS, and bytes that were
// checked cannot change before they are used.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <otel_ebpf/error.hpp>

namespace otel_ebpf {

// Bytes that were read; owned, not initialised on allocation.
class ByteBuffer {
public:
    ByteBuffer() = default;
    explicit ByteBuffer(std::size_t size) : bytes_(new std::byte[size]), size_(size) {}

    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] std::span<std::byte> bytes() { return {bytes_.get(), size_}; }
    [[nodiscard]] std::span<const std::byte> bytes() const { return {bytes_.get(), size_}; }

private:
    std::unique_ptr<std::byte[]> bytes_;
    std::size_t size_ = 0;
};

// True when [offset, offset + size) lies in [0, limit).
constexpr bool in_range(std::uint64_t offset, std::uint64_t size, std::uint64_t limit) {
    return offset <= limit && size <= limit - offset;
}

// Reads a T at `offset`; the caller has checked the range.
template <class T>
T load(std::span<const std::byte> bytes, std::size_t offset) {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
    return value;
}

// Longest name that is read: a table of millions of endless names must not cost minutes.
inline constexpr std::size_t max_text_bytes = 16 << 10;

// The NUL-terminated text at `offset`; empty when it does not end inside `bytes`, or is longer than max_text_bytes.
inline std::string_view text_at(std::span<const std::byte> bytes, std::uint64_t offset) {
    if (offset >= bytes.size()) return {};
    const auto* begin = reinterpret_cast<const char*>(bytes.data()) + offset;
    const void* end = std::memchr(begin, 0, std::min<std::size_t>(bytes.size() - offset, max_text_bytes));
    if (end == nullptr) return {};
    return {begin, static_cast<std::size_t>(static_cast<const char*>(end) - begin)};
}

// Borrows its descriptor or memory. Copies read the same bytes.
class ByteSource {
public:
    static ByteSource from_fd(int fd, std::uint64_t size) { return {fd, {}, size}; }
    static ByteSource from_memory(std::span<const std::byte> bytes) { return {-1, bytes, bytes.size()}; }

    [[nodiscard]] std::uint64_t size() const { return size_; }
    [[nodiscard]] int fd() const { return fd_; }  // -1: memory
    [[nodiscard]] std::span<const std::byte> memory() const { return memory_; }

    // Fills `out` whole or fails.
    [[nodiscard]] Result<void> read(std::uint64_t offset, std::span<std::byte> out) const {
        if (auto inside = check(offset, out.size()); !inside) return inside;
        if (fd_ < 0) {
            if (!out.empty()) std::memcpy(out.data(), memory_.data() + offset, out.size());
            return {};
        }
        std::size_t done = 0;
        while (done < out.size()) {
            const ssize_t count = ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) return fail_errno(Stage::target, "cannot be read at offset " + std::to_string(offset));
            if (count == 0) return fail(Stage::target, "became shorter while it was read");
            done += static_cast<std::size_t>(count);
        }
        return {};
    }

    [[nodiscard]] Result<ByteBuffer> read(std::uint64_t offset, std::uint64_t size) const {
        if (auto inside = check(offset, size); !inside) return tl::unexpected(std::move(inside).error());
        ByteBuffer buffer(static_cast<std::size_t>(size));
        if (auto done = read(offset, buffer.bytes()); !done) return tl::unexpected(std::move(done).error());
        return buffer;
    }

private:
    ByteSource(int fd, std::span<const std::byte> memory, std::uint64_t size) : fd_(fd), memory_(memory), size_(size) {}

    [[nodiscard]] Result<void> check(std::uint64_t offset, std::uint64_t size) const {
        if (in_range(offset, size, size_)) return {};
        return fail(Stage::target, "is truncated: " + std::to_string(size) + " bytes at offset " +
                                       std::to_string(offset) + " are needed, the file has " + std::to_string(size_));
    }

    int fd_;
    std::span<const std::byte> memory_;
    std::uint64_t size_;
};

}  // namespace otel_ebpf
