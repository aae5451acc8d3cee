// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// GoLabels: tells the sampler where Go processes keep the labels that they set with runtime/pprof.
#pragma once

#include <linux/bpf.h>

#include <bpf/libbpf.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/executable_cache.hpp>
#include <otel_ebpf/fact.hpp>
#include <otel_ebpf/log.hpp>
#include <otel_ebpf/map.hpp>
#include <otel_ebpf/probe.hpp>
#include <otel_ebpf/sample.h>

namespace otel_ebpf::profile {

class GoLabels {
public:
    // `object` is a loaded BPF object with the sampler's program; it outlives this.
    [[nodiscard]] static Result<GoLabels> open(bpf_object* object) {
        auto map = Facts::open(::bpf_object__find_map_fd_by_name(object, "oe_sampled_go"),
                               {"oe_sampled_go", BPF_MAP_TYPE_HASH, sizeof(std::uint32_t), sizeof(oe_sample_go), 0, 0});
        if (!map) return Failure(map.error());
        return GoLabels(std::move(*map));
    }

    // Call it for each program that a process begins to run. Without labels are: programs that are not Go's, and Go
    // programs in which they can't be found, which is logged.
    void add(std::uint32_t tgid) {
        auto facts = facts_of(tgid);
        if (facts) {
            if (auto done = map_.update(tgid, *facts); done) return;
            else facts = Failure(done.error());
        }
        [[maybe_unused]] const auto erased = map_.erase(tgid);  // of the program before
        if (facts.error().where != Stage::target)
            log(LogLevel::info, "process " + std::to_string(tgid) + ": no pprof labels: " + facts.error().what);
    }

private:
    using Facts = Map<std::uint32_t, oe_sample_go>;
    explicit GoLabels(Facts map) : map_(std::move(map)) {}

    Result<oe_sample_go> facts_of(std::uint32_t tgid) {
        auto opened = executables_->open("/proc/" + std::to_string(tgid) + "/exe");
        if (!opened) return Failure(Error{Stage::target, opened.error().code, opened.error().what, {}});
        const Executable& file = **opened;
        if (!file.is_go()) return fail(Stage::target, "not a Go program");
        const auto tls = file.tls_g_offset();
        if (!tls) return Failure(tls.error());
        oe_sample_go facts{};
        facts.tls_g_offset = *tls;
        const std::pair<__u16*, FactQuery> members[] = {{&facts.g_m, offset_of("std", "runtime", "g", "m")},
                                                        {&facts.m_curg, offset_of("std", "runtime", "m", "curg")},
                                                        {&facts.g_labels, offset_of("std", "runtime", "g", "labels")}};
        for (const auto& [member, query] : members) {
            const auto offset = file.fact(query);
            if (!offset) return Failure(offset.error());
            *member = static_cast<__u16>(offset->value);
        }
        const auto version = file.go_version();
        facts.format = version && version->major == 1 && version->minor < 24 ? OE_GO_LABELS_MAP : OE_GO_LABELS_SLICE;
        return facts;
    }

    Facts map_;
    std::unique_ptr<ExecutableCache> executables_ = std::make_unique<ExecutableCache>();
};

}  // namespace otel_ebpf::profile
