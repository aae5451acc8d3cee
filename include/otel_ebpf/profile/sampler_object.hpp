// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// SamplerObject: a skeleton with the sampler's program, loaded.
#pragma once

#include <bpf/libbpf.h>

#include <memory>
#include <string>
#include <utility>

#include <otel_ebpf/detail/loader.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/kernel.hpp>

namespace otel_ebpf::profile {

// A generated skeleton whose .bpf.c includes <otel_ebpf/profile.programs.h>.
template <class S>
concept SamplerSkeleton = requires(S& skeleton) {
    skeleton.obj;
    skeleton.progs.oe_sample;
    skeleton.maps.oe_samples;
    skeleton.maps.traces_ctx_v1;
};

template <SamplerSkeleton S>
class SamplerObject {
public:
    // traces_ctx_fd: the shared context map, which the object then uses; -1: a map of its own, in which no tool writes.
    // Needs CAP_BPF and CAP_PERFMON.
    [[nodiscard]] static Result<SamplerObject> load(int traces_ctx_fd) {
        if (auto allowed = check_prerequisites(Kernel::detect()); !allowed) return Failure(allowed.error());
        SamplerObject object;
        object.skeleton_.reset(S::open(nullptr));
        if (!object.skeleton_) return fail_errno(Stage::open, "open the sampler's BPF object");
        if (traces_ctx_fd >= 0)
            if (const int error = ::bpf_map__reuse_fd(object.skeleton_->maps.traces_ctx_v1, traces_ctx_fd); error != 0)
                return fail_errno(Stage::map, "share map traces_ctx_v1 with the sampler", -error);
        const otel_ebpf::detail::LibbpfLog messages;
        if (const int error = S::load(object.skeleton_.get()); error != 0) {
            auto failure = fail_errno(Stage::load, "load the sampler's BPF object", -error);
            failure.value().verifier_log = messages.take();
            return failure;
        }
        return object;
    }

    // Owned by this object.
    [[nodiscard]] bpf_object* object() const { return skeleton_->obj; }
    [[nodiscard]] S& skeleton() const { return *skeleton_; }

private:
    struct Destroy {
        void operator()(S* skeleton) const { S::destroy(skeleton); }
    };
    std::unique_ptr<S, Destroy> skeleton_;
};

}  // namespace otel_ebpf::profile
