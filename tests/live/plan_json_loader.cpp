// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// plan_json_loader OBJECT.bpf.o PLAN.json KIND-SLOT PID: traces a process from the JSON of a plan, without our library.
//
// Knows libbpf, JSON and types.h only, as a loader in another language would. Prints "attached" on standard error,
// counts records until SIGINT, then prints how many were of the Probe whose event kind is in the slot.
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <nlohmann/json.hpp>

#include <otel_ebpf/types.h>

namespace {

volatile std::sig_atomic_t stopped = 0;

[[noreturn]] void give_up(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

// Writes every number of `rodata` to the variable of its name; a name that the object lacks is an error.
void set_rodata(bpf_object* object, const nlohmann::json& rodata) {
    bpf_map* const map = ::bpf_object__find_map_by_name(object, ".rodata");
    std::size_t size = 0;
    const auto* const begin = static_cast<const char*>(::bpf_map__initial_value(map, &size));
    std::vector<char> bytes(begin, begin + size);
    const btf* types = ::bpf_object__btf(object);
    const auto* section = ::btf__type_by_id(
        types, static_cast<std::uint32_t>(::btf__find_by_name_kind(types, ".rodata", BTF_KIND_DATASEC)));
    std::size_t found = 0;
    for (unsigned i = 0; i < ::btf_vlen(section); ++i) {
        const btf_var_secinfo& place = ::btf_var_secinfos(section)[i];
        const char* name = ::btf__name_by_offset(types, ::btf__type_by_id(types, place.type)->name_off);
        if (!rodata.contains(name)) continue;
        const auto value = rodata[name].get<std::uint64_t>();
        if (place.size > sizeof(value) || place.offset + place.size > size) throw std::runtime_error("bad .rodata");
        std::memcpy(&bytes[place.offset], &value, place.size);
        ++found;
    }
    if (::bpf_map__set_initial_value(map, bytes.data(), size) != 0) give_up("set .rodata");
    if (found != rodata.size()) throw std::runtime_error("the object lacks variables that the plan sets");
}

template <class T>
T from_hex(const std::string& hex) {
    T value{};
    if (hex.size() != 2 * sizeof(T)) throw std::runtime_error("table_row has the wrong size");
    for (std::size_t i = 0; i < sizeof(T); ++i)
        reinterpret_cast<unsigned char*>(&value)[i] =
            static_cast<unsigned char>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
    return value;
}

template <class Value>
void update(bpf_object* object, const char* map, std::uint32_t key, const Value& value) {
    const int fd = ::bpf_object__find_map_fd_by_name(object, map);
    if (::bpf_map_update_elem(fd, &key, &value, BPF_ANY) != 0) give_up(std::string("update ") + map);
}

struct Counter {
    std::uint16_t kind;
    std::uint64_t records;
};

int on_record(void* context, void* data, std::size_t size) {
    auto& counter = *static_cast<Counter*>(context);
    const auto& header = *static_cast<const oe_event_header*>(data);
    if (size >= sizeof(header) && header.kind == counter.kind && header.size_bytes == size) ++counter.records;
    return 0;
}

int run(const char* object_path, const char* plan_path, const char* slot, std::uint32_t tgid) {
    const nlohmann::json plan = nlohmann::json::parse(std::ifstream(plan_path));
    if (plan.at("otel_ebpf_plan") != 1 || plan.at("abi_version") != OE_ABI_VERSION)
        throw std::runtime_error("a plan of another version");

    bpf_object* const object = ::bpf_object__open(object_path);
    if (object == nullptr) give_up("open the object");
    set_rodata(object, plan.at("rodata"));
    if (::bpf_object__load(object) != 0) give_up("load the object");

    constexpr std::uint32_t row = 0;
    update(object, "oe_exes", row, from_hex<oe_exe>(plan.at("table_row")));
    const std::string path = "/proc/" + std::to_string(tgid) + "/exe";
    std::vector<bpf_link*> links;
    for (const auto& site : plan.at("rows")) {
        if (!site.at("attach")) continue;
        LIBBPF_OPTS(bpf_uprobe_opts, options);
        options.bpf_cookie = OE_COOKIE(row, site.at("descriptor").get<std::uint32_t>());
        bpf_program* const program =
            ::bpf_object__find_program_by_name(object, site.at("program").get<std::string>().c_str());
        links.push_back(::bpf_program__attach_uprobe_opts(program, -1, path.c_str(),
                                                          site.at("file_offset").get<std::size_t>(), &options));
        if (links.back() == nullptr) give_up("attach " + site.at("symbol").get<std::string>());
    }
    oe_process process{};
    process.exe_row = row;
    process.generation = 1;
    process.probes = ~0ULL;
    update(object, "oe_processes", tgid, process);

    Counter counter{plan.at("rodata").at(slot), 0};
    ring_buffer* const records =
        ::ring_buffer__new(::bpf_object__find_map_fd_by_name(object, "oe_events"), &on_record, &counter, nullptr);
    if (records == nullptr) give_up("map the ring buffer");
    std::fprintf(stderr, "attached %zu sites\n", links.size());
    while (stopped == 0) {
        ::ring_buffer__poll(records, 20);  // nothing wakes us: the records are read by time
        ::ring_buffer__consume(records);
    }
    for (bpf_link* link : links) ::bpf_link__destroy(link);
    ::ring_buffer__consume(records);
    std::printf("%llu records\n", static_cast<unsigned long long>(counter.records));
    ::ring_buffer__free(records);
    ::bpf_object__close(object);
    return 0;
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 5) {
        std::fprintf(stderr, "usage: plan_json_loader OBJECT.bpf.o PLAN.json KIND-SLOT PID\n");
        return 2;
    }
    std::signal(SIGINT, [](int) { stopped = 1; });
    return run(argv[1], argv[2], argv[3], static_cast<std::uint32_t>(std::stoul(argv[4])));
} catch (const std::exception& error) {
    std::fprintf(stderr, "plan_json_loader: %s\n", error.what());
    return 1;
}
