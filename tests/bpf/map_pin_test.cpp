// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Maps that a Probe shares with other processes through a pin.
#include "test.hpp"

#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include <ledger.hpp>
#include <otel_ebpf/otel_ebpf.hpp>

#include "privileges.hpp"
#include "settle_watch.skel.h"

namespace {

namespace oe = otel_ebpf;

const std::filesystem::path folder = "/sys/fs/bpf/otel_ebpf_test";

constexpr oe::MapSpec<settle_watch_bpf, std::uint32_t, std::uint64_t> switches_spec{
    .map = &oe::Maps<settle_watch_bpf>::switches,
    .type = BPF_MAP_TYPE_PERCPU_ARRAY,
    .max_entries = 2,
    .pin = "otel_ebpf_test/switches"};
constexpr oe::MapRequirement<settle_watch_bpf> pinned_maps[] = {switches_spec};

constexpr auto probe_with_pin() {
    auto probe = ledger::settle<settle_watch_bpf>;
    probe.maps = pinned_maps;
    return probe;
}

// bpffs, mounted where it is missing; "" or why there is none.
std::string why_no_bpffs() {
    constexpr auto bpf_fs_magic = 0xcafe4a11;  // include/uapi/linux/magic.h
    struct statfs status {};
    if (::statfs("/sys/fs/bpf", &status) == 0 && static_cast<std::uint32_t>(status.f_type) == bpf_fs_magic) return {};
    return ::mount("bpf", "/sys/fs/bpf", "bpf", 0, nullptr) == 0 ? "" : "no bpffs at /sys/fs/bpf";
}

struct Folder {
    Folder() { std::filesystem::remove_all(folder); }
    ~Folder() { std::filesystem::remove_all(folder); }
};

std::uint32_t id_of(const bpf_map* map) {
    bpf_map_info info{};
    std::uint32_t size = sizeof(info);
    REQUIRE(::bpf_obj_get_info_by_fd(::bpf_map__fd(map), &info, &size) == 0);
    return info.id;
}

}  // namespace

TEST_CASE("map: a pinned one is shared, and one of another shape is refused with the field") {
    SKIP_UNLESS_LOADABLE();
    if (const std::string reason = why_no_bpffs(); !reason.empty()) SKIP_TEST(reason.c_str());
    const Folder cleaned;

    const auto first = oe::bundle(probe_with_pin()), second = oe::bundle(probe_with_pin());
    const auto one = oe::Manager::open({.bundles = {first}});
    INFO((one ? "" : one.error().what));
    REQUIRE(one);
    const auto other = oe::Manager::open({.bundles = {second}});
    REQUIRE(other);
    CHECK(id_of(first.skeleton().maps.switches) == id_of(second.skeleton().maps.switches));

    std::filesystem::remove_all(folder);
    std::filesystem::create_directory(folder);
    const oe::Fd foreign(::bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "switches", 4, 8, 5, nullptr));
    REQUIRE(foreign);
    REQUIRE(::bpf_obj_pin(foreign.get(), (folder / "switches").c_str()) == 0);
    const auto refused = oe::Manager::open({.bundles = {oe::bundle(probe_with_pin())}});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().what.find("otel_ebpf_test/switches: max_entries is 5, expected 2") != std::string::npos);
}
