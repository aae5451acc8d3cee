// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The Manager on the running kernel, without a target: bundles side by side, and every refusal.
#include "test.hpp"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>

#include <ledger.hpp>
#include <otel_ebpf/otel_ebpf.hpp>
#include <otel_ebpf/probes/net_http.hpp>

#include "agent.skel.h"
#include "few_processes.skel.h"
#include "other_abi.skel.h"
#include "privileges.hpp"
#include "refused.skel.h"
#include "settle_watch.skel.h"
#include "tiny_probe.hpp"

namespace {

namespace oe = otel_ebpf;

std::uint32_t id_of(const bpf_map* map) {
    bpf_map_info info{};
    std::uint32_t size = sizeof(info);
    REQUIRE(::bpf_obj_get_info_by_fd(::bpf_map__fd(map), &info, &size) == 0);
    return info.id;
}

// The message with which a Manager refuses to open.
std::string refusal(oe::ManagerConfig config) {
    const auto manager = oe::Manager::open(std::move(config));
    return manager ? "opened" : manager.error().what;
}

bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

// What `body` returns in a child process that has no capabilities.
template <class Body>
std::string without_capabilities(Body body) {
    int pipe_fds[2];
    REQUIRE(::pipe(pipe_fds) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
        __user_cap_data_struct none[2]{};
        const bool dropped = ::syscall(SYS_capset, &header, none) == 0;
        const std::string text = dropped ? body() : "capset failed";
        const ssize_t size = ::write(pipe_fds[1], text.data(), text.size());
        ::_exit(size == static_cast<ssize_t>(text.size()) ? 0 : 1);
    }
    ::close(pipe_fds[1]);
    std::string text(4096, '\0');
    const ssize_t size = ::read(pipe_fds[0], text.data(), text.size());
    ::close(pipe_fds[0]);
    text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
    return text;
}

}  // namespace

TEST_CASE("manager: two bundles share their maps, and both keep their own") {
    SKIP_UNLESS_LOADABLE();
    const auto first = oe::bundle(oe::probes::net_http::server<agent_bpf>);
    const auto second = oe::bundle(ledger::settle<settle_watch_bpf>);
    auto manager = oe::Manager::open({.bundles = {first, second}});
    INFO((manager ? "" : manager.error().what));
    REQUIRE(manager);
    const auto& a = first.skeleton().maps;
    const auto& b = second.skeleton().maps;
    CHECK(id_of(a.oe_events) == id_of(b.oe_events));
    CHECK(id_of(a.oe_exes) == id_of(b.oe_exes));
    CHECK(id_of(a.oe_processes) == id_of(b.oe_processes));
    CHECK(id_of(a.oe_spans) == id_of(b.oe_spans));
    CHECK(id_of(a.oe_span_more) == id_of(b.oe_span_more));
    CHECK(id_of(a.oe_stats) == id_of(b.oe_stats));
    CHECK(id_of(a.oe_generation) == id_of(b.oe_generation));
    CHECK(id_of(b.switches) != 0);
    CHECK(first.skeleton().rodata->oe_e_http_server != second.skeleton().rodata->ledger_kind);
    CHECK(first.skeleton().rodata->oe_f_g_goid == second.skeleton().rodata->oe_f_g_goid);
}

TEST_CASE("manager: sizes of maps are set before load") {
    SKIP_UNLESS_LOADABLE();
    const auto bundle = oe::bundle(oe::probes::net_http::server<agent_bpf>);
    const auto manager = oe::Manager::open({.bundles = {bundle}, .events_bytes = 64 * 1024, .max_executables = 3});
    REQUIRE(manager);
    CHECK(oe::MapShape::of(::bpf_map__fd(bundle.skeleton().maps.oe_events))->max_entries == 64 * 1024);
    CHECK(oe::MapShape::of(::bpf_map__fd(bundle.skeleton().maps.oe_exes))->max_entries == 3);
}

