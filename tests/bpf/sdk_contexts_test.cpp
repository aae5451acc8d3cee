// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// SdkContexts on processes that are refused, damaged, of another schema, or at odds with us: what it says and writes.
#include "test.hpp"

#include <linux/bpf.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include <otel_ebpf/process.hpp>
#include <otel_ebpf/publish/process_context.hpp>
#include <otel_ebpf/sdk_contexts.hpp>

#include "child_process.hpp"
#include "privileges.hpp"

namespace {

namespace oe = otel_ebpf;
using namespace std::chrono_literals;
using oe::publish::ProcessContextPublisher;

// Runs `body`, then says so and waits to be killed.
class Child {
public:
    explicit Child(const std::function<void()>& body) {
        int ready[2];
        REQUIRE(::pipe(ready) == 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            body();
            if (::write(ready[1], "x", 1) == 1) ::pause();
            ::_exit(0);
        }
        ::close(ready[1]);
        char byte;
        CHECK(::read(ready[0], &byte, 1) == 1);
        ::close(ready[0]);
    }
    ~Child() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    [[nodiscard]] pid_t pid() const { return pid_; }

private:
    pid_t pid_ = -1;
};

void publish(const char* schema) {
    if (ProcessContextPublisher::instance().publish({{{"service.name", "child"}}, schema, {}})) ::_exit(1);
}

struct Messages {
    std::vector<std::string> texts;
    Messages() {
        oe::set_log([this](oe::LogLevel, std::string_view text) { texts.emplace_back(text); });
    }
    ~Messages() { oe::set_log({}); }
    [[nodiscard]] long with(std::string_view part) const {
        return std::ranges::count_if(texts, [part](const std::string& text) { return text.find(part) != std::string::npos; });
    }
};

struct Maps {
    oe::Fd threads{::bpf_map_create(BPF_MAP_TYPE_HASH, "threads", 4, sizeof(oe_tls_location), 4, nullptr)};
    oe::Fd counts{::bpf_map_create(BPF_MAP_TYPE_HASH, "counts", 4, sizeof(oe_ctx_counts), 4, nullptr)};
    [[nodiscard]] std::optional<oe_tls_location> row(pid_t pid) const {
        const auto tgid = static_cast<std::uint32_t>(pid);
        oe_tls_location row{};
        if (::bpf_map_lookup_elem(threads.get(), &tgid, &row) != 0) return std::nullopt;
        return row;
    }
};

}  // namespace

TEST_CASE("sdk contexts: without a schema no row, with one that has no reader a row that gives nothing") {
    SKIP_UNLESS_LOADABLE();
    const Maps maps;
    const Messages messages;
    const Child resource_only([] { publish(""); });
    const Child go([] { publish("go_pprof_labels_v1"); });
    const Child silent([] {});
    {
        oe::SdkContexts contexts(maps.threads.get());
        for (const pid_t pid : {resource_only.pid(), go.pid(), silent.pid()}) contexts.watch(pid);
        REQUIRE(contexts.find(resource_only.pid()) != nullptr);
        CHECK(contexts.find(resource_only.pid())->context.resource.attributes.size() == 1);
        CHECK(contexts.find(resource_only.pid())->problem.empty());
        CHECK_FALSE(maps.row(resource_only.pid()));
        REQUIRE(maps.row(go.pid()));
        CHECK(maps.row(go.pid())->kind == OE_TLS_UNKNOWN);
        CHECK(messages.with("go_pprof_labels_v1") == 1);
        CHECK(contexts.find(silent.pid()) == nullptr);
        CHECK_FALSE(maps.row(silent.pid()));
        contexts.forget(go.pid());
        CHECK_FALSE(maps.row(go.pid()));
        contexts.watch(go.pid());
        CHECK(maps.row(go.pid()));
    }
    CHECK_FALSE(maps.row(go.pid()));  // rows go with the object
}

TEST_CASE("sdk contexts: damaged memory is counted and said once") {
    const Messages messages;
    const Child child([] {
        publish("");
        // The signature goes: the first bytes of the mapping.
        for (const std::uint64_t addr :
             oe::find_process_contexts(oe::parse_process_maps(oe::detail::read_whole("/proc/self/maps"))))
            *reinterpret_cast<volatile char*>(addr) = 'X';
    });
    oe::SdkContexts contexts(-1, -1, 0ms);
    contexts.watch(child.pid());
    contexts.poll();
    contexts.poll();
    CHECK(contexts.find(child.pid()) == nullptr);
    CHECK(contexts.stats().malformed == 3);
    CHECK(messages.with("no signature") == 1);
}

