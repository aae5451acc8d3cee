// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The declarative vocabulary: what to hook, which facts the BPF side needs, and how a record becomes a span.
//
// A Probe is constexpr data over the skeleton S that a tool generated from its own .bpf.c. Nothing here loads,
// attaches or allocates, and nothing needs libbpf on the include path.
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include <otel_ebpf/abi.hpp>
#include <otel_ebpf/fact.hpp>
#include <otel_ebpf/span.hpp>
#include <otel_ebpf/types.h>
#include <otel_ebpf/version.hpp>

struct bpf_program;
struct bpf_map;

namespace otel_ebpf {

// The parts of a skeleton made by `bpftool gen skeleton`.
template <class S>
using Progs = std::remove_reference_t<decltype(std::declval<S&>().progs)>;
template <class S>
using Maps = std::remove_reference_t<decltype(std::declval<S&>().maps)>;
template <class S>
using Rodata = std::remove_pointer_t<std::remove_reference_t<decltype(std::declval<S&>().rodata)>>;

template <class S>
concept Skeleton = requires(S& skeleton) {
    skeleton.obj;
    skeleton.progs;
    skeleton.maps;
    skeleton.rodata;
};

// What a point means; the planner chooses the instruction.
enum class Site : std::uint8_t {
    entry,       // the function starts; arguments are live
    next_call,   // entry of the function that is always called next: an operation ended, arguments carry the result
    after_call,  // in `symbol`, right after it called `callee`; result registers are live
    returns,     // `symbol` returns
};

// How often a point is hit; shown by --plan and asserted in tests.
enum class Rate : std::uint8_t { per_call, per_request_h1, per_request_h2, per_request, per_connection };

constexpr std::string_view to_string(Rate rate) {
    switch (rate) {
        case Rate::per_call: return "per call";
        case Rate::per_request_h1: return "per request h1";
        case Rate::per_request_h2: return "per request h2";
        case Rate::per_request: return "per request h1, h2";
        case Rate::per_connection: return "per connection";
    }
    return "unknown";
}

// Integer registers of the Probe's ABI by number: args(1, 2) for the second and the third word of the arguments,
// results(0) for the first word of the results.
template <class... Numbers>
constexpr std::uint16_t args(Numbers... numbers) {
    return static_cast<std::uint16_t>((0U | ... | (1U << numbers)));
}
template <class... Numbers>
constexpr std::uint16_t results(Numbers... numbers) {
    return args(numbers...);
}

// One attach point.
template <Skeleton S>
struct Uprobe {
    std::string_view symbol;                    // as in the symbol table (C++: mangled); Go: every vendored copy too
    Site at = Site::entry;
    bpf_program* Progs<S>::*run = nullptr;
    std::string_view callee = {};               // Site::after_call only
    std::uint16_t live_registers = 0;           // args(...) or results(...) that must be intact at the site
    VersionRange go = {};                       // Go releases in which the symbol exists
    std::string_view group = {};                // a group attaches whole or not at all
    bool required = true;                       // false: the Probe works without it
    std::string_view option = {};               // bool Option of the Probe that turns it on
    Rate rate = Rate::per_call;
};

// A fact and the `const volatile __u16` in .rodata that receives its index (never the offset itself).
template <Skeleton S>
struct Fact {
    std::uint16_t Rodata<S>::*slot = nullptr;
    FactQuery what = {};
    bool required = true;        // false: a handler gives up on the attribute, never on the span
    VersionRange go = {};        // Go releases whose executables have it; others get the sentinel silently
    std::string_view group = {}; // instead of `what`: 1 when this group of uprobes is attached, else 0
};

// A switch that the user may set by name ("PROBE.NAME"). With a slot, its value is written before load.
template <Skeleton S>
struct Option {
    std::string_view name;
    bool by_default = false;
    std::string_view doc = {};
    std::uint8_t Rodata<S>::*slot = nullptr;  // a `const volatile __u8`
};

// The shape of a map that a Probe relies on: its name is checked at compile time, the rest when the object is open.
// Made from a MapSpec<S, Key, Value> (map.hpp).
template <Skeleton S>
struct MapRequirement {
    bpf_map* Maps<S>::*map = nullptr;
    std::uint32_t type = 0;         // BPF_MAP_TYPE_*
    std::uint32_t key_size = 0;
    std::uint32_t value_size = 0;
    std::uint32_t max_entries = 0;  // 0: any
    std::uint32_t flags = 0;
    std::string_view pin = {};  // below /sys/fs/bpf; empty: not shared with other processes
};

// Facts about the process that an event came from; valid during to_span.
struct ProcessInfo {
    std::uint32_t tgid = 0;
    std::uint32_t generation = 0;
    std::string_view executable;   // path
    std::string_view service_name;
    std::string_view go_version;   // "1.26.8"; empty: not a Go program
};

// Names and one-line meanings of the bits in oe_event_header.truncated.
using TruncatedNames = std::span<const std::string_view>;

// Event is the record struct that the BPF side writes; its first member is `struct oe_span_event span`.
template <Skeleton S, class Event>
struct Probe {
    using event_type = Event;

    std::string_view name;
    Abi abi = Abi::go;             // of all its uprobes
    SpanKind kind = SpanKind::internal;
    std::uint16_t Rodata<S>::*event_kind = nullptr;
    std::span<const Uprobe<S>> uprobes = {};
    std::span<const Fact<S>> facts = {};
    std::span<const Option<S>> options = {};
    std::span<const MapRequirement<S>> maps = {};
    std::string_view scope = {};   // instrumentation scope; default: name
    // Fills name, attributes and status; ids, times and kind are set already. false drops the record, counted.
    bool (*to_span)(const Event&, const ProcessInfo&, Span&) = nullptr;
};

// Bytes behind the fixed part of a record, as written by the BPF side.
template <class Event>
std::string_view tail_of(const Event& event) {
    const auto* begin = reinterpret_cast<const char*>(&event);
    const std::size_t size = event.span.header.size_bytes;
    return size > sizeof(Event) ? std::string_view(begin + sizeof(Event), size - sizeof(Event)) : std::string_view();
}

}  // namespace otel_ebpf
