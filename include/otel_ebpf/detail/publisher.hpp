// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Publisher: the Manager's part in publishing current spans: the shared map, the hooks, what is active and why.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/core.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <otel_ebpf/context_map.hpp>
#include <otel_ebpf/context_reaper.hpp>
#include <otel_ebpf/detail/jit_hooks.hpp>
#include <otel_ebpf/detail/loader.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/link.hpp>
#include <otel_ebpf/publication.hpp>
#include <otel_ebpf/report.hpp>
#include <otel_ebpf/sdk_contexts.hpp>

namespace otel_ebpf::detail {

class Publisher {
public:
    explicit Publisher(Report& report) : report_(report) {}

    // Before load: opens the shared map, or makes it. Without this call, or where there is no map to be had, every part
    // of publication is left out of the load; the rest works.
    void open(const std::string& bpffs_root) {
        auto contexts = ContextMap::open({bpffs_root, true});
        if (!contexts) return close(std::move(contexts.error().what));
        auto reaper = ContextReaper::open(*contexts);
        if (!reaper) return close(std::move(reaper.error().what));
        note(contexts->message());
        note(reaper->owned().message());
        report_.publication.map =
            contexts->shared() ? contexts->bpffs_root() + "/otel/" OE_TRACES_CTX_NAME : "a private map";
        contexts_.emplace(std::move(*contexts));
        reaper_.emplace(std::move(*reaper));
        timer_address_ = JitHooks::timer_address();
        reap();  // what a tool that crashed left behind
    }

    [[nodiscard]] int context_map_fd() const { return contexts_ ? contexts_->fd() : -1; }

    // What a bundle's load needs of this.
    void add_to(LoadSettings& settings) const {
        if (!contexts_ || !timer_address_)
            settings.left_out.insert({"oe_jit_entry", "oe_jit_exit", "oe_self_sample"});
        if (!contexts_) {
            settings.left_out.insert({"oe_ctx_exit", "oe_ctx_exec"});
            return;
        }
        settings.map_fds["traces_ctx_v1"] = contexts_->fd();
        settings.map_fds["oe_ctx_owned"] = reaper_->owned().fd();
        settings.variables["oe_perf_timer"] = timer_address_.value_or(0);
        settings.variables["oe_ctx_owner"] = reaper_->owner().raw();
    }

    // After load. `object` is the bundle that holds the hooks, when it includes publish.programs.h.
    void connect(bpf_object* object) {
        object_ = object;
        counts_fd_ = ::bpf_object__find_map_fd_by_name(object, "oe_ctx_counts");
        has_hooks_ = ::bpf_object__find_program_by_name(object, "oe_jit_entry") != nullptr;
        if (contexts_ && has_hooks_)
            sdk_ = std::make_unique<SdkContexts>(::bpf_object__find_map_fd_by_name(object, "oe_sdk_threads"),
                                                 counts_fd_);
    }

    // The mode that a target which asks for `wanted` gets, and why where it is another: just in time falls back to
    // eager, and what can't be had is off. Attaches the hooks that are not attached yet.
    [[nodiscard]] std::pair<Publication, std::string> start(Publication wanted) {
        if (wanted == Publication::off) return {Publication::off, {}};
        if (!has_hooks_) return {Publication::off, "the BPF object does not include <otel_ebpf/publish.programs.h>"};
        if (!contexts_) return {Publication::off, closed_};
        std::string reason;
        if (wanted == Publication::jit) {
            if (start_jit()) return {Publication::jit, {}};
            reason = "eager since just in time does not work here: " + jit_failure_;
        }
        if (auto started = start_eager(); !started) return {Publication::off, started.error().what};
        return {Publication::eager, reason};
    }

    // A target. From here on it is known whether an SDK in it publishes contexts of its own: then ours are not.
    void watch(std::uint32_t tgid) {
        if (sdk_) sdk_->watch(static_cast<pid_t>(tgid));
    }

    // Once a second at most: contexts of SDKs, and entries of threads and tools that are gone.
    void poll() {
        if (sdk_) sdk_->poll();
        const auto now = std::chrono::steady_clock::now();
        if (!reaper_ || exit_links_.empty() || now - last_reap_ < reap_interval) return;
        reap();
    }

    // The process is no target any more.
    void forget(std::uint32_t tgid) {
        if (sdk_) sdk_->forget(static_cast<pid_t>(tgid));
        if (counts_fd_ >= 0) ::bpf_map_delete_elem(counts_fd_, &tgid);
        retract(tgid);
    }

    // No hook sets an entry of this process any more: those that are left go, and at the next reap what a hook that was
    // under way has set since.
    void retract(std::uint32_t tgid) {
        if (!reaper_ || exit_links_.empty()) return;
        note_failure(reaper_->erase_own(tgid));
        retracted_.insert(tgid);
    }

    // The hooks are detached, and none of our entries is left.
    void stop() {
        jit_.detach();
        if (reaper_ && !exit_links_.empty()) note_failure(reaper_->erase_own());
        exit_links_.clear();
    }

    [[nodiscard]] std::optional<oe_ctx_counts> counts(std::uint32_t tgid) const {
        oe_ctx_counts counts{};
        if (counts_fd_ < 0 || ::bpf_map_lookup_elem(counts_fd_, &tgid, &counts) != 0) return std::nullopt;
        return counts;
    }

private:
    static constexpr std::chrono::milliseconds reap_interval{1000};

    void close(std::string reason) {
        closed_ = std::move(reason);
        note("current spans are not published: " + closed_);
    }

    bool start_jit() {
        if (jit_.attached()) return true;
        if (!jit_failure_.empty()) return false;
        auto works = timer_address_ ? jit_.attach(object_) : Result<void>(Failure(timer_address_.error()));
        if (!works) jit_failure_ = works.error().what;
        return works.has_value();
    }

    Result<void> start_eager() {
        if (!exit_links_.empty()) return {};
        std::vector<Link> links;
        for (const auto& [name, tracepoint] :
             {std::pair{"oe_ctx_exit", "sched_process_exit"}, {"oe_ctx_exec", "sched_process_exec"}}) {
            auto link = Link::raw_tracepoint(::bpf_object__find_program_by_name(object_, name), tracepoint);
            if (!link) return Failure(link.error());
            links.push_back(std::move(*link));
        }
        exit_links_ = std::move(links);
        return {};
    }

    void reap() {
        last_reap_ = std::chrono::steady_clock::now();
        note_failure(reaper_->reap());
        for (const std::uint32_t tgid : retracted_) note_failure(reaper_->erase_own(tgid));
        retracted_.clear();
    }

    template <class T>
    void note_failure(const Result<T>& result) {
        if (!result) note(result.error().what);
    }

    // Once.
    void note(std::string message) {
        if (!message.empty() && noted_.insert(message).second) report_.messages.push_back(std::move(message));
    }

    Report& report_;
    std::string closed_ = "the Manager was opened with publication off";  // why there is no map
    std::optional<ContextMap> contexts_;
    std::optional<ContextReaper> reaper_;
    Result<std::uint64_t> timer_address_ = std::uint64_t{0};
    bpf_object* object_ = nullptr;
    int counts_fd_ = -1;
    std::unique_ptr<SdkContexts> sdk_;
    bool has_hooks_ = false;
    JitHooks jit_;
    std::string jit_failure_;
    std::vector<Link> exit_links_;
    std::set<std::uint32_t> retracted_;
    std::chrono::steady_clock::time_point last_reap_{};
    std::set<std::string> noted_;
};

}  // namespace otel_ebpf::detail
