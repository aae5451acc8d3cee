// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ProcessContextPublisher: makes a program's Resource readable to profilers and eBPF tools (OTEP 4719).
//
// Needs nothing but Linux and C++20; the rest of the library is not required in the program that publishes.
#pragma once

#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U  // Linux 6.3
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41  // Linux 5.17
#define PR_SET_VMA_ANON_NAME 0
#endif

namespace otel_ebpf::publish {

// What a process tells about itself. Texts are UTF-8.
struct ProcessDescription {
    std::vector<std::pair<std::string, std::string>> resource;  // "service.name" and so on
    std::string thread_schema;             // "tlsdesc_v1_dev" when threads publish contexts; empty: they don't
    std::vector<std::string> thread_keys;  // names of attributes in thread contexts, by index; append only, at most 256
};

namespace detail {

inline void put_varint(std::string& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    out += static_cast<char>(value);
}
// A field of wire type 2.
inline void put_bytes(std::string& out, std::uint32_t number, std::string_view bytes) {
    put_varint(out, std::uint64_t{number} << 3 | 2);
    put_varint(out, bytes.size());
    out += bytes;
}
// AnyValue{string_value 1}
inline std::string string_value(std::string_view text) {
    std::string value;
    put_bytes(value, 1, text);
    return value;
}
// KeyValue{key 1, value 2}
inline std::string key_value(std::string_view key, std::string_view value) {
    std::string pair;
    put_bytes(pair, 1, key);
    put_bytes(pair, 2, value);
    return pair;
}

}  // namespace detail

// ProcessContext{Resource resource 1, repeated KeyValue attributes 2} as protobuf.
[[nodiscard]] inline std::string encode_process_context(const ProcessDescription& process) {
    std::string resource, payload;
    for (const auto& [key, value] : process.resource)
        detail::put_bytes(resource, 1, detail::key_value(key, detail::string_value(value)));
    detail::put_bytes(payload, 1, resource);
    if (process.thread_schema.empty()) return payload;
    detail::put_bytes(payload, 2, detail::key_value("threadlocal.schema_version",
                                                    detail::string_value(process.thread_schema)));
    std::string values, array;
    for (const std::string& key : process.thread_keys) detail::put_bytes(values, 1, detail::string_value(key));
    detail::put_bytes(array, 5, values);  // AnyValue{ArrayValue 5}
    detail::put_bytes(payload, 2, detail::key_value("threadlocal.attribute_key_map", array));
    return payload;
}

// One per process, and thread-safe. A fork()ed child publishes nothing until it calls publish() itself.
class ProcessContextPublisher {
public:
    static ProcessContextPublisher& instance() {
        static ProcessContextPublisher publisher;
        return publisher;
    }

    // Publishes, or replaces what was published. EMSGSIZE: more than 65,536 bytes; else why memory that others find could
    // not be had.
    std::error_code publish(const ProcessDescription& process) {
        const std::scoped_lock lock(mutex_);
        auto payload = std::make_unique<std::string>(encode_process_context(process));
        if (payload->size() > 65536) return {EMSGSIZE, std::system_category()};
        // The mapping is not inherited by fork(): a child starts anew.
        if (header_ != nullptr && owner_ == ::getpid()) {
            update(std::move(payload));
            return {};
        }
        return create(std::move(payload));
    }

    // Takes the context away.
    void withdraw() {
        const std::scoped_lock lock(mutex_);
        if (header_ != nullptr && owner_ == ::getpid()) ::munmap(header_, map_bytes());
        header_ = nullptr;
        payload_.reset();
    }

    ProcessContextPublisher(const ProcessContextPublisher&) = delete;
    ProcessContextPublisher& operator=(const ProcessContextPublisher&) = delete;

private:
    struct Header {
        char signature[8];
        std::uint32_t version;
        std::uint32_t payload_size;
        std::uint64_t published_at_ns;  // 0: not to be read now
        std::uint64_t payload;
    };
    static_assert(sizeof(Header) == 32);

    ProcessContextPublisher() = default;
    ~ProcessContextPublisher() = default;  // stays readable until the process has ended

    static std::size_t map_bytes() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

    std::error_code create(std::unique_ptr<std::string> payload) {
        const std::size_t bytes = map_bytes();
        int fd = ::memfd_create("OTEL_CTX", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
        if (fd < 0) fd = ::memfd_create("OTEL_CTX", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        bool has_file = fd >= 0 && ::ftruncate(fd, static_cast<off_t>(bytes)) == 0;
        void* memory = MAP_FAILED;
        if (has_file) memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        if (fd >= 0) ::close(fd);
        if (memory == MAP_FAILED) {
            has_file = false;
            memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        }
        if (memory == MAP_FAILED) return {errno, std::system_category()};
        if (::madvise(memory, bytes, MADV_DONTFORK) != 0) return give_up(memory, bytes);
        auto* const header = static_cast<Header*>(memory);
        std::memcpy(header->signature, "OTEL_CTX", sizeof(header->signature));
        header->version = 2;
        header->payload_size = static_cast<std::uint32_t>(payload->size());
        header->payload = reinterpret_cast<std::uint64_t>(payload->data());
        std::atomic_thread_fence(std::memory_order_seq_cst);
        set_time(header, now_ns());
        if (!set_name(header, bytes) && !has_file) return give_up(memory, bytes);
        header_ = header;
        owner_ = ::getpid();
        payload_ = std::move(payload);
        return {};
    }

    // Readers take what they copied only when the time stamp was the same before and after, and not 0.
    void update(std::unique_ptr<std::string> payload) {
        const std::uint64_t before = header_->published_at_ns;
        set_time(header_, 0);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        header_->payload = reinterpret_cast<std::uint64_t>(payload->data());
        header_->payload_size = static_cast<std::uint32_t>(payload->size());
        std::atomic_thread_fence(std::memory_order_seq_cst);
        const std::uint64_t now = now_ns();
        set_time(header_, now > before ? now : before + 1);
        set_name(header_, map_bytes());  // again: readers may wait for this call
        payload_ = std::move(payload);   // only now is the former one freed
    }

    static std::error_code give_up(void* memory, std::size_t bytes) {
        const std::error_code error(errno, std::system_category());
        ::munmap(memory, bytes);
        return error;
    }

    static void set_time(Header* header, std::uint64_t time_ns) {
        std::atomic_ref(header->published_at_ns).store(time_ns, std::memory_order_seq_cst);
    }
    static bool set_name(void* memory, std::size_t bytes) {
        return ::prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, memory, bytes, "OTEL_CTX") == 0;
    }
    static std::uint64_t now_ns() {
        timespec now{};
        ::clock_gettime(CLOCK_BOOTTIME, &now);
        return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
    }

    std::mutex mutex_;
    Header* header_ = nullptr;
    pid_t owner_ = 0;
    std::unique_ptr<std::string> payload_;
};

}  // namespace otel_ebpf::publish
