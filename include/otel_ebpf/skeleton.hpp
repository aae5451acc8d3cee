// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Bundle: a generated skeleton and the Probes that its .bpf.c includes, with the skeleton's type erased.
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fmt/core.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/probe.hpp>
#include <otel_ebpf/spec.hpp>

namespace otel_ebpf {

// "" when a Probe is consistent, else the first thing that is wrong with it. Usable in static_assert.
template <Skeleton S, class Event>
constexpr std::string_view problem_in(const Probe<S, Event>& probe) {
    if (probe.name.empty()) return "the Probe has no name";
    if (probe.event_kind == nullptr) return "the Probe has no event_kind slot";
    if (probe.to_span == nullptr) return "the Probe has no to_span function";
    if (probe.uprobes.empty()) return "the Probe has no uprobes";
    for (const auto& uprobe : probe.uprobes) {
        if (uprobe.symbol.empty()) return "a uprobe has no symbol";
        if (uprobe.run == nullptr) return "a uprobe has no program";
        if (uprobe.at == Site::after_call && uprobe.callee.empty()) return "a uprobe at Site::after_call has no callee";
        if (uprobe.at != Site::after_call && !uprobe.callee.empty()) return "only Site::after_call takes a callee";
        const bool results = uprobe.at == Site::after_call || uprobe.at == Site::returns;
        if (probe.abi == Abi::native && uprobe.live_registers >> (results ? 2 : 6) != 0)
            return "a native uprobe names a register beyond args(0..5) or results(0, 1)";
        if (uprobe.option.empty()) continue;
        bool declared = false;
        for (const auto& option : probe.options) declared = declared || option.name == uprobe.option;
        if (!declared) return "a uprobe names an option that the Probe does not declare";
    }
    for (const auto& fact : probe.facts) {
        if (fact.slot == nullptr) return "a fact has no slot";
        if (fact.group.empty() == fact.what.type.empty() && fact.what.kind != FactKind::version_flag)
            return "a fact needs either a query or a group";
        if (fact.group.empty()) continue;
        bool declared = false;
        for (const auto& uprobe : probe.uprobes) declared = declared || uprobe.group == fact.group;
        if (!declared) return "a fact names a group that no uprobe belongs to";
    }
    return {};
}

namespace detail {

// Facts that the goroutine headers need, whatever Probes a bundle has.
template <Skeleton S>
std::vector<Fact<S>> goroutine_facts() {
    std::vector<Fact<S>> facts;
    if constexpr (requires { &Rodata<S>::oe_f_g_goid; })
        facts.push_back({&Rodata<S>::oe_f_g_goid, offset_of("std", "runtime", "g", "goid")});
    if constexpr (requires { &Rodata<S>::oe_f_g_panic; })
        facts.push_back({&Rodata<S>::oe_f_g_panic, offset_of("std", "runtime", "g", "_panic"), false});
    if constexpr (requires { &Rodata<S>::oe_f_g_parent_goid; })
        facts.push_back({&Rodata<S>::oe_f_g_parent_goid, offset_of("std", "runtime", "g", "parentGoid"), false,
                         from_version(1, 21)});
    if constexpr (requires { &Rodata<S>::oe_f_g_m; }) {
        facts.push_back({&Rodata<S>::oe_f_g_m, offset_of("std", "runtime", "g", "m"), false});
        facts.push_back({&Rodata<S>::oe_f_m_curg, offset_of("std", "runtime", "m", "curg"), false});
    }
    return facts;
}

// The seam between typed skeletons and the Manager.
class BundleObject {
public:
    virtual ~BundleObject() = default;
    [[nodiscard]] virtual Result<void> open() = 0;  // needs no privilege
    [[nodiscard]] virtual Result<void> load() = 0;
    virtual void close() = 0;
    [[nodiscard]] virtual bpf_object* object() = 0;    // null while closed
    [[nodiscard]] virtual std::byte* rodata() = 0;  // writable until load()
    [[nodiscard]] virtual const std::vector<ProbeSpec>& probes() const = 0;  // after open()
};

template <Skeleton S, class... Events>
class TypedBundle final : public BundleObject {
public:
    explicit TypedBundle(const Probe<S, Events>&... probes) : typed_(probes...) {}
    ~TypedBundle() override { close(); }
    TypedBundle(const TypedBundle&) = delete;
    TypedBundle& operator=(const TypedBundle&) = delete;

    [[nodiscard]] Result<void> open() override {
        if (is_loaded_) return fail(Stage::open, "open a bundle: a Manager has loaded it: make one for each Manager", EBUSY);
        if (skeleton_ != nullptr) return {};
        skeleton_ = S::open(nullptr);
        if (skeleton_ == nullptr) return fail_errno(Stage::open, "open the BPF object");
        probes_.clear();
        std::apply([this](const auto&... probe) { (probes_.push_back(erase(probe)), ...); }, typed_);
        return {};
    }
    [[nodiscard]] Result<void> load() override {
        const int error = S::load(skeleton_);
        if (error != 0) return fail_errno(Stage::load, "load the BPF object", -error);
        is_loaded_ = true;
        return {};
    }
    void close() override {
        if (skeleton_ != nullptr) S::destroy(std::exchange(skeleton_, nullptr));
        is_loaded_ = false;
    }
    [[nodiscard]] bpf_object* object() override { return skeleton_ != nullptr ? skeleton_->obj : nullptr; }
    [[nodiscard]] std::byte* rodata() override { return reinterpret_cast<std::byte*>(skeleton_->rodata); }
    [[nodiscard]] const std::vector<ProbeSpec>& probes() const override { return probes_; }
    [[nodiscard]] S& skeleton() { return *skeleton_; }

private:
    template <class Member>
    Slot slot(Member Rodata<S>::*member) const {
        if (member == nullptr) return {};
        const auto* base = reinterpret_cast<const char*>(skeleton_->rodata);
        const auto* address = reinterpret_cast<const char*>(&(skeleton_->rodata->*member));
        const auto offset = static_cast<std::size_t>(address - base);
        return {variable_name(offset), offset, sizeof(Member)};
    }

