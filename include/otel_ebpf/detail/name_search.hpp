// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// NameSearch: one pass over a table of NUL-terminated names that keeps only those which may be wanted.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/byte_source.hpp>
#include <otel_ebpf/detail/window.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/go/names.hpp>

namespace otel_ebpf::detail {

class NameSearch {
public:
    // `wanted` is kept by reference.
    explicit NameSearch(const go::NameSet& wanted) : wanted_(&wanted) {}

    // Reads [begin, begin + size) of the source.
    Result<void> read(const ByteSource& source, std::uint64_t begin, std::uint64_t size) {
        Window window(source, begin, size);
        bool is_long = false;  // behind the start of a name of more than a chunk
        for (std::uint64_t at = 0; at < size;) {
            auto chunk = window.from(at);
            if (!chunk) return tl::unexpected(std::move(chunk).error());
            const auto* const bytes = reinterpret_cast<const char*>(chunk->data());
            const std::size_t count = chunk->size();
            std::size_t start = 0;
            while (start < count) {
                const void* const end = std::memchr(bytes + start, 0, count - start);
                if (end == nullptr) break;
                const std::string_view name(bytes + start,
                                            static_cast<std::size_t>(static_cast<const char*>(end) - bytes) - start);
                if (!is_long && name.size() <= max_text_bytes && wanted_->ends_in_one(name))
                    if (auto added = add(at + start, name); !added) return added;
                is_long = false;
                start += name.size() + 1;
            }
            if (start == 0) {
                is_long = true;
                start = count;
            }
            at += start;
            if (at < size && start < count) {  // a name goes on behind the chunk
                if (auto refilled = refill(window, at, size); !refilled) return refilled;
            }
        }
        return {};
    }

    [[nodiscard]] bool empty() const { return names_.empty(); }

    // The name at an offset of the table, when it is a wanted one or its copy in a vendor folder; else empty. It may be
    // the end of a longer name: linkers store those once.
    [[nodiscard]] std::string_view name_at(std::uint64_t offset) const {
        if (names_.empty() || offset < names_.front().begin || offset >= end_) return {};
        const auto after = std::upper_bound(names_.begin(), names_.end(), offset,
                                            [](std::uint64_t at, const Name& name) { return at < name.begin; });
        const Name& found = *std::prev(after);
        if (offset - found.begin >= found.text.size()) return {};
        const std::string_view name = std::string_view(found.text).substr(offset - found.begin);
        return wanted_->contains(name) ? name : std::string_view();
    }

private:
    struct Name {
        std::uint64_t begin;
        std::string text;
    };

    // Makes the chunk begin with the name that its end cut in two.
    static Result<void> refill(Window& window, std::uint64_t at, std::uint64_t size) {
        auto whole = window.at(at, static_cast<std::size_t>(std::min<std::uint64_t>(size - at, 2 * max_text_bytes)));
        if (!whole) return tl::unexpected(std::move(whole).error());
        return {};
    }

    Result<void> add(std::uint64_t begin, std::string_view name) {
        constexpr std::size_t max_bytes = 8 << 20;  // far above what an executable with vendored copies has
        bytes_ += sizeof(Name) + name.size();
        if (bytes_ > max_bytes) return fail(Stage::target, "has an absurd number of functions of the wanted names");
        names_.push_back({begin, std::string(name)});
        end_ = begin + name.size();
        return {};
    }

    const go::NameSet* wanted_;
    std::vector<Name> names_;  // by where they begin
    std::uint64_t end_ = 0;
    std::size_t bytes_ = 0;
};

}  // namespace otel_ebpf::detail
