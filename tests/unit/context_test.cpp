// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What the shared context map rests on and what needs no kernel: keys, paths, /proc/PID/stat.
#include "test.hpp"

#include <unistd.h>

#include <cstdlib>
#include <string>

#include <otel_ebpf/context_reaper.hpp>

namespace oe = otel_ebpf;

TEST_CASE("context: a key is the TGID over the TID") {
    constexpr oe::ContextKey key{0x01020304, 0xf0e0d0c0};
    static_assert(key.raw() == 0x01020304f0e0d0c0);
    static_assert(oe::ContextKey::from_raw(key.raw()) == key);
    CHECK(oe_traces_ctx_key(key.tgid, key.tid) == key.raw());
    constexpr oe::ContextOwner owner{5, 0xffffffff};
    static_assert(owner.raw() == 0x5ffffffff);
    static_assert(oe::ContextOwner::from_raw(owner.raw()) == owner);
}

TEST_CASE("context: a tool has ended when its PID is nobody's, another's, or none") {
    CHECK_FALSE(oe::ContextOwner::self()->has_ended());
    CHECK(oe::ContextOwner{0x7ff00000, 1}.has_ended());
    CHECK(oe::ContextOwner{static_cast<std::uint32_t>(::getpid()), 1}.has_ended());
    CHECK(oe::ContextOwner{0, 1}.has_ended());
    CHECK(oe::ContextOwner{static_cast<std::uint32_t>(-::getpgrp()), 1}.has_ended());
}

TEST_CASE("context: paths of a pin") {
    const oe_pinned_map_spec spec = oe_traces_ctx_spec();
    char text[OE_PIN_TEXT_SIZE];
    static oe_pin pin;
    oe_pin_init(&pin, &spec, "/a/b///", text, sizeof(text));
    CHECK(std::string(pin.root) == "/a/b");
    CHECK(std::string(pin.folder) == "/a/b/otel");
    CHECK(std::string(pin.path) == "/a/b/otel/traces_ctx_v1");
    CHECK(pin.path_error == 0);
    oe_pin_init(&pin, &spec, "/", text, sizeof(text));
    CHECK(std::string(pin.root) == "/");
    // The longest root that leaves room for the path, and one more.
    const std::string tail = "/otel/traces_ctx_v1";
    oe_pin_init(&pin, &spec, std::string(OE_PIN_PATH_SIZE - 1 - tail.size(), 'x').c_str(), text, sizeof(text));
    CHECK(pin.path_error == 0);
    CHECK(std::string(pin.path).size() == OE_PIN_PATH_SIZE - 1);
    for (const std::size_t length : {OE_PIN_PATH_SIZE - tail.size(), std::size_t{4096}, std::size_t{9999}}) {
        oe_pin_init(&pin, &spec, std::string(length, 'x').c_str(), text, sizeof(text));
        CHECK(pin.path_error == -ENAMETOOLONG);
    }
}

TEST_CASE("context: a text that does not fit is cut, never overrun") {
    const oe_pinned_map_spec spec = oe_traces_ctx_spec();
    const std::string whole =
        "open the pinned map /proc/otel/traces_ctx_v1: no bpffs at /proc (mount one: mount -t bpf bpf /proc; or name "
        "another root)";
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{20}, std::size_t{100}}) {
        std::string text(size + 1, '#');
        CHECK(oe_pinned_map_open_existing(&spec, "/proc", text.data(), size) == -ENOTSUP);
        CHECK(text[size] == '#');
        if (size > 0) CHECK(std::string(text.c_str()) == whole.substr(0, size - 1));
    }
}

TEST_CASE("process: /proc/PID/stat is parsed behind any name") {
    const std::string fields = " S 1 2 3 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 7 0 123456789012 1 2";
    for (const std::string name : {"sleep", "a b", ") Z 1 (", "((", "))", ""}) {
        const auto stat = oe::parse_task_stat("42 (" + name + ")" + fields);
        REQUIRE(stat);
        CHECK(stat->state == 'S');
        CHECK(stat->threads == 7);
        CHECK(stat->start_ticks == 123456789012);
        CHECK_FALSE(stat->ended());
    }
    CHECK(oe::parse_task_stat("1 (x) Z 1 2 3 0 -1 0 1 0 0 0 5 6 0 0 20 0 1 0 9 1")->ended());
    for (const char* broken : {"", "1", "1 (x", "1 (x)", "1 (x) ", "1 (x) S"}) CHECK_FALSE(oe::parse_task_stat(broken));
    for (const char* end : {"1 0", "1 0 ", "1 0 y", "y 0 9 1"})
        CHECK_FALSE(oe::parse_task_stat("1 (x) S 1 2 3 0 -1 0 1 0 0 0 5 6 0 0 20 0 " + std::string(end)));
}

TEST_CASE("process: a thread has ended when it is no thread of that process") {
    const auto self = static_cast<std::uint32_t>(::getpid());
    CHECK_FALSE(oe::thread_has_ended(self, static_cast<std::uint32_t>(::gettid())));
    CHECK(oe::thread_has_ended(self, 0x7ff00000));
    CHECK(oe::thread_has_ended(self, 1));
    CHECK(oe::thread_has_ended(0x7ff00000, self));
}
