// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A Profile as a flame graph: one SVG that a browser opens from disk. Below each process are its spans, those of one
// name together, below them the functions that burnt their CPU time; what is widest cost most.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include <otel_ebpf/detail/string_table.hpp>
#include <otel_ebpf/profile/flame_graph_page.hpp>
#include <otel_ebpf/profile/folded.hpp>
#include <otel_ebpf/profile/model.hpp>
#include <otel_ebpf/trace_context.hpp>

namespace otel_ebpf::profile {

struct FlameGraphOptions {
    std::string title = "CPU time";
    std::optional<TraceId> trace = {};  // only samples of this trace
    std::optional<SpanId> span = {};    // only samples of this span
    std::map<std::string, std::string> span_names = {};  // by the hex of the span id; others are shown by id
};

namespace detail {

// A box: the samples whose stacks begin with the boxes above it.
struct FlameNode {
    enum class Kind : std::uint8_t { all, process, span, no_span, user, runtime, kernel };

    std::string name;
    Kind kind = Kind::all;
    std::uint64_t samples = 0;
    std::map<std::pair<Kind, std::string>, std::unique_ptr<FlameNode>> children;

    FlameNode& child(Kind child_kind, std::string child_name) {
        auto& place = children[{child_kind, child_name}];
        if (!place) place = std::make_unique<FlameNode>(FlameNode{std::move(child_name), child_kind, 0, {}});
        return *place;
    }
};

inline FlameNode flame_tree(const Profile& profile, const FlameGraphOptions& options) {
    using Kind = FlameNode::Kind;
    FlameNode root{"all", Kind::all, 0, {}};
    for (const Sample& sample : profile.samples) {
        if (options.trace && sample.trace_id != *options.trace) continue;
        if (options.span && sample.span_id != *options.span) continue;
        std::vector<FlameNode*> path{&root};
        const SampledProcess& process = profile.processes[sample.process];
        path.push_back(&root.child(Kind::process, fmt::format("{} ({})", process.name, process.tgid)));
        if (sample.has_context()) {
            const std::string id = sample.span_id.to_hex();
            const auto name = options.span_names.find(id);
            if (name == options.span_names.end()) {
                path.push_back(&path.back()->child(Kind::span, "(spans)"));
                path.push_back(&path.back()->child(Kind::span, "span " + id));
            } else {
                // All spans of a name are one box, unless few are to be seen.
                const bool is_single = options.trace || options.span;
                path.push_back(&path.back()->child(Kind::span, is_single ? name->second + " · " + id : name->second));
            }
        } else {
            path.push_back(&path.back()->child(Kind::no_span, "(no span)"));
        }
        const auto& stack = profile.stacks[sample.stack];
        for (auto index = stack.rbegin(); index != stack.rend(); ++index) {
            const Location& location = profile.locations[*index];
            const Kind kind = location.is_kernel                         ? Kind::kernel
                              : location.function.starts_with("runtime.") ? Kind::runtime
                                                                          : Kind::user;
            path.push_back(&path.back()->child(kind, frame_name(profile, *index)));
        }
        for (FlameNode* node : path) node->samples += sample.count();
    }
    return root;
}

inline constexpr otel_ebpf::detail::ByteSet plain_in_xml = otel_ebpf::detail::plain_bytes("&<>\"");

// Text of an XML document. What XML 1.0 (2.2) doesn't allow, controls, and what changes the writing direction become
// U+FFFD.
inline std::string xml_text(std::string_view bytes) {
    using namespace otel_ebpf::detail;
    std::string out;
    append_characters(out, bytes, plain_in_xml, [&out](std::uint32_t value, std::string_view text) {
        switch (value) {
            case '&': out += "&amp;"; break;
            case '<': out += "&lt;"; break;
            case '>': out += "&gt;"; break;
            case '"': out += "&quot;"; break;
            default: {
                const bool is_allowed = !is_control(value) && value != 0xfffe && value != 0xffff;
                out += is_allowed && !reorders_text(value) ? text : replacement_character;
            }
        }
    });
    return out;
}

class FlameWriter {
public:
    FlameWriter(const FlameNode& root, std::uint64_t period_ns) : root_(root), period_ns_(period_ns) {}

