// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What stands in for the kernel when the BPF headers run on the host: maps, target memory, records, faults.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bpf_shim.h"
#include "bpf_under_test.h"

// The slots that the Manager fills before load: constants in the headers, overridden by these.
extern "C" {
extern __u16 oe_f_g_goid, oe_f_g_panic, oe_f_g_parent_goid, oe_f_g_m, oe_f_m_curg, oe_f_g_startpc, oe_f_g_sched_pc,
    oe_e_goroutines, oe_e_http_server, oe_f_request_method, oe_f_request_proto_major,
    oe_f_request_proto_minor, oe_f_request_header, oe_f_request_content_length, oe_f_request_host,
    oe_f_request_remote_addr, oe_f_request_request_uri, oe_f_request_tls, oe_f_request_pattern, oe_f_response_written,
    oe_f_response_status, oe_f_http2_rws, oe_f_http2_rws_status, oe_f_http2_rws_wrote_bytes, oe_f_http2_attached,
    oe_f_http_route_attached, oe_f_go_swiss_maps, oe_f_go_bucket_maps;
}

// The memory of a Go process: regions with nothing between them.
class TargetMemory {
public:
    // Address of `size_bytes` zero bytes, aligned to 16.
    std::uint64_t allocate(std::size_t size_bytes) {
        const std::uint64_t addr = next_;
        next_ += (size_bytes + gap_bytes) / gap_bytes * gap_bytes;
        regions_[addr].resize(size_bytes);
        return addr;
    }
    std::uint64_t text(std::string_view bytes) {
        const std::uint64_t addr = allocate(bytes.size());
        if (!bytes.empty()) write(addr, bytes.data(), bytes.size());
        return addr;
    }
    template <class T>
    void put(std::uint64_t addr, const T& value) {
        write(addr, &value, sizeof(value));
    }
    void put_string(std::uint64_t addr, std::string_view bytes) {
        put(addr, text(bytes));
        put(addr + 8, std::uint64_t{bytes.size()});
    }
    [[nodiscard]] bool read(std::uint64_t addr, void* out, std::size_t size_bytes) const {
        const std::byte* from = at(addr, size_bytes);
        if (from != nullptr && size_bytes != 0) std::memcpy(out, from, size_bytes);
        return from != nullptr;
    }

private:
    static constexpr std::uint64_t gap_bytes = 4096;

    void write(std::uint64_t addr, const void* from, std::size_t size_bytes) {
        const std::byte* to = at(addr, size_bytes);
        if (to == nullptr) throw std::out_of_range("the test writes outside its regions");
        if (size_bytes != 0) std::memcpy(const_cast<std::byte*>(to), from, size_bytes);
    }
    [[nodiscard]] const std::byte* at(std::uint64_t addr, std::size_t size_bytes) const {
        auto region = regions_.upper_bound(addr);
        if (region == regions_.begin()) return nullptr;
        --region;
        const std::uint64_t offset = addr - region->first;
        const std::vector<std::byte>& bytes = region->second;
        return offset <= bytes.size() && size_bytes <= bytes.size() - offset ? bytes.data() + offset : nullptr;
    }

    std::map<std::uint64_t, std::vector<std::byte>> regions_;
    std::uint64_t next_ = 0xc000000000;  // where the Go heap begins
};

// One at a time: it is what the helpers of bpf_shim.h work on.
class HostKernel {
public:
    HostKernel();
    ~HostKernel();
    HostKernel(const HostKernel&) = delete;
    HostKernel& operator=(const HostKernel&) = delete;

    TargetMemory memory;
    std::vector<std::vector<std::byte>> records;  // of the ring buffer
    std::size_t records_max = std::numeric_limits<std::size_t>::max();
    std::function<bool()> read_fails;  // asked before each read of target memory
    std::uint64_t reads = 0;
    std::uint64_t now_ns = 1'000'000;
    std::uint64_t cookie = OE_COOKIE(0, 0);
    std::uint32_t tgid = 1;
    task_struct task{};  // the current thread
    std::uint32_t tid = 0;  // 0: the first thread of the process
    bool storage_fails = false;  // no memory for task storage
    std::mt19937 random{42};

    void* lookup(const host_map& map, const void* key);
    long update(const host_map& map, const void* key, const void* value, std::uint64_t flags);
    long erase(const host_map& map, const void* key);
    std::uint32_t size(const host_map& map);  // entries of a hash

private:
    struct HostMap {
        std::vector<std::uint64_t> array;  // 8-byte words
        std::map<std::string, std::unique_ptr<std::uint64_t[]>> hash;
    };
    static bool is_array(const host_map& map);
    static std::size_t words(const host_map& map) { return (map.value_bytes + 7) / 8; }

    std::unordered_map<void*, HostMap> maps_;
};

// Goroutines of one process: their g structs and stacks.
class Goroutines {
public:
    static constexpr std::uint16_t goid_offset = 160, panic_offset = 32;
    static constexpr std::uint64_t stack_top = 0xc100000000;

    explicit Goroutines(HostKernel& kernel) : kernel_(kernel) {}

    // A hit of a goroutine whose frame is `frame` bytes below the top of its stack.
    host_hit hit(std::uint64_t goid, std::uint64_t frame) {
        host_hit hit{};
        hit.g_addr = g_of(goid);
        hit.sp = stack_top - frame;
        return hit;
    }
    std::uint64_t g_of(std::uint64_t goid) {
        auto [position, is_new] = gs_.try_emplace(goid, 0);
        if (is_new) {
            position->second = kernel_.memory.allocate(goid_offset + 8);
            kernel_.memory.put(position->second + 8, stack_top);
            kernel_.memory.put(position->second + goid_offset, goid);
        }
        return position->second;
    }

private:
    HostKernel& kernel_;
    std::unordered_map<std::uint64_t, std::uint64_t> gs_;
};
