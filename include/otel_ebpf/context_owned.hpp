// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// OwnedContexts: which entries of the shared context map our tools wrote and have to take back.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <otel_ebpf/context_map.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/map.hpp>
#include <otel_ebpf/types.h>

namespace otel_ebpf {

namespace detail {

inline oe_pinned_map_spec owned_contexts_spec() {
    oe_pinned_map_spec spec{};
    spec.folder = "otel_ebpf";
    spec.pin = "ctx_owned_v1";
    spec.name = "oe_ctx_owned";  // as in publish.bpf.h: bpf_map__reuse_fd() takes the name over
    spec.if_private = "entries of the shared context map that this tool leaves behind in a crash are not found again";
    spec.type = BPF_MAP_TYPE_HASH;
    spec.key_size = sizeof(std::uint64_t);
    spec.value_size = sizeof(oe_ctx_owned);
    spec.max_entries = OE_TRACES_CTX_ENTRIES;
    return spec;
}

}  // namespace detail

// ROOT/otel_ebpf/ctx_owned_v1: a note for each entry that stays until it is taken back, since the shared value has no
// room for an owner. The BPF map is oe_ctx_owned of publish.bpf.h.
class OwnedContexts {
public:
    using Notes = Map<std::uint64_t, oe_ctx_owned>;

    // In the bpffs of `contexts`. Private when that map is; also, with a message, when the pin can't be had or has
    // another shape.
    [[nodiscard]] static Result<OwnedContexts> open(const ContextMap& contexts) {
        const auto spec = detail::owned_contexts_spec();
        if (contexts.shared()) return make(detail::PinnedMap::open(spec, contexts.bpffs_root(), true));
        auto pinned = detail::PinnedMap::open_private(spec, {});
        if (pinned) pinned->message.clear();  // contexts.message() has said it
        return make(std::move(pinned));
    }
    // Makes nothing: an error where there is no pin (ENOENT), which means that none of our tools has published eagerly.
    [[nodiscard]] static Result<OwnedContexts> open_existing(const std::string& bpffs_root = {}) {
        return make(detail::PinnedMap::open_existing(detail::owned_contexts_spec(), bpffs_root));
    }

    [[nodiscard]] MapSharing sharing() const { return pinned_.sharing; }
    [[nodiscard]] bool shared() const { return pinned_.sharing != MapSharing::private_map; }
    [[nodiscard]] const std::string& message() const { return pinned_.message; }
    // For bpf_map__reuse_fd(); owned by this object.
    [[nodiscard]] int fd() const { return pinned_.fd.get(); }
    [[nodiscard]] const Notes& notes() const { return notes_; }


private:
    OwnedContexts(detail::PinnedMap pinned, Notes notes) : pinned_(std::move(pinned)), notes_(std::move(notes)) {}

    static Result<OwnedContexts> make(Result<detail::PinnedMap> pinned) {
        if (!pinned) return Failure(std::move(pinned).error());
        auto notes = Notes::open(pinned->fd.get(), detail::to_shape(detail::owned_contexts_spec()));
        if (!notes) return Failure(std::move(notes).error());
        return OwnedContexts(std::move(*pinned), std::move(*notes));
    }

    detail::PinnedMap pinned_;
    Notes notes_;
};

}  // namespace otel_ebpf
