// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// TraceTrees: groups finished spans, which arrive children first, into one tree per trace, in bounded memory.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include <otel_ebpf/span.hpp>

namespace otel_ebpf {

struct TraceTreeLimits {
    std::size_t spans = 4096;                    // held in all; the oldest tree goes first
    std::size_t spans_per_trace = 512;           // a tree with so many goes at once
    std::chrono::milliseconds root_grace{20};    // after the root, for spans of other processes that were read later
    std::chrono::milliseconds entry_grace{200};  // after a span whose parent is remote: its caller may be watched too
    std::chrono::milliseconds patience{1000};    // after the first span, when neither came
};

// Holds a `Payload` per span: what the view wants to know of it once its tree is ready.
template <class Payload>
class TraceTrees {
public:
    using Clock = std::chrono::steady_clock;

    struct Node {
        SpanId id;
        SpanId parent;
        std::uint64_t start_unix_ns = 0;
        Payload payload{};
        std::uint32_t depth = 0;         // 0: a root, as far as is known
        bool is_last_child = true;       // of its parent
        bool parent_is_missing = false;  // has a parent in the same process that is not in the tree
    };

    explicit TraceTrees(TraceTreeLimits limits = {}) : limits_(limits) {}

    void add(const Span& span, Payload payload, Clock::time_point now) {
        Trace& trace = traces_.try_emplace(span.context.trace_id, Trace{{}, now + limits_.patience}).first->second;
        trace.nodes.push_back({span.context.span_id, span.parent, span.start_unix_ns, std::move(payload), 0, true,
                               !span.parent.is_zero() && !span.parent_is_remote});
        ++held_;
        if (span.parent.is_zero()) trace.due = std::min(trace.due, now + limits_.root_grace);
        else if (span.parent_is_remote) trace.due = std::min(trace.due, now + limits_.entry_grace);
        if (trace.nodes.size() >= limits_.spans_per_trace) trace.due = now;
    }

    // Calls visit(std::span<const Node>) for each tree that is due, oldest first: parents before children, siblings by
    // start time. The nodes are gone afterwards.
    template <class Visit>
    void take_due(Clock::time_point now, Visit&& visit) {
        take(now, limits_.spans, visit);
    }
    template <class Visit>
    void take_all(Visit&& visit) {
        take(Clock::time_point::max(), 0, visit);
    }

    [[nodiscard]] std::size_t held() const { return held_; }

private:
    struct Trace {
        std::vector<Node> nodes;
        Clock::time_point due;
    };
    using Iterator = typename std::unordered_map<TraceId, Trace>::iterator;

    template <class Visit>
    void take(Clock::time_point now, std::size_t may_stay, Visit& visit) {
        std::vector<Iterator> oldest_first;
        for (Iterator it = traces_.begin(); it != traces_.end(); ++it) {
            if (it->second.due <= now || held_ > may_stay) oldest_first.push_back(it);
        }
        std::sort(oldest_first.begin(), oldest_first.end(),
                  [](Iterator a, Iterator b) { return a->second.due < b->second.due; });
        for (const Iterator it : oldest_first) {
            if (it->second.due > now && held_ <= may_stay) return;
            held_ -= it->second.nodes.size();
            const std::vector<Node> tree = in_tree_order(std::move(it->second.nodes));
            traces_.erase(it);
            visit(std::span<const Node>(tree));
        }
    }

    // Total for any input: of spans with one id the first is the parent, and spans whose parents form a circle, which
    // ids from the network could make, follow as roots.
    static std::vector<Node> in_tree_order(std::vector<Node> nodes) {
        constexpr std::size_t none = std::numeric_limits<std::size_t>::max();
        std::stable_sort(nodes.begin(), nodes.end(),
                         [](const Node& a, const Node& b) { return a.start_unix_ns < b.start_unix_ns; });
        std::unordered_map<SpanId, std::size_t> by_id;
        for (std::size_t i = 0; i < nodes.size(); ++i) by_id.try_emplace(nodes[i].id, i);

        // Children as linked lists, built from the back so that they come out by start time.
        std::vector<std::size_t> first_child(nodes.size(), none);
        std::vector<std::size_t> next_sibling(nodes.size(), none);
        std::vector<bool> has_parent(nodes.size(), false);
        for (std::size_t i = nodes.size(); i-- > 0;) {
            const auto parent = by_id.find(nodes[i].parent);
            if (nodes[i].parent.is_zero() || parent == by_id.end() || parent->second == i) continue;
            has_parent[i] = true;
            nodes[i].parent_is_missing = false;
            nodes[i].is_last_child = first_child[parent->second] == none;
            next_sibling[i] = std::exchange(first_child[parent->second], i);
        }

        std::vector<Node> ordered;
        ordered.reserve(nodes.size());
        std::vector<bool> is_placed(nodes.size(), false);
        std::vector<std::pair<std::size_t, std::uint32_t>> open;  // node to place, its depth
        const auto place_tree = [&](std::size_t root) {
            open.emplace_back(root, 0);
            while (!open.empty()) {
                const auto [i, depth] = open.back();
                open.pop_back();
                if (depth > 0 && next_sibling[i] != none) open.emplace_back(next_sibling[i], depth);
                if (is_placed[i]) continue;
                is_placed[i] = true;
                nodes[i].depth = depth;
                ordered.push_back(std::move(nodes[i]));
                if (first_child[i] != none) open.emplace_back(first_child[i], depth + 1);
            }
        };
        for (std::size_t i = 0; i < nodes.size(); ++i)
            if (!has_parent[i]) place_tree(i);
        for (std::size_t i = 0; i < nodes.size(); ++i)
            if (!is_placed[i]) place_tree(i);
        return ordered;
    }

    TraceTreeLimits limits_;
    std::unordered_map<TraceId, Trace> traces_;
    std::size_t held_ = 0;
};

}  // namespace otel_ebpf
