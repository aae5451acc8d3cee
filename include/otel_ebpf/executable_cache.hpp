// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ExecutableCache: each file inspected once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <list>
#include <memory>
#include <mutex>
#include <utility>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/executable.hpp>

namespace otel_ebpf {

// Keeps the most recently used Executables, by identity of the file. Thread-safe.
class ExecutableCache {
public:
    explicit ExecutableCache(std::size_t capacity = 64) : capacity_(std::max<std::size_t>(capacity, 1)) {}

    // Inspects a file only when it is not the one of an earlier call. Failures are not kept.
    Result<std::shared_ptr<const Executable>> open(const std::filesystem::path& path) {
        auto file = Executable::open_file(path);
        if (!file) return tl::unexpected(std::move(file).error());
        const FileIdentity identity = file->identity;
        if (auto known = find(identity, std::scoped_lock(mutex_))) return known;
        auto fresh = Executable::inspect(std::move(*file), path);
        if (!fresh) return fresh;
        const std::scoped_lock lock(mutex_);
        if (auto known = find(identity, lock)) return known;  // another thread was faster
        entries_.push_front(*fresh);
        if (entries_.size() > capacity_) entries_.pop_back();
        return fresh;
    }

    [[nodiscard]] std::size_t size() const {
        std::scoped_lock lock(mutex_);
        return entries_.size();
    }

private:
    std::shared_ptr<const Executable> find(const FileIdentity& identity, const std::scoped_lock<std::mutex>&) {
        const auto found = std::ranges::find(entries_, identity, [](const auto& entry) { return entry->identity(); });
        if (found == entries_.end()) return nullptr;
        entries_.splice(entries_.begin(), entries_, found);
        return entries_.front();
    }

    mutable std::mutex mutex_;
    const std::size_t capacity_;
    std::list<std::shared_ptr<const Executable>> entries_;  // most recent first
};

}  // namespace otel_ebpf
