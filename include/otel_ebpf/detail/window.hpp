// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Window: a range of a file read from front to back through one buffer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include <otel_ebpf/byte_source.hpp>
#include <otel_ebpf/error.hpp>

namespace otel_ebpf::detail {

// Keeps a copy of the source, which borrows its file. Meant for offsets that grow: going back reads again.
class Window {
public:
    // Of [begin, begin + size) of the file, which the caller has checked.
    Window(ByteSource source, std::uint64_t begin, std::uint64_t size) : source_(source), begin_(begin), size_(size) {}

    // The `count` bytes at `offset` from the start of the range, valid until the next call; fails outside of the range.
    Result<std::span<const std::byte>> at(std::uint64_t offset, std::size_t count) {
        if (!in_range(offset, count, size_)) return fail(Stage::target, "has a table that points outside of itself");
        if (offset < loaded_at_ || !in_range(offset - loaded_at_, count, loaded_)) {
            const auto wanted = static_cast<std::size_t>(
                std::max<std::uint64_t>(count, std::min<std::uint64_t>(chunk_bytes, size_ - offset)));
            if (buffer_.size() < wanted) buffer_ = ByteBuffer(wanted);
            if (auto done = source_.read(begin_ + offset, buffer_.bytes().first(wanted)); !done)
                return tl::unexpected(std::move(done).error());
            loaded_at_ = offset;
            loaded_ = wanted;
        }
        return std::as_const(buffer_).bytes().subspan(static_cast<std::size_t>(offset - loaded_at_), count);
    }

    // What is left of the buffer from `offset` on, at least one byte; reads on where nothing is.
    Result<std::span<const std::byte>> from(std::uint64_t offset) {
        if (auto first = at(offset, 1); !first) return first;
        return std::as_const(buffer_).bytes().first(loaded_).subspan(static_cast<std::size_t>(offset - loaded_at_));
    }

    [[nodiscard]] std::uint64_t size() const { return size_; }

private:
    static constexpr std::size_t chunk_bytes = 256 << 10;

    ByteSource source_;
    std::uint64_t begin_;
    std::uint64_t size_;
    ByteBuffer buffer_;
    std::uint64_t loaded_at_ = 0;
    std::size_t loaded_ = 0;
};

}  // namespace otel_ebpf::detail
