// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// EventStream: reads the records of a ring buffer that never wakes its reader.
#pragma once

#include <linux/bpf.h>

#include <bpf/libbpf.h>
#include <fmt/core.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include <otel_ebpf/error.hpp>

namespace otel_ebpf {

class EventStream {
public:
    // A record as the BPF side wrote it; 8-byte aligned, valid during the call.
    using Handler = std::function<void(std::span<const std::byte>)>;

    [[nodiscard]] static Result<std::unique_ptr<EventStream>> open(int ring_buffer_fd, Handler handler) {
        std::unique_ptr<EventStream> stream(new EventStream(std::move(handler)));
        stream->ring_.reset(::ring_buffer__new(ring_buffer_fd, &EventStream::on_record, stream.get(), nullptr));
        if (!stream->ring_) return fail_errno(Stage::event, "map the ring buffer");
        return stream;
    }

    // Hands the records that are there to the handler, at most `limit`, lest a flood hold the caller; returns how many.
    int drain(int limit = 1 << 16) {
        count_ = 0;
        limit_ = limit;
        ::ring_buffer__consume(ring_.get());
        return count_;
    }

private:
    struct Free {
        void operator()(ring_buffer* ring) const { ::ring_buffer__free(ring); }
    };
    explicit EventStream(Handler handler) : handler_(std::move(handler)) {}
    static int on_record(void* self, void* data, std::size_t size) {
        auto& stream = *static_cast<EventStream*>(self);
        stream.handler_({static_cast<const std::byte*>(data), size});
        return ++stream.count_ < stream.limit_ ? 0 : -EAGAIN;  // an error ends the walk behind this record
    }

    Handler handler_;
    int count_ = 0;
    int limit_ = 0;
    std::unique_ptr<ring_buffer, Free> ring_;
};

}  // namespace otel_ebpf