    std::string write(const FlameGraphOptions& options) {
        if (root_.samples != 0) draw(root_, 0, 0);
        const double height = top + (depth_ + 1) * row + bottom;
        std::string note = root_.samples == 0
                               ? "no samples"
                               : fmt::format("{} samples, {} of CPU", root_.samples, time_of(root_.samples));
        if (options.trace) note += "; only trace " + options.trace->to_hex();
        if (options.span) note += "; only span " + options.span->to_hex();
        if (dropped_ != 0) note += fmt::format("; {} boxes are too narrow to be drawn", dropped_);
        return fmt::format(flame_graph_document, fmt::arg("width", width), fmt::arg("height", height),
                           fmt::arg("percent", 100 * height / width),
                           fmt::arg("title", xml_text(options.title)), fmt::arg("note", note),
                           fmt::arg("boxes", boxes_), fmt::arg("style", flame_graph_style),
                           fmt::arg("script", flame_graph_script), fmt::arg("bottom", height - 24));
    }

private:
    static constexpr double width = 1200, row = 18, top = 72, bottom = 34;  // px
    static constexpr double narrowest = 0.1;                                // px

    // Colours by kind; functions of one name look the same everywhere.
    static std::string style_of(const FlameNode& node) {
        using Kind = FlameNode::Kind;
        switch (node.kind) {
            case Kind::all: return "all";
            case Kind::process: return "process";
            case Kind::span: return "span";
            case Kind::no_span: return "none";
            case Kind::kernel: return "kernel";
            case Kind::runtime: return "runtime";
            case Kind::user: break;
        }
        std::uint32_t hash = 2166136261U;  // FNV-1a
        for (const char character : node.name) hash = (hash ^ static_cast<unsigned char>(character)) * 16777619U;
        return fmt::format("user u{}", hash % 5);
    }

    [[nodiscard]] std::string time_of(std::uint64_t samples) const {
        const double ms = static_cast<double>(samples * period_ns_) / 1e6;
        return ms < 1000 ? fmt::format("{:.0f} ms", ms) : fmt::format("{:.2f} s", ms / 1000);
    }

    void draw(const FlameNode& node, std::uint64_t before, int depth) {
        const double total = static_cast<double>(root_.samples);
        const double x = static_cast<double>(before) / total * width;
        const double w = static_cast<double>(node.samples) / total * width;
        if (w < narrowest) {
            dropped_ += count(node);
            return;
        }
        depth_ = std::max(depth_, depth);
        const double y = top + depth * row;
        const std::string name = xml_text(node.name);
        boxes_ += fmt::format(
            R"(<g class="f {}" data-s="{}" data-d="{}"><title>{}, {} samples, {}, {:.2f} %</title>)"
            R"(<rect x="{:.2f}" y="{}" width="{:.2f}" height="{}" rx="2"/><text x="{:.2f}" y="{}">{}</text></g>)"
            "\n",
            style_of(node), node.samples, depth, name, node.samples, time_of(node.samples),
            100 * static_cast<double>(node.samples) / total, x, y, w, row - 1, x + 4, y + 13, shown(node.name, w));
        std::vector<const FlameNode*> children;
        for (const auto& [key, child] : node.children) children.push_back(child.get());
        std::ranges::sort(children, [](const FlameNode* a, const FlameNode* b) {
            return std::tie(b->samples, a->kind, a->name) < std::tie(a->samples, b->kind, b->name);
        });
        for (const FlameNode* child : children) {
            draw(*child, before, depth + 1);
            before += child->samples;
        }
    }

    static std::uint64_t count(const FlameNode& node) {
        std::uint64_t boxes = 1;
        for (const auto& [key, child] : node.children) boxes += count(*child);
        return boxes;
    }

    // As much of a name as fits; the script does the same when it zooms.
    static std::string shown(std::string_view name, double box_width) {
        constexpr double character = 7.25;  // px, of the font in flame_graph_style
        const auto fits = static_cast<std::size_t>(std::max(0.0, (box_width - 8) / character));
        const std::string text = otel_ebpf::detail::valid_utf8(name);
        std::size_t length = 0;  // characters
        for (const char byte : text) length += (static_cast<unsigned char>(byte) & 0xc0) != 0x80;
        if (length <= fits) return xml_text(text);
        if (fits < 3) return {};
        std::size_t end = 0;
        for (std::size_t characters = 0; end < text.size(); ++end)
            if ((static_cast<unsigned char>(text[end]) & 0xc0) != 0x80 && characters++ == fits - 1) break;
        return xml_text(std::string_view(text).substr(0, end)) + "…";
    }

    const FlameNode& root_;
    std::uint64_t period_ns_;
    std::string boxes_;
    std::uint64_t dropped_ = 0;
    int depth_ = 0;
};

}  // namespace detail

// Self-contained, for a file whose name ends with .svg. Names may hold any bytes.
[[nodiscard]] inline std::string to_flame_graph_svg(const Profile& profile, const FlameGraphOptions& options = {}) {
    const detail::FlameNode root = detail::flame_tree(profile, options);
    return detail::FlameWriter(root, profile.period_ns).write(options);
}

}  // namespace otel_ebpf::profile
