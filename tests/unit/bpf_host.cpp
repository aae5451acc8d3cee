// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The helpers of bpf_shim.h on top of HostKernel.
#include "bpf_host.hpp"

#include <cassert>
#include <cerrno>

namespace {
HostKernel* running = nullptr;
}

extern "C" {
__u16 oe_f_g_goid = OE_NO_SLOT, oe_f_g_panic = OE_NO_SLOT, oe_e_http_server = OE_KIND_FIRST_PROBE,
      oe_f_request_method = OE_NO_SLOT, oe_f_request_proto_major = OE_NO_SLOT, oe_f_request_proto_minor = OE_NO_SLOT,
      oe_f_request_header = OE_NO_SLOT, oe_f_request_content_length = OE_NO_SLOT, oe_f_request_host = OE_NO_SLOT,
      oe_f_request_remote_addr = OE_NO_SLOT, oe_f_request_request_uri = OE_NO_SLOT, oe_f_request_tls = OE_NO_SLOT,
      oe_f_request_pattern = OE_NO_SLOT, oe_f_response_written = OE_NO_SLOT, oe_f_response_status = OE_NO_SLOT,
      oe_f_http2_rws = OE_NO_SLOT, oe_f_http2_rws_status = OE_NO_SLOT, oe_f_http2_rws_wrote_bytes = OE_NO_SLOT,
      oe_f_http2_attached = OE_NO_SLOT, oe_f_http_route_attached = OE_NO_SLOT, oe_f_go_swiss_maps = OE_NO_SLOT,
      oe_f_go_bucket_maps = OE_NO_SLOT;

void* host_map_lookup(const host_map* map, const void* key) {
    return running->lookup(*map, key);
}
long host_map_update(const host_map* map, const void* key, const void* value, __u64 flags) {
    return running->update(*map, key, value, flags);
}
long host_map_delete(const host_map* map, const void* key) {
    return running->erase(*map, key);
}

__u32 host_map_size(const host_map* map) {
    return running->size(*map);
}
void* host_task_storage_get(const host_map* map, __u64 flags) {
    const __u64 key = bpf_get_current_pid_tgid();
    void* const known = running->lookup(*map, &key);
    if (known != nullptr || (flags & BPF_LOCAL_STORAGE_GET_F_CREATE) == 0 || running->storage_fails) return known;
    const std::string zero(map->value_bytes, '\0');
    running->update(*map, &key, zero.data(), BPF_ANY);
    return running->lookup(*map, &key);
}

long bpf_probe_read_user(void* out, __u32 size, const void* addr) {
    ++running->reads;
    const bool fails = running->read_fails && running->read_fails();
    if (!fails && running->memory.read(reinterpret_cast<std::uint64_t>(addr), out, size)) return 0;
    std::memset(out, 0, size);  // as the kernel does
    return -EFAULT;
}

long bpf_ringbuf_output(void*, void* record, __u64 size, __u64) {
    if (running->records.size() >= running->records_max) return -EAGAIN;
    const auto* begin = static_cast<const std::byte*>(record);
    running->records.emplace_back(begin, begin + size);
    return 0;
}

long bpf_loop(__u32 steps, long (*step)(__u32, void*), void* context, __u64) {
    for (__u32 i = 0; i < steps; ++i)
        if (step(i, context) != 0) return i + 1;
    return steps;
}

__u64 bpf_ktime_get_ns() {
    return running->now_ns += 10;
}
__u32 bpf_get_prandom_u32() {
    return static_cast<__u32>(running->random());
}
__u64 bpf_get_attach_cookie(void*) {
    return running->cookie;
}
__u64 bpf_get_current_pid_tgid() {
    return __u64{running->tgid} << 32 | (running->tid != 0 ? running->tid : running->tgid);
}
task_struct* bpf_get_current_task_btf() {
    return &running->task;
}
// Registers of a thread are not modelled: amd64 finds g through the thread pointer.
long bpf_task_pt_regs(task_struct*) {
    return 0;
}
long bpf_probe_read_kernel(void*, __u32, const void*) {
    return -EFAULT;
}
}

HostKernel::HostKernel() {
    assert(running == nullptr);
    running = this;
}

HostKernel::~HostKernel() {
    running = nullptr;
}

bool HostKernel::is_array(const host_map& map) {
    return map.type == BPF_MAP_TYPE_ARRAY || map.type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

void* HostKernel::lookup(const host_map& map, const void* key) {
    HostMap& content = maps_[map.identity];
    if (!is_array(map)) {
        const auto position = content.hash.find(std::string(static_cast<const char*>(key), map.key_bytes));
        return position == content.hash.end() ? nullptr : position->second.get();
    }
    std::uint32_t index = 0;
    std::memcpy(&index, key, sizeof(index));
    if (index >= map.max_entries) return nullptr;
    content.array.resize(words(map) * map.max_entries);
    return &content.array[words(map) * index];
}

long HostKernel::update(const host_map& map, const void* key, const void* value, std::uint64_t flags) {
    if (is_array(map)) {
        void* const place = lookup(map, key);
        if (place == nullptr) return -E2BIG;
        std::memcpy(place, value, map.value_bytes);
        return 0;
    }
    HostMap& content = maps_[map.identity];
    const std::string name(static_cast<const char*>(key), map.key_bytes);
    const bool exists = content.hash.contains(name);
    if (exists && flags == BPF_NOEXIST) return -EEXIST;
    if (!exists && flags == BPF_EXIST) return -ENOENT;
    if (!exists && content.hash.size() >= map.max_entries) return -E2BIG;
    // The kernel replaces the entry; pointers to the former one go stale.
    auto entry = std::make_unique<std::uint64_t[]>(words(map));
    std::memcpy(entry.get(), value, map.value_bytes);
    content.hash[name] = std::move(entry);
    return 0;
}

std::uint32_t HostKernel::size(const host_map& map) {
    return static_cast<std::uint32_t>(maps_[map.identity].hash.size());
}

long HostKernel::erase(const host_map& map, const void* key) {
    HostMap& content = maps_[map.identity];
    return content.hash.erase(std::string(static_cast<const char*>(key), map.key_bytes)) != 0 ? 0 : -ENOENT;
}
