// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The shared context map: how it is opened, what is refused, what it falls back to.
#include "test.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <otel_ebpf/context_map.hpp>

#include "child_process.hpp"
#include "private_bpffs.hpp"
#include "privileges.hpp"

namespace {

namespace oe = otel_ebpf;

constexpr unsigned cap_perfmon = 38, cap_bpf = 39;  // include/uapi/linux/capability.h

#define NEW_BPFFS(name)      \
    SKIP_UNLESS_LOADABLE();  \
    const PrivateBpffs name; \
    if (!name.why_not().empty()) SKIP_TEST(name.why_not().c_str())

oe::SpanContext context_of(std::uint8_t seed) {
    oe::SpanContext context;
    std::fill(context.trace_id.bytes.begin(), context.trace_id.bytes.end(), seed);
    std::fill(context.span_id.bytes.begin(), context.span_id.bytes.end(), static_cast<std::uint8_t>(seed + 1));
    return context;
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// Whether the map takes and gives entries.
bool works(const oe::ContextMap& map) {
    const oe::ContextKey key{4'000'000, 4'000'001};
    if (!map.set(key, context_of(7))) return false;
    const auto found = map.lookup(key);
    return found && *found == context_of(7) && map.erase(key).value_or(false) && !map.erase(key).value_or(true);
}

// Opens the map and says in one line what came of it.
std::string outcome(const std::string& root) {
    const auto map = oe::ContextMap::open({.bpffs_root = root});
    if (!map) return "error " + std::to_string(map.error().code.value()) + ": " + map.error().what;
    return std::string(map->shared() ? "shared" : "private") + (works(*map) ? ", works" : ", does not work") + ": " +
           map->message();
}

oe::Fd pin_map(const std::string& path, bpf_map_type type, std::uint32_t key_size, std::uint32_t value_size,
               std::uint32_t entries, std::uint32_t flags) {
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
    oe::Fd fd(::bpf_map_create(type, OE_TRACES_CTX_NAME, key_size, value_size, entries, &options));
    REQUIRE(fd);
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    REQUIRE(::bpf_obj_pin(fd.get(), path.c_str()) == 0);
    return fd;
}

}  // namespace

TEST_CASE("context map: created by the first, opened by the next, shape and modes as the ABI says") {
    NEW_BPFFS(bpffs);
    CHECK(oe::ContextMap::open_existing(bpffs.root()).error().code.value() == ENOENT);
    CHECK(std::filesystem::exists(bpffs.root()));
    CHECK_FALSE(std::filesystem::exists(bpffs.path("otel")));

    const auto first = oe::ContextMap::open({.bpffs_root = bpffs.root()});
    REQUIRE(first);
    CHECK(first->sharing() == oe::MapSharing::created);
    CHECK(first->message().empty());
    CHECK(works(*first));
    const auto second = oe::ContextMap::open({.bpffs_root = bpffs.root() + "//"});
    REQUIRE(second);
    CHECK(second->sharing() == oe::MapSharing::opened);
    CHECK(map_id(first->fd()) == map_id(second->fd()));
    CHECK(map_id(first->fd()) == pinned_map_id(bpffs.path("otel/traces_ctx_v1")));

    // The numbers of the ABI, not those of the header.
    bpf_map_info info{};
    std::uint32_t size = sizeof(info);
    REQUIRE(::bpf_obj_get_info_by_fd(first->fd(), &info, &size) == 0);
    CHECK(std::string(info.name) == "traces_ctx_v1");
    CHECK(info.type == 9);
    CHECK(info.key_size == 8);
    CHECK(info.value_size == 24);
    CHECK(info.max_entries == 16384);
    CHECK(info.map_flags == 0);
    struct stat status {};
    REQUIRE(::stat(bpffs.path("otel").c_str(), &status) == 0);
    CHECK((status.st_mode & 07777) == 0700);
}

TEST_CASE("context map: the pin outlives its maker, with its entries") {
    NEW_BPFFS(bpffs);
    std::uint32_t id = 0;
    {
        const auto map = oe::ContextMap::open({.bpffs_root = bpffs.root()});
        REQUIRE(map);
        REQUIRE(map->set({1, 2}, context_of(1)));
        id = map_id(map->fd());
    }
    const auto again = oe::ContextMap::open_existing(bpffs.root());
    REQUIRE(again);
    CHECK(map_id(again->fd()) == id);
    CHECK(again->lookup({1, 2}).value() == context_of(1));
}

TEST_CASE("context map: keys and values are laid out as peers read them; the dump is complete") {
    NEW_BPFFS(bpffs);
    const auto map = oe::ContextMap::open({.bpffs_root = bpffs.root()});
    REQUIRE(map);
    CHECK(map->dump().value().empty());
    const auto context = oe::SpanContext{*oe::TraceId::from_hex("0102030405060708090a0b0c0d0e0f10"),
                                         *oe::SpanId::from_hex("1112131415161718")};
    REQUIRE(map->set({0x11223344, 0x55667788}, context));
    const std::uint64_t raw_key = 0x1122334455667788;
    unsigned char raw_value[24];
    REQUIRE(::bpf_map_lookup_elem(map->fd(), &raw_key, raw_value) == 0);
    for (unsigned i = 0; i < sizeof(raw_value); ++i) CHECK(raw_value[i] == i + 1);
    CHECK(map->erase({0x11223344, 0x55667788}).value());

    for (std::uint32_t tid = 1; tid <= 3000; ++tid)
        REQUIRE(map->set({9, tid}, context_of(static_cast<std::uint8_t>(tid))));
    auto all = map->dump().value();
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    REQUIRE(all.size() == 3000);
    for (std::uint32_t tid = 1; tid <= 3000; ++tid) {
        CHECK(all[tid - 1].first == oe::ContextKey{9, tid});
        CHECK(all[tid - 1].second == context_of(static_cast<std::uint8_t>(tid)));
    }
}

TEST_CASE("context map: every other shape is refused by the name of its field, and left alone") {
    SKIP_UNLESS_LOADABLE();
    struct Shape {
        bpf_map_type type;
        std::uint32_t key_size, value_size, entries, flags;
        std::string_view difference;
    };
    // What peers do with each of them: silently wrong, refused, or the process ends.
    const Shape shapes[] = {
        {BPF_MAP_TYPE_HASH, 8, 24, 16384, 0, "type is 1, expected 9;"},
        {BPF_MAP_TYPE_HASH, 8, 24, 16384, BPF_F_NO_PREALLOC, "type is 1, expected 9, map_flags is 1, expected 0;"},
        {BPF_MAP_TYPE_LRU_PERCPU_HASH, 8, 24, 16384, 0, "type is 10, expected 9;"},
        {BPF_MAP_TYPE_ARRAY, 4, 24, 16384, 0, "type is 2, expected 9, key_size is 4, expected 8;"},
        {BPF_MAP_TYPE_LRU_HASH, 4, 24, 16384, 0, ": key_size is 4, expected 8;"},
        {BPF_MAP_TYPE_LRU_HASH, 12, 24, 16384, 0, ": key_size is 12, expected 8;"},
        {BPF_MAP_TYPE_LRU_HASH, 16, 24, 16384, 0, ": key_size is 16, expected 8;"},
        {BPF_MAP_TYPE_LRU_HASH, 8, 16, 16384, 0, ": value_size is 16, expected 24;"},
        {BPF_MAP_TYPE_LRU_HASH, 8, 23, 16384, 0, ": value_size is 23, expected 24;"},
        {BPF_MAP_TYPE_LRU_HASH, 8, 25, 16384, 0, ": value_size is 25, expected 24;"},
        {BPF_MAP_TYPE_LRU_HASH, 8, 32, 16384, 0, ": value_size is 32, expected 24;"},
        {BPF_MAP_TYPE_LRU_HASH, 8, 24, 1024, 0, ": max_entries is 1024, expected 16384;"},
        {BPF_MAP_TYPE_LRU_HASH, 8, 24, 1, 0, ": max_entries is 1, expected 16384;"},
        {BPF_MAP_TYPE_LRU_HASH, 8, 24, 16384, BPF_F_NO_COMMON_LRU, ": map_flags is 2, expected 0;"},
        {BPF_MAP_TYPE_LRU_HASH, 8, 24, 16384, BPF_F_RDONLY_PROG, ": map_flags is 128, expected 0;"},
        {BPF_MAP_TYPE_LRU_HASH, 8, 24, 16384, BPF_F_WRONLY_PROG, ": map_flags is 256, expected 0;"},
    };
    const PrivateBpffs bpffs;
    if (!bpffs.why_not().empty()) SKIP_TEST(bpffs.why_not().c_str());
    const std::string path = bpffs.path("otel/traces_ctx_v1");
    for (const Shape& shape : shapes) {
        const oe::Fd fd = pin_map(path, shape.type, shape.key_size, shape.value_size, shape.entries, shape.flags);
        const auto refused = oe::ContextMap::open({.bpffs_root = bpffs.root()});
        REQUIRE_FALSE(refused);
        INFO(refused.error().what << " / " << shape.difference);
        CHECK(refused.error().code.value() == EPROTO);
        CHECK(contains(refused.error().what, "refuse the pinned map " + path + ": "));
        CHECK(contains(refused.error().what, shape.difference));
        CHECK(oe::ContextMap::open_existing(bpffs.root()).error().code.value() == EPROTO);

        const auto alone = oe::ContextMap::open({.bpffs_root = bpffs.root(), .private_if_refused = true});
        REQUIRE(alone);
        CHECK_FALSE(alone->shared());
        CHECK(works(*alone));
        CHECK(contains(alone->message(), shape.difference));
        CHECK(contains(alone->message(), "; going on with a private map: no other tool sees"));
        CHECK(pinned_map_id(path) == map_id(fd.get()));
        REQUIRE(std::filesystem::remove(path));
    }
}

TEST_CASE("context map: a pinned program is no map") {
    NEW_BPFFS(bpffs);
    const oe::Fd program = oe::detail::load_empty_kprobe(0);
    REQUIRE(program);
    std::filesystem::create_directory(bpffs.path("otel"));
    REQUIRE(::bpf_obj_pin(program.get(), bpffs.path("otel/traces_ctx_v1").c_str()) == 0);
    CHECK(outcome(bpffs.root()) == "error 71: refuse the pin " + bpffs.path("otel/traces_ctx_v1") +
                                       ": it is no map; it stays as it is");
}

TEST_CASE("context map: without a bpffs it is private, says so, and works") {
    SKIP_UNLESS_LOADABLE();
    CHECK(outcome("/tmp") ==
          "private, works: open the pinned map /tmp/otel/traces_ctx_v1: no bpffs at /tmp (mount one: mount -t bpf bpf "
          "/tmp; or name another root); going on with a private map: no other tool sees the trace contexts in it, nor "
          "does it see theirs");
    CHECK_FALSE(std::filesystem::exists("/tmp/otel"));
    CHECK(contains(outcome("/no/such"),
                   "private, works: open the pinned map /no/such/otel/traces_ctx_v1: /no/such: No such file or "
                   "directory (mount a bpffs: mount -t bpf bpf /no/such); going on with a private map: "));
    CHECK(contains(outcome("/" + std::string(5000, 'x')),
                   "private, works: open the pinned map traces_ctx_v1 below a bpffs: the path of its root is too long; "
                   "going on with a private map: "));
    CHECK(oe::ContextMap::open_existing("/tmp").error().code.value() == ENOTSUP);
}

TEST_CASE("context map: a read-only bpffs, with and without the pin") {
    NEW_BPFFS(bpffs);
    bpffs.make_read_only();
    CHECK(contains(outcome(bpffs.root()),
                   "private, works: make the folder " + bpffs.path("otel") +
                       ": Read-only file system (mount the bpffs writable, or name another root); going on with a "
                       "private map: "));
    const PrivateBpffs with_pin;
    const auto map = oe::ContextMap::open({.bpffs_root = with_pin.root()});
    REQUIRE(map);
    with_pin.make_read_only();
    CHECK(contains(outcome(with_pin.root()),
                   "private, works: open the pinned map " + with_pin.path("otel/traces_ctx_v1") +
                       ": Read-only file system (mount the bpffs writable"));
}

TEST_CASE("context map: another user's pin") {
    NEW_BPFFS(bpffs);
    const auto map = oe::ContextMap::open({.bpffs_root = bpffs.root()});
    REQUIRE(map);
    const std::string root = bpffs.root();
    const std::string with_cap_bpf =
        in_child([&root] { return become_nobody({cap_bpf, cap_perfmon}) ? outcome(root) : "no capset"; });
    INFO(with_cap_bpf);
    CHECK(contains(with_cap_bpf,
                   "private, works: open the pinned map " + root +
                       "/otel/traces_ctx_v1: Permission denied (run as root, or as the user and with the capabilities "
                       "of the tool that made the pin); going on with a private map: "));
    // Without CAP_BPF there is no map at all.
    const std::string nothing = in_child([&root] { return become_nobody({}) ? outcome(root) : "no capset"; });
    INFO(nothing);
    CHECK(contains(nothing, "error 1: open the pinned map " + root + "/otel/traces_ctx_v1: Permission denied"));
    CHECK(contains(nothing, "; create the map traces_ctx_v1: Operation not permitted (needs CAP_BPF)"));
}

TEST_CASE("context map: a root that can't be reached") {
    SKIP_UNLESS_LOADABLE();
    char folder[] = "/tmp/otel_ebpf_closed.XXXXXX";  // mode 0700
    REQUIRE(::mkdtemp(folder) != nullptr);
    const std::string root = std::string(folder) + "/bpf";
    const std::string told =
        in_child([&root] { return become_nobody({cap_bpf, cap_perfmon}) ? outcome(root) : "no capset"; });
    INFO(told);
    CHECK(contains(told, "private, works: open the pinned map " + root + "/otel/traces_ctx_v1: " + root +
                             ": Permission denied (run as root, or "));
    ::rmdir(folder);
}

TEST_CASE("context map: the kernel does not let this process pin or open pins") {
    NEW_BPFFS(bpffs);
    const std::string root = bpffs.root();
    CHECK(contains(in_child([&root] { return forbid_bpf_command(BPF_OBJ_PIN) ? outcome(root) : "no seccomp"; }),
                   "private, works: pin the map at " + root +
                       "/otel/traces_ctx_v1: Operation not permitted (run as root, or "));
    CHECK(contains(in_child([&root] { return forbid_bpf_command(BPF_OBJ_GET) ? outcome(root) : "no seccomp"; }),
                   "private, works: open the pinned map " + root +
                       "/otel/traces_ctx_v1: Operation not permitted (run as root, or "));
    CHECK(pinned_map_id(root + "/otel/traces_ctx_v1") == 0);
}

TEST_CASE("context map: a pin that others make and remove all the time ends in a private map") {
    NEW_BPFFS(bpffs);
    const std::string root = bpffs.root();
    const std::string told =
        in_child([&root] { return forbid_bpf_command(BPF_OBJ_PIN, EEXIST) ? outcome(root) : "no seccomp"; });
    INFO(told);
    CHECK(contains(told, "private, works: open or create the pinned map " + root +
                             "/otel/traces_ctx_v1: in 16 attempts it was neither there nor absent; going on with "));
}

TEST_CASE("context map: the root is the argument, else the environment's, else the usual one") {
    NEW_BPFFS(bpffs);
    const std::string root = bpffs.root();
    CHECK(in_child([&root] {
              ::setenv("OTEL_EBPF_BPF_FS_PATH", (root + "/").c_str(), 1);
              const auto map = oe::ContextMap::open();
              return map ? map->bpffs_root() + (map->shared() ? " shared" : " private") : map.error().what;
          }) == root + "/ shared");
    CHECK(pinned_map_id(bpffs.path("otel/traces_ctx_v1")) != 0);
    CHECK(in_child([&root] {
              ::setenv("OTEL_EBPF_BPF_FS_PATH", "/tmp", 1);
              const auto map = oe::ContextMap::open({.bpffs_root = root});
              return map ? map->bpffs_root() + (map->shared() ? " shared" : " private") : map.error().what;
          }) == root + " shared");
    CHECK(in_child([] {
              ::setenv("OTEL_EBPF_BPF_FS_PATH", "", 1);
              return std::string(::oe_bpffs_root(""));
          }) == "/sys/fs/bpf");
}
