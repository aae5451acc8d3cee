// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ContextMap: the map in which tools of different vendors tell which span each thread works for (OTEP 4855).
//
// Stands alone: neither a Manager nor BPF programs are needed.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/fd.hpp>
#include <otel_ebpf/map.hpp>
#include <otel_ebpf/pinned_map.h>
#include <otel_ebpf/trace_context.hpp>
#include <otel_ebpf/traces_ctx.h>

namespace otel_ebpf {

// A thread, as the initial PID namespace counts it.
struct ContextKey {
    std::uint32_t tgid = 0;
    std::uint32_t tid = 0;

    friend constexpr auto operator<=>(const ContextKey&, const ContextKey&) = default;

    [[nodiscard]] static constexpr ContextKey from_raw(std::uint64_t raw) {
        return {static_cast<std::uint32_t>(raw >> 32), static_cast<std::uint32_t>(raw)};
    }
    // What bpf_get_current_pid_tgid() gives in that thread.
    [[nodiscard]] constexpr std::uint64_t raw() const { return std::uint64_t{tgid} << 32 | tid; }
};

enum class MapSharing {
    opened,       // shared: another tool had made the pin
    created,      // shared: the pin is this tool's work, and outlives it
    private_map,  // seen by nobody else
};

namespace detail {

struct PinnedMap {
    Fd fd;
    MapSharing sharing = MapSharing::private_map;
    std::string message;  // why it is not shared, and what to do

    static PinnedMap from(int fd, oe_sharing sharing, const char* text) {
        return {Fd(fd),
                sharing == OE_SHARING_OPENED    ? MapSharing::opened
                : sharing == OE_SHARING_CREATED ? MapSharing::created
                                                : MapSharing::private_map,
                text};
    }
    // `private_if_refused`: a private map in place of an error where the pin has another shape.
    [[nodiscard]] static Result<PinnedMap> open(const oe_pinned_map_spec& spec, const std::string& root,
                                                bool private_if_refused) {
        char text[OE_PIN_TEXT_SIZE];
        oe_sharing sharing = OE_SHARING_NONE;
        int fd = ::oe_pinned_map_open(&spec, root.c_str(), &sharing, text, sizeof(text));
        if (fd == -EPROTO && private_if_refused) return open_private(spec, text);
        if (fd < 0) return fail(Stage::map, text, -fd);
        return from(fd, sharing, text);
    }
    [[nodiscard]] static Result<PinnedMap> open_existing(const oe_pinned_map_spec& spec, const std::string& root) {
        char text[OE_PIN_TEXT_SIZE];
        const int fd = ::oe_pinned_map_open_existing(&spec, root.c_str(), text, sizeof(text));
        if (fd < 0) return fail(Stage::map, text, -fd);
        return from(fd, OE_SHARING_OPENED, text);
    }
    [[nodiscard]] static Result<PinnedMap> open_private(const oe_pinned_map_spec& spec, const std::string& reason) {
        char text[OE_PIN_TEXT_SIZE];
        const int fd = ::oe_pinned_map_open_private(&spec, reason.c_str(), text, sizeof(text));
        if (fd < 0) return fail(Stage::map, text, -fd);
        return from(fd, OE_SHARING_PRIVATE, text);
    }
};

inline MapShape to_shape(const oe_pinned_map_spec& spec) {
    return {spec.name, spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.map_flags};
}

}  // namespace detail

struct ContextMapOptions {
    std::string bpffs_root = {};      // "": the environment's OTEL_EBPF_BPF_FS_PATH, else /sys/fs/bpf
    bool private_if_refused = false;  // a pin of another shape gives a private map, not an error
};

// ROOT/otel/traces_ctx_v1. The pin is never removed or replaced, and no entry is touched but by its key.
class ContextMap {
public:
    // Opens the pin or makes it; safe against other tools that do so now. Where it can't be shared (no bpffs, no
    // permission, read-only) the map is private and message() says why, for people. Errors: the pin has another shape
    // (EPROTO, every differing field named), or no map can be made at all (EPERM without CAP_BPF).
    [[nodiscard]] static Result<ContextMap> open(const ContextMapOptions& options = {}) {
        return make(detail::PinnedMap::open(::oe_traces_ctx_spec(), options.bpffs_root, options.private_if_refused),
                    options.bpffs_root);
    }
    // Makes nothing: an error where there is no pin (ENOENT) or no bpffs (ENOTSUP), and never private. For tools that
    // only look.
    [[nodiscard]] static Result<ContextMap> open_existing(const std::string& bpffs_root = {}) {
        return make(detail::PinnedMap::open_existing(::oe_traces_ctx_spec(), bpffs_root), bpffs_root);
    }

    [[nodiscard]] MapSharing sharing() const { return pinned_.sharing; }
    [[nodiscard]] bool shared() const { return pinned_.sharing != MapSharing::private_map; }
    // One line on why the map is private and what to do; empty when it is shared.
    [[nodiscard]] const std::string& message() const { return pinned_.message; }
    // Of the bpffs, after option, environment and default.
    [[nodiscard]] const std::string& bpffs_root() const { return root_; }
    // For bpf_map__reuse_fd() before a BPF object is loaded; owned by this object.
    [[nodiscard]] int fd() const { return pinned_.fd.get(); }

    // The flags of the context are unknown: 0. nullopt: no entry.
    [[nodiscard]] Result<std::optional<SpanContext>> lookup(ContextKey key) const {
        auto entry = map_.lookup(key.raw());
        if (!entry) return Failure(std::move(entry).error());
        if (!*entry) return std::optional<SpanContext>();
        return std::optional<SpanContext>(to_span_context(**entry));
    }
    // Both ids must be set, of a span that is exported. Only for threads of this process, or such as are known not to
    // run now: another thread's reader may see half of a value.
    [[nodiscard]] Result<void> set(ContextKey key, const SpanContext& context) const {
        return map_.update(key.raw(), to_traces_ctx_v1(context));
    }
    // True when there was an entry.
    [[nodiscard]] Result<bool> erase(ContextKey key) const { return map_.erase(key.raw()); }
    // All entries, in no order; read in batches.
    [[nodiscard]] Result<std::vector<std::pair<ContextKey, SpanContext>>> dump() const {
        auto entries = map_.dump();
        if (!entries) return Failure(std::move(entries).error());
        std::vector<std::pair<ContextKey, SpanContext>> all;
        all.reserve(entries->size());
        for (const auto& [key, entry] : *entries) all.emplace_back(ContextKey::from_raw(key), to_span_context(entry));
        return all;
    }

private:
    using Entries = Map<std::uint64_t, oe_traces_ctx_v1>;

    ContextMap(detail::PinnedMap pinned, Entries map, std::string root)
        : pinned_(std::move(pinned)), map_(std::move(map)), root_(std::move(root)) {}

    static Result<ContextMap> make(Result<detail::PinnedMap> pinned, const std::string& root) {
        if (!pinned) return Failure(std::move(pinned).error());
        auto map = Entries::open(pinned->fd.get(), detail::to_shape(::oe_traces_ctx_spec()));
        if (!map) return Failure(std::move(map).error());
        return ContextMap(std::move(*pinned), std::move(*map), ::oe_bpffs_root(root.c_str()));
    }

    detail::PinnedMap pinned_;
    Entries map_;
    std::string root_;
};

}  // namespace otel_ebpf
