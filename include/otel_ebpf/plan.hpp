// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// plan(): Probes x Executable x kernel release -> AttachPlan. Pure: bytes and data in, rows out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/core.h>

#include <otel_ebpf/assignment.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/detail/image.hpp>
#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/site/select.hpp>
#include <otel_ebpf/spec.hpp>
#include <otel_ebpf/types.h>

namespace otel_ebpf {

// One attach point: where, at what cost, how often; or why not.
struct PlanRow {
    std::string probe;
    std::string group;
    std::string symbol;
    std::string program;
    Site at = Site::entry;
    Rate rate = Rate::per_call;
    bool required = true;   // false: the Probe, or its group, works without it
    bool attach = false;
    std::string reason;  // why not attached, or how the site was found
    bool expected = false;  // not attached and nothing is wrong: another Go release, an option that is off, no library
    bool absent = false;    // the executable has no such function
    std::uint64_t vaddr = 0;
    std::uint64_t file_offset = 0;
    site::CostClass cost = site::CostClass::emulated;
    site::Rule rule = site::Rule::stack_check_jump;
    site::FlagsFilter filter = site::FlagsFilter::none;
    std::uint32_t descriptor = 0;  // low half of the attach cookie
};

// A fact as it went into the row.
struct PlanFact {
    std::string name;     // "net/http.Request.Method"
    std::uint16_t index = 0;
    bool is_address = false;
    std::uint64_t value = OE_UNKNOWN;
    bool known = false;
    bool assumed = false; // taken from an earlier patch release
    bool absent = false;  // this version or executable has no such thing, so nothing is wrong
    std::string reason;   // why it is unknown
};

struct AttachPlan {
    std::string executable;
    std::string build_id;
    std::string go_version;
    site::KernelRelease kernel;
    std::vector<PlanRow> rows;
    std::vector<PlanFact> facts;
    oe_exe table_row{};

    [[nodiscard]] bool attaches_anything() const {
        return std::any_of(rows.begin(), rows.end(), [](const PlanRow& row) { return row.attach; });
    }
};

namespace detail {

inline std::string fact_name(const FactQuery& what) {
    switch (what.kind) {
        case FactKind::member_offset: return fmt::format("{}.{}.{}", what.package, what.type, what.member);
        case FactKind::type_size: return fmt::format("sizeof {}.{}", what.package, what.type);
        case FactKind::symbol_address: return std::string(what.type);
        case FactKind::type_address: return fmt::format("type {}.{}", what.package, what.type);
        case FactKind::version_flag:
            return fmt::format("{} in [{}, {})", what.module, what.versions.from.to_string(),
                               what.versions.below.to_string());
    }
    return "unknown";
}

inline oe_site_kind site_kind(Site at) {
    switch (at) {
        case Site::entry: return OE_SITE_ENTRY;
        case Site::next_call: return OE_SITE_NEXT_CALL;
        case Site::after_call: return OE_SITE_AFTER_CALL;
        case Site::returns: return OE_SITE_RETURN;
    }
    return OE_SITE_ENTRY;
}

inline oe_arg_convention arg_convention(Site at, Abi abi) {
    const bool results = at == Site::after_call || at == Site::returns;
    if (abi == Abi::native) return results ? OE_ARGS_NATIVE_RESULTS : OE_ARGS_NATIVE_REGISTERS;
    return results ? OE_ARGS_GO_RESULTS : OE_ARGS_GO_REGISTERS;
}

inline std::uint32_t descriptor_of(Site at, Abi abi, const site::Point& point) {
    return OE_SITE_DESCRIPTOR(
        site_kind(at), point.filter == site::FlagsFilter::stack_check ? OE_FILTER_STACK_CHECK : OE_FILTER_NONE,
        point.cost == site::CostClass::emulated ? OE_COST_EMULATED : OE_COST_STEPPED, arg_convention(at, abi));
}

class Planner {
public:
    Planner(const Executable& executable, std::span<const ProbeSpec> probes, const Assignment& assignment,
            const OptionValues& options, site::KernelRelease kernel)
        : executable_(executable), probes_(probes), assignment_(assignment), options_(options), kernel_(kernel) {}