TEST_CASE("manager: bundles whose maps differ in shape are refused, with the field") {
    SKIP_UNLESS_LOADABLE();
    const std::string message = refusal(
        {.bundles = {oe::bundle(oe::probes::net_http::server<agent_bpf>), oe::bundle(tiny::probe<few_processes_bpf>)}});
    CHECK(contains(message, "share map oe_processes between bundles: max_entries is 16, expected 8192"));
}

TEST_CASE("manager: an object of another ABI is refused") {
    SKIP_UNLESS_LOADABLE();
    const std::string message = refusal({.bundles = {oe::bundle(tiny::probe<other_abi_bpf>)}});
    CHECK(contains(message, "ABI 4711"));
    CHECK(contains(message, "rebuild"));
}

TEST_CASE("manager: an option that nobody declares is refused, with those there are") {
    SKIP_UNLESS_LOADABLE();
    const std::string message = refusal(
        {.bundles = {oe::bundle(oe::probes::net_http::server<agent_bpf>)}, .options = {{"net_http.rout_site", false}}});
    CHECK(contains(message, "no option 'net_http.rout_site'"));
    CHECK(contains(message, "net_http.route_site"));
}

TEST_CASE("manager: no bundles, no process, not a program") {
    SKIP_UNLESS_LOADABLE();
    CHECK(contains(refusal({}), "no bundles"));
    const auto bundle = [] { return oe::bundle(oe::probes::net_http::server<agent_bpf>); };
    CHECK(contains(refusal({.bundles = {bundle()}, .targets = oe::targets::pid(0x3ffffff)}), "no such process"));
    CHECK(contains(refusal({.bundles = {bundle()}, .targets = oe::targets::pid(::getpid())}), "not a Go program"));
    CHECK(contains(refusal({.bundles = {bundle()}, .targets = oe::targets::executable("/proc/version")}),
                   "/proc/version"));
    CHECK(contains(refusal({.bundles = {bundle()}, .targets = oe::targets::executable("/no/such/file")}),
                   "No such file"));
}

TEST_CASE("manager: one program that the verifier refuses is reported, and the rest works") {
    SKIP_UNLESS_LOADABLE();
    static constexpr oe::Uprobe<refused_bpf> uprobes[] = {
        {.symbol = "main.main", .run = &oe::Progs<refused_bpf>::reads_null}};
    static constexpr oe::Probe<refused_bpf, oe_span_event> bad{.name = "bad",
                                                               .event_kind = &oe::Rodata<refused_bpf>::tiny_kind,
                                                               .uprobes = uprobes,
                                                               .to_span = &tiny::to_span};
    const auto manager = oe::Manager::open({.bundles = {oe::bundle(tiny::probe<refused_bpf>, bad)}});
    INFO((manager ? "" : manager.error().what));
    REQUIRE(manager);
    REQUIRE((*manager)->report().messages.size() == 1);
    CHECK(contains((*manager)->report().messages[0], "reads_null"));
    for (const oe::ProgramStats& program : (*manager)->stats().programs) CHECK(program.name != "reads_null");
}

TEST_CASE("manager: a missing capability is named") {
    SKIP_UNLESS_LOADABLE();
    const std::string message = without_capabilities(
        [] { return refusal({.bundles = {oe::bundle(oe::probes::net_http::server<agent_bpf>)}}); });
    CHECK(contains(message, "CAP_BPF and CAP_PERFMON"));
    CHECK(contains(message, "run as root"));
}

TEST_CASE("manager: changes posted from anywhere run in poll()") {
    SKIP_UNLESS_LOADABLE();
    const auto manager = oe::Manager::open({.bundles = {oe::bundle(oe::probes::net_http::server<agent_bpf>)}});
    REQUIRE(manager);
    int ran = 0;
    (*manager)->post([&ran](oe::Manager& self) { ran += !self.add(oe::ProcessTarget{0x3ffffff}) ? 1 : 0; });
    CHECK(ran == 0);
    (*manager)->poll(std::chrono::milliseconds(0));
    CHECK(ran == 1);
    (*manager)->stop();
    (*manager)->stop();  // may be called again
}