TEST_CASE("sdk contexts: processes that may not be looked at are reported once") {
    if (::geteuid() != 0) SKIP_TEST("needs root to give it up");
    const Child first([] { publish(""); }), second([] { publish(""); });
    const std::string said = in_child([&] {
        if (!become_nobody({})) return std::string("no nobody");
        const Messages messages;
        oe::SdkContexts contexts(-1, -1, 0ms);
        contexts.watch(first.pid());
        contexts.watch(second.pid());
        contexts.poll();
        return std::to_string(contexts.stats().refused) + " " + std::to_string(messages.texts.size()) + " " +
               std::to_string(messages.with("CAP_SYS_PTRACE"));
    });
    CHECK(said == "4 1 1");
}

TEST_CASE("sdk contexts: the first time that traces differ is said, with numbers") {
    SKIP_UNLESS_LOADABLE();
    const Maps maps;
    const Messages messages;
    const Child child([] { publish("go_pprof_labels_v1"); });
    oe::SdkContexts contexts(maps.threads.get(), maps.counts.get(), 0ms);
    contexts.watch(child.pid());
    CHECK_FALSE(contexts.counts(child.pid()));
    const auto tgid = static_cast<std::uint32_t>(child.pid());
    oe_ctx_counts counts{};
    counts.both = 10;
    counts.span_differs = 10;
    const auto set = [&] { REQUIRE(::bpf_map_update_elem(maps.counts.get(), &tgid, &counts, BPF_ANY) == 0); };
    set();
    contexts.poll();
    CHECK(messages.with("different traces") == 0);  // other spans of one trace are normal
    counts.trace_differs = 3;
    set();
    contexts.poll();
    contexts.poll();
    CHECK(messages.with("in 3 of 10 looks") == 1);
    CHECK(contexts.counts(child.pid())->trace_differs == 3);
}

TEST_CASE("sdk contexts: a full map is said, not passed over") {
    SKIP_UNLESS_LOADABLE();
    const Maps maps;
    const Messages messages;
    for (std::uint32_t tgid = 1; tgid <= 4; ++tgid) {
        const oe_tls_location row{};
        REQUIRE(::bpf_map_update_elem(maps.threads.get(), &tgid, &row, BPF_ANY) == 0);
    }
    const Child child([] { publish("go_pprof_labels_v1"); });
    oe::SdkContexts contexts(maps.threads.get());
    contexts.watch(child.pid());
    CHECK(contexts.stats().rows_failed == 1);
    CHECK(messages.with("no row in oe_sdk_threads") == 1);
}

TEST_CASE("sdk contexts: a context is read again when it has changed, and only then") {
    auto& publisher = ProcessContextPublisher::instance();
    REQUIRE_FALSE(publisher.publish({{{"service.name", "first"}}, "", {}}));
    oe::SdkContexts contexts(-1, -1, 0ms);
    contexts.watch(::getpid());
    REQUIRE(contexts.find(::getpid()) != nullptr);
    const auto published = contexts.find(::getpid())->context.published_at_ns;
    for (int i = 0; i < 3; ++i) contexts.poll();
    CHECK(contexts.stats().unchanged == 3);
    CHECK(contexts.find(::getpid())->context.published_at_ns == published);
    REQUIRE_FALSE(publisher.publish({{{"service.name", "second"}}, "", {}}));
    contexts.poll();
    CHECK(std::get<std::string>(contexts.find(::getpid())->context.resource.attributes.at(0).second) == "second");
    publisher.withdraw();
    contexts.poll();
    CHECK(contexts.find(::getpid()) == nullptr);
}

TEST_CASE("sdk contexts: a key that the table lacks makes it be read again") {
    auto& publisher = ProcessContextPublisher::instance();
    REQUIRE_FALSE(publisher.publish({{}, "tlsdesc_v1_dev", {"first"}}));
    oe::SdkContexts contexts;
    contexts.watch(::getpid());
    using Named = std::vector<std::pair<std::string, std::string>>;
    CHECK(contexts.name_attributes(::getpid(), {{0, "a"}}) == Named{{"first", "a"}});
    CHECK(contexts.stats().looks == 1);
    REQUIRE_FALSE(publisher.publish({{}, "tlsdesc_v1_dev", {"first", "second"}}));
    CHECK(contexts.name_attributes(::getpid(), {{0, "a"}, {1, "b"}}) == Named{{"first", "a"}, {"second", "b"}});
    CHECK(contexts.stats().looks == 2);
    // One that nobody has appended costs ten looks a second at most.
    for (int i = 0; i < 50; ++i) CHECK(contexts.name_attributes(::getpid(), {{0, "a"}, {9, "c"}}) == Named{{"first", "a"}});
    CHECK(contexts.stats().looks <= 3);
    CHECK(contexts.stats().unknown_keys == 50);
    CHECK(contexts.name_attributes(1, {{0, "a"}}).empty());
    publisher.withdraw();
}