    AttachPlan run() {
        plan_.executable = executable_.path().string();
        plan_.build_id = executable_.build_id();
        plan_.go_version = executable_.go_version_text();
        plan_.kernel = kernel_;
        find_functions();
        look_up_facts();
        for (const ProbeSpec& probe : probes_) plan_probe(probe);
        fill_groups();
        if (const auto offset = executable_.tls_g_offset()) plan_.table_row.tls_g_offset = *offset;
        return std::move(plan_);
    }

private:
    void find_functions() {
        std::vector<std::string_view> names = {"runtime.morestack", "runtime.morestack_noctxt", "runtime.morestackc",
                                               "runtime.morestack.abi0", "runtime.morestack_noctxt.abi0"};
        const std::size_t morestack_names = names.size();
        for (const ProbeSpec& probe : probes_)
            for (const UprobeSpec& uprobe : probe.uprobes) {
                names.push_back(uprobe.symbol);
                if (!uprobe.callee.empty()) names.push_back(uprobe.callee);
            }
        functions_ = executable_.find_functions(names);
        for (const Function& function : functions_)
            if (std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(morestack_names),
                          function.name) != names.begin() + static_cast<std::ptrdiff_t>(morestack_names))
                morestack_.insert(function.vaddr);
    }

    std::vector<const Function*> copies_of(std::string_view symbol) const {
        std::vector<const Function*> copies;
        for (const Function& function : functions_)
            if (go::is_name_or_vendored(function.name, symbol)) copies.push_back(&function);
        return copies;
    }

    // Copies and parts that the compiler made of a native function, for some of its callers.
    std::string clones_of(std::string_view symbol, Abi abi) const {
        std::string clones;
        if (abi == Abi::go) return clones;
        executable_.for_each_function([&](std::string_view name, std::uint64_t, std::uint64_t) {
            const bool is_clone = name.starts_with(symbol) && (name.substr(symbol.size()).starts_with(".constprop.") ||
                                                               name.substr(symbol.size()).starts_with(".isra.") ||
                                                               name.substr(symbol.size()).starts_with(".part."));
            if (is_clone) clones += fmt::format("{}{}", clones.empty() ? "" : ", ", name);
            return true;
        });
        return clones;
    }

    // Why functions of one name can't be told apart, or "". In Go they are vendored copies; in C and C++ static
    // functions of different files, which have nothing in common but their name.
    static std::string ambiguity_of(const std::vector<const Function*>& copies, Abi abi) {
        if (abi == Abi::go || copies.size() < 2) return {};
        std::string places;
        for (const Function* function : copies)
            places += fmt::format("{}{:#x}", places.empty() ? "" : ", ", function->vaddr);
        return "several functions have this name, at " + places + ": not known which one is meant";
    }

    void look_up_facts() {
        std::fill(std::begin(plan_.table_row.value), std::end(plan_.table_row.value), OE_UNKNOWN);
        for (const FactIndex& fact : assignment_.facts()) {
            PlanFact row;
            row.index = fact.index;
            row.is_address = fact.is_address;
            if (fact.group.empty()) look_up(fact, row);
            else row.name = "group " + fact.group;
            plan_.facts.push_back(std::move(row));
        }
    }

    void look_up(const FactIndex& fact, PlanFact& row) {
        const FactSource* source = nullptr;
        for (const FactSource& candidate : fact.sources)
            if (!executable_.go_version() || candidate.go.contains(*executable_.go_version())) source = &candidate;
        row.name = fact_name((source != nullptr ? source : &fact.sources.front())->what);
        if (source == nullptr) {
            row.reason = "not in Go " + go_release();
            row.absent = true;
            return;
        }
        const auto found = executable_.fact(source->what);
        if (!found) {
            row.reason = found.error().what;
            row.absent = is_absent(found.error());
        } else if (!fact.is_address && found->value >= OE_UNKNOWN) {
            row.reason = fmt::format("{} does not fit 16 bits", found->value);
        } else {
            row.value = found->value;
            row.known = true;
            row.assumed = found->assumed;
            if (fact.is_address) plan_.table_row.addr[fact.index] = found->value;
            else plan_.table_row.value[fact.index] = static_cast<std::uint16_t>(found->value);
        }
    }

