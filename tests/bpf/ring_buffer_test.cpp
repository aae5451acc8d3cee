// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A ring buffer that nobody reads: what does not fit is lost, and counted to the last record.
#include "test.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include <fmt/core.h>

#include <otel_ebpf/otel_ebpf.hpp>
#include <otel_ebpf/probes/net_http.hpp>

#include "agent.skel.h"
#include "privileges.hpp"

namespace {

namespace oe = otel_ebpf;

// A running test server; ends with this object.
class GoServer {
public:
    explicit GoServer(const std::string& path) {
        int pipe_fds[2];
        REQUIRE(::pipe(pipe_fds) == 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::dup2(pipe_fds[1], STDOUT_FILENO);
            ::execl(path.c_str(), path.c_str(), static_cast<char*>(nullptr));
            ::_exit(127);
        }
        ::close(pipe_fds[1]);
        std::FILE* output = ::fdopen(pipe_fds[0], "r");
        const int found = std::fscanf(output, "listening %d", &port_);
        std::fclose(output);
        REQUIRE(found == 1);
    }
    ~GoServer() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    GoServer(const GoServer&) = delete;
    GoServer& operator=(const GoServer&) = delete;

    [[nodiscard]] pid_t pid() const { return pid_; }
    [[nodiscard]] bool request(const std::string& client, int count) const {
        return std::system(fmt::format("{} -n {} http://127.0.0.1:{} / >/dev/null", client, count, port_).c_str()) == 0;
    }

private:
    pid_t pid_ = -1;
    int port_ = 0;
};

}  // namespace

TEST_CASE("ring buffer: full for lack of a reader, it loses records that are counted one by one") {
    SKIP_UNLESS_LOADABLE();
    const std::string server_path = test_target("server-go1.24"), client = test_target("client");
    if (server_path.empty() || client.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    constexpr std::uint64_t requests = 500;
    const GoServer server(server_path);
    // Programs that start elsewhere on this machine write a record too: then once more.
    std::uint64_t missing = 0, counted = 0;
    for (int round = 0; round < 5; ++round) {
        auto manager = oe::Manager::open({.bundles = {oe::bundle(oe::probes::net_http::server<agent_bpf>)},
                                          .targets = oe::targets::pid(server.pid()),
                                          .events_bytes = 16 * 1024});
        INFO((manager ? "" : manager.error().what));
        REQUIRE(manager);
        REQUIRE(server.request(client, requests));
        (*manager)->stop();
        const oe::Stats stats = (*manager)->stats();
        CHECK(stats.spans > 0);
        CHECK(stats.spans < requests);
        CHECK(stats[OE_STAT_STORE_FULL] == 0);
        missing = requests - stats.spans;
        counted = stats[OE_STAT_RINGBUF_FULL];
        REQUIRE(counted >= missing);
        CHECK(stats.dropped() == counted);
        if (counted == missing) break;
    }
    CHECK(counted == missing);
}