    // Name of the .rodata variable at an offset, from the object's BTF.
    std::string variable_name(std::size_t offset) const {
        const btf* types = ::bpf_object__btf(skeleton_->obj);
        const int id = ::btf__find_by_name_kind(types, ".rodata", BTF_KIND_DATASEC);
        if (id < 0) return {};
        const btf_type* section = ::btf__type_by_id(types, static_cast<std::uint32_t>(id));
        const btf_var_secinfo* variables = ::btf_var_secinfos(section);
        for (unsigned i = 0; i < ::btf_vlen(section); ++i) {
            if (variables[i].offset != offset) continue;
            return ::btf__name_by_offset(types, ::btf__type_by_id(types, variables[i].type)->name_off);
        }
        return {};
    }

    template <class Event>
    ProbeSpec erase(const Probe<S, Event>& probe) const {
        ProbeSpec spec;
        spec.name = probe.name;
        spec.abi = probe.abi;
        spec.kind = probe.kind;
        spec.scope = probe.scope.empty() ? probe.name : probe.scope;
        spec.event_kind = slot(probe.event_kind);
        spec.event_bytes = sizeof(Event);
        for (const Uprobe<S>& uprobe : probe.uprobes)
            spec.uprobes.push_back({std::string(uprobe.symbol), uprobe.at,
                                    ::bpf_program__name(skeleton_->progs.*uprobe.run), std::string(uprobe.callee),
                                    uprobe.live_registers, uprobe.go, std::string(uprobe.group), uprobe.required,
                                    std::string(uprobe.option), uprobe.rate});
        const auto add_fact = [&](const Fact<S>& fact) {
            spec.facts.push_back({slot(fact.slot), fact.what, fact.required, fact.go, std::string(fact.group)});
        };
        if (probe.abi == Abi::go)
            for (const Fact<S>& fact : goroutine_facts<S>()) add_fact(fact);
        for (const Fact<S>& fact : probe.facts) add_fact(fact);
        for (const Option<S>& option : probe.options)
            spec.options.push_back({std::string(option.name), option.by_default, std::string(option.doc),
                                    slot(option.slot)});
        for (const MapRequirement<S>& map : probe.maps)
            spec.maps.push_back({::bpf_map__name(skeleton_->maps.*map.map), map.type, map.key_size, map.value_size,
                                 map.max_entries, map.flags, std::string(map.pin)});
        spec.to_span = [to_span = probe.to_span](std::span<const std::byte> record, const ProcessInfo& process,
                                                 Span& span) {
            return to_span(*reinterpret_cast<const Event*>(record.data()), process, span);
        };
        return spec;
    }

    std::tuple<Probe<S, Events>...> typed_;
    S* skeleton_ = nullptr;
    bool is_loaded_ = false;
    std::vector<ProbeSpec> probes_;
};

}  // namespace detail

// A handle on one skeleton and its Probes; copies refer to the same object.
class Bundle {
public:
    explicit Bundle(std::shared_ptr<detail::BundleObject> object) : object_(std::move(object)) {}
    [[nodiscard]] detail::BundleObject& operator*() const { return *object_; }
    [[nodiscard]] detail::BundleObject* operator->() const { return object_.get(); }

private:
    std::shared_ptr<detail::BundleObject> object_;
};

// A Bundle that still knows its skeleton, for a tool with maps and programs of its own.
template <Skeleton S>
class BundleOf : public Bundle {
public:
    template <class Object>
    explicit BundleOf(std::shared_ptr<Object> object)
        : Bundle(object), skeleton_([object]() -> S& { return object->skeleton(); }) {}

    // Maps are usable and programs can be attached once Manager::open has returned, and while that Manager lives.
    [[nodiscard]] S& skeleton() const { return skeleton_(); }

private:
    std::function<S&()> skeleton_;
};

// The Probes of one skeleton. A Probe is data: nothing is opened, loaded or attached here.
template <Skeleton S, class... Events>
[[nodiscard]] BundleOf<S> bundle(const Probe<S, Events>&... probes) {
    static_assert(sizeof...(Events) > 0, "a bundle needs at least one Probe");
    static_assert((std::is_trivially_copyable_v<Probe<S, Events>> && ...), "a Probe is data without a life cycle");
    static_assert((std::is_aggregate_v<Probe<S, Events>> && ...), "a Probe is an aggregate");
    return BundleOf<S>(std::make_shared<detail::TypedBundle<S, Events...>>(probes...));
}

}  // namespace otel_ebpf