    // "" when every fact that the Probe can't do without is known.
    std::string missing_fact(const ProbeSpec& probe) const {
        for (const FactSpec& wanted : probe.facts) {
            if (!wanted.required || !wanted.group.empty()) continue;
            if (executable_.go_version() && !wanted.go.contains(*executable_.go_version())) continue;
            for (std::size_t i = 0; i < plan_.facts.size(); ++i) {
                const auto& sources = assignment_.facts()[i].sources;
                const bool same =
                    std::find(sources.begin(), sources.end(), FactSource{wanted.what, wanted.go}) != sources.end();
                if (same && !plan_.facts[i].known)
                    return fmt::format("fact {} is unknown: {}", plan_.facts[i].name, plan_.facts[i].reason);
            }
        }
        return {};
    }

    // An executable that the Probe's library is not linked into is nothing to worry about.
    void plan_probe(const ProbeSpec& probe) {
        const std::size_t first = plan_.rows.size();
        std::string fatal = missing_fact(probe);
        std::set<std::string> failed_groups;
        for (const UprobeSpec& uprobe : probe.uprobes) {
            const std::size_t before = plan_.rows.size();
            plan_uprobe(probe, uprobe);
            for (std::size_t i = before; i < plan_.rows.size(); ++i) {
                const PlanRow& row = plan_.rows[i];
                if (row.attach || row.expected || !uprobe.required) continue;
                if (uprobe.group.empty()) {
                    if (fatal.empty()) fatal = fmt::format("{}: {}", row.symbol, row.reason);
                } else {
                    failed_groups.insert(uprobe.group);
                }
            }
        }
        const std::span<PlanRow> rows = std::span(plan_.rows).subspan(first);
        const bool not_linked =
            std::all_of(rows.begin(), rows.end(), [](const PlanRow& row) { return row.expected || row.absent; });
        for (PlanRow& row : rows) {
            if (not_linked) row.expected = true;
            if (!row.attach) continue;
            if (!fatal.empty()) skip(row, "the Probe can't work here: " + fatal);
            else if (failed_groups.contains(row.group)) skip(row, "another part of group " + row.group + " is missing");
        }
    }

    static void skip(PlanRow& row, std::string reason) {
        row.attach = false;
        row.reason = std::move(reason);
    }

    void plan_uprobe(const ProbeSpec& probe, const UprobeSpec& uprobe) {
        PlanRow row;
        row.probe = probe.name;
        row.group = uprobe.group;
        row.symbol = uprobe.symbol;
        row.program = uprobe.program;
        row.at = uprobe.at;
        row.rate = uprobe.rate;
        row.required = uprobe.required;
        const auto give_up = [&](std::string reason, bool expected) {
            row.reason = std::move(reason);
            row.expected = expected;
            plan_.rows.push_back(row);
        };
        if (executable_.go_version() && !uprobe.go.contains(*executable_.go_version()))
            return give_up("not in Go " + go_release(), true);
        if (!uprobe.option.empty())
            for (const OptionSpec& option : probe.options)
                if (option.name == uprobe.option && !Assignment::option_value(probe, option, options_))
                    return give_up(fmt::format("option {}.{} is off", probe.name, option.name), true);
        const auto copies = copies_of(uprobe.symbol);
        const std::string clones = clones_of(uprobe.symbol, probe.abi);
        if (copies.empty()) {
            row.absent = true;
            const std::string hint = clones.empty() ? hint_at_symbols(probe.abi) : "; the compiler made " + clones;
            return give_up("no such function: not linked in, or inlined everywhere" + hint, !uprobe.required);
        }
        if (auto ambiguity = ambiguity_of(copies, probe.abi); !ambiguity.empty())
            return give_up(std::move(ambiguity), false);
        for (const Function* function : copies) {
            row.symbol = function->name;
            const auto points = choose(uprobe, probe.abi, *function);
            if (!points) {
                give_up(points.error().what, false);
                continue;
            }
            for (site::Point point : *points) {
                if (!clones.empty()) point.why += "; what runs in " + clones + " is not seen";
                add_point(row, descriptor_of(uprobe.at, probe.abi, point), point);
            }
        }
    }

    std::string hint_at_symbols(Abi abi) const {
        const bool only_exported = abi == Abi::native && executable_.is_stripped();
        return only_exported ? "; the executable is stripped, so only exported functions can be found" : "";
    }

    void add_point(PlanRow row, std::uint32_t descriptor, const site::Point& point) {
        row.vaddr = point.vaddr;
        row.cost = point.cost;
        row.rule = point.rule;
        row.filter = point.filter;
        row.descriptor = descriptor;
        const auto offset = executable_.file_offset(point.vaddr);
        row.attach = offset.has_value();
        row.file_offset = offset.value_or(0);
        row.reason = offset ? point.why : offset.error().what;
        plan_.rows.push_back(std::move(row));
    }

    // An executable's whole text is read for native functions, and for callers of any.
    ExecutableImage& image() {
        if (!image_) image_.emplace(executable_);
        return *image_;
    }

    Result<std::vector<site::Point>> choose(const UprobeSpec& uprobe, Abi abi, const Function& function) {
        std::vector<std::byte> own_bytes;
        site::Code code;
        if (abi == Abi::native) {
            const auto known = image().code_of(function, abi);
            if (!known) return Failure(known.error());
            code = *known;
        } else {
            auto bytes = executable_.code(function);
            if (!bytes) return Failure(bytes.error());
            own_bytes = std::move(*bytes);
            code = {function.vaddr, own_bytes, function.name};
        }
        const site::Arch arch = site_arch(executable_);
        const auto is_morestack = [this](std::uint64_t target) { return morestack_.contains(target); };
        const auto one = [](Result<site::Point> point) {
            return point.map([](const site::Point& chosen) { return std::vector{chosen}; });
        };
        switch (uprobe.at) {
            case Site::entry:
                return one(site::entry(arch, code, kernel_, uprobe.live_registers, is_morestack));
            case Site::next_call:
                return one(site::next_call(arch, code, kernel_, uprobe.live_registers, is_morestack));
            case Site::after_call: return after_call(uprobe, code);
            case Site::returns:
                return site::end_sites(arch, code, image().view(abi), kernel_, uprobe.live_registers);
        }
        return fail(Stage::symbol, "unknown kind of site");
    }

    Result<std::vector<site::Point>> after_call(const UprobeSpec& uprobe, const site::Code& caller) {
        const auto callees = copies_of(uprobe.callee);
        if (callees.empty())
            return fail(Stage::symbol, uprobe.callee + ": no such function: not linked in, or inlined everywhere");
        Result<std::vector<site::Point>> points = std::vector<site::Point>();
        for (const Function* callee : callees) {
            points = site::after_call(site_arch(executable_), caller, callee->vaddr, kernel_, uprobe.live_registers);
            if (points) return points;
        }
        return points;
    }

    [[nodiscard]] std::string go_release() const {
        const auto version = executable_.go_version();
        return version ? version->to_string() : std::string(executable_.go_version_text());
    }

    // Facts that tell the BPF side which groups are there.
    void fill_groups() {
        for (std::size_t i = 0; i < plan_.facts.size(); ++i) {
            const FactIndex& fact = assignment_.facts()[i];
            if (fact.group.empty()) continue;
            const bool attached = std::any_of(plan_.rows.begin(), plan_.rows.end(), [&](const PlanRow& row) {
                return row.attach && row.probe + "/" + row.group == fact.group;
            });
            plan_.table_row.value[fact.index] = attached ? 1 : 0;
            plan_.facts[i].value = attached ? 1 : 0;
            plan_.facts[i].known = true;
        }
    }

    const Executable& executable_;
    std::span<const ProbeSpec> probes_;
    const Assignment& assignment_;
    const OptionValues& options_;
    site::KernelRelease kernel_;
    AttachPlan plan_;
    std::vector<Function> functions_;
    std::set<std::uint64_t> morestack_;
    std::optional<ExecutableImage> image_;
};

}  // namespace detail

// Which instruction each uprobe of the Probes goes to in an executable, and the facts for its table row.
// `assignment` must hold the Probes' numbers (Assignment::add).
[[nodiscard]] inline AttachPlan plan(const Executable& executable, std::span<const ProbeSpec> probes,
                                     const Assignment& assignment, const OptionValues& options,
                                     site::KernelRelease kernel) {
    return detail::Planner(executable, probes, assignment, options, kernel).run();
}

}  // namespace otel_ebpf
