// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Loading of bundles: slots written, maps shared by name, a program that the verifier refuses left out.
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fmt/core.h>

#include <cstdarg>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <otel_ebpf/assignment.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/kernel.hpp>
#include <otel_ebpf/log.hpp>
#include <otel_ebpf/map.hpp>
#include <otel_ebpf/skeleton.hpp>

namespace otel_ebpf::detail {

// What libbpf prints, while somebody wants it: its messages are the only place that names a refused program.
class LibbpfLog {
public:
    LibbpfLog() : previous_(::libbpf_set_print(&LibbpfLog::print)) {
        std::scoped_lock lock(mutex());
        text().clear();
    }
    ~LibbpfLog() { ::libbpf_set_print(previous_); }
    LibbpfLog(const LibbpfLog&) = delete;
    LibbpfLog& operator=(const LibbpfLog&) = delete;

    [[nodiscard]] std::string take() const {
        std::scoped_lock lock(mutex());
        return std::move(text());
    }

private:
    static std::mutex& mutex() {
        static std::mutex instance;
        return instance;
    }
    static std::string& text() {
        static std::string instance;
        return instance;
    }
    static int print(libbpf_print_level level, const char* format, va_list arguments) {
        if (level == LIBBPF_DEBUG) return 0;
        std::string line(256 * 1024, '\0');  // the verifier's log comes as one message
        const int size = std::vsnprintf(line.data(), line.size(), format, arguments);
        line.resize(std::min(line.size() - 1, static_cast<std::size_t>(std::max(size, 0))));
        if (level == LIBBPF_WARN) {
            std::scoped_lock lock(mutex());
            if (text().size() < 1024 * 1024) text() += line;
        }
        log(level == LIBBPF_WARN ? LogLevel::debug : LogLevel::info, line);
        return size;
    }
    libbpf_print_fn_t previous_;
};

// Address of a .rodata variable by name while the bundle is open; nullptr when it has none of at least that size.
inline std::byte* rodata_variable(BundleObject& bundle, std::string_view name, std::size_t size) {
    const btf* types = ::bpf_object__btf(bundle.object());
    const int id = types == nullptr ? -1 : ::btf__find_by_name_kind(types, ".rodata", BTF_KIND_DATASEC);
    if (id < 0) return nullptr;
    const btf_type* section = ::btf__type_by_id(types, static_cast<std::uint32_t>(id));
    const btf_var_secinfo* variables = ::btf_var_secinfos(section);
    for (unsigned i = 0; i < ::btf_vlen(section); ++i) {
        const btf_type* variable = ::btf__type_by_id(types, variables[i].type);
        if (name == ::btf__name_by_offset(types, variable->name_off))
            return variables[i].size >= size ? bundle.rodata() + variables[i].offset : nullptr;
    }
    return nullptr;
}

struct LoadSettings {
    Kernel kernel;
    std::vector<SlotValue> slots;
    std::set<std::string> uprobe_programs;  // those that Probes run
    std::map<std::string, std::uint32_t> map_entries;  // capacities by map name
    std::map<std::string, int> map_fds;                // maps that exist already, by map name
    std::map<std::string, std::uint64_t> variables;    // of 8 bytes in .rodata, where the bundle has them
    std::set<std::string> left_out;                    // programs that are not loaded
};

// One bundle from opened to loaded. Maps of the same name in `loaded_before` are shared, if their shapes agree.
class BundleLoader {
public:
    BundleLoader(BundleObject& bundle, LoadSettings settings, std::vector<BundleObject*> loaded_before)
        : bundle_(bundle), settings_(std::move(settings)), before_(std::move(loaded_before)) {}

    // Programs that the verifier refused, with its log; the rest is loaded.
    [[nodiscard]] Result<std::map<std::string, std::string>> load() {
        std::map<std::string, std::string> refused;
        for (;;) {
            if (auto ready = prepare(refused); !ready) return Failure(ready.error());
            const LibbpfLog messages;
            auto loaded = bundle_.load();
            if (loaded) return refused;
            std::string text = messages.take();
            const std::string program = failed_program(text);
            Error error = std::move(loaded.error());
            error.verifier_log = text;
            if (error.code.value() == EPERM || program.empty() || refused.contains(program))
                return Failure(explain(std::move(error)));
            refused[program] = std::move(text);
            if (refused.size() == settings_.uprobe_programs.size()) return Failure(explain(std::move(error)));
            bundle_.close();
            if (auto opened = bundle_.open(); !opened) return Failure(opened.error());
        }
    }

private:
    static std::string failed_program(std::string_view messages) {
        constexpr std::string_view before = "prog '", after = "': BPF program load failed";
        const std::size_t end = messages.find(after);
        if (end == std::string_view::npos) return {};
        const std::size_t begin = messages.rfind(before, end);
        if (begin == std::string_view::npos) return {};
        return std::string(messages.substr(begin + before.size(), end - begin - before.size()));
    }

    Error explain(Error error) const {
        if (const std::string missing = missing_capabilities(); !missing.empty())
            error.what += " (missing " + missing + ")";
        std::string last = error.verifier_log.substr(0, error.verifier_log.find("-- END PROG LOAD LOG --"));
        if (last.size() > 600) last = "..." + last.substr(last.size() - 600);
        if (!last.empty()) error.what += ": " + last;
        return error;
    }

    Result<void> prepare(const std::map<std::string, std::string>& refused) {
        const std::byte* abi = rodata_variable(bundle_, "oe_abi_version", sizeof(std::uint32_t));
        std::uint32_t version = 0;
        if (abi != nullptr) std::memcpy(&version, abi, sizeof(version));
        if (version != OE_ABI_VERSION)
            return fail(Stage::load,
                        fmt::format("load the BPF object: it was compiled against BPF headers of ABI {}, this "
                                    "library is of ABI {}: rebuild it",
                                    version, OE_ABI_VERSION),
                        EINVAL);
        for (const SlotValue& slot : settings_.slots)
            std::memcpy(bundle_.rodata() + slot.slot.offset, &slot.value, slot.slot.size);
        if (std::byte* guard = rodata_variable(bundle_, "oe_preempt_guard", 1))
            *guard = static_cast<std::byte>(settings_.kernel.preempt_guard);
        for (const auto& [name, value] : settings_.variables)
            if (std::byte* variable = rodata_variable(bundle_, name, sizeof(value)))
                std::memcpy(variable, &value, sizeof(value));
        bpf_program* program = nullptr;
        while ((program = ::bpf_object__next_program(bundle_.object(), program)) != nullptr) {
            const std::string name = ::bpf_program__name(program);
            if (refused.contains(name) || settings_.left_out.contains(name))
                ::bpf_program__set_autoload(program, false);
            if (settings_.kernel.uprobe_multi && settings_.uprobe_programs.contains(name))
                ::bpf_program__set_expected_attach_type(program,
                                                        static_cast<bpf_attach_type>(attach_type_uprobe_multi));
        }
        if (auto checked = check_maps(); !checked) return checked;
        return share_maps();
    }

    Result<void> check_maps() {
        for (const ProbeSpec& probe : bundle_.probes())
            for (const MapNeed& need : probe.maps) {
                bpf_map* map = ::bpf_object__find_map_by_name(bundle_.object(), need.name.c_str());
                const MapShape expected{need.name,       need.type,        need.key_size,
                                        need.value_size, need.max_entries, need.flags};
                const std::string difference = shape_difference(MapShape::of(map), expected);
                if (!difference.empty())
                    return fail(Stage::map, fmt::format("map {} of Probe {}: {}", need.name, probe.name, difference),
                                EINVAL);
                if (need.pin.empty()) continue;
                if (auto pinned = pin(map, "/sys/fs/bpf/" + need.pin); !pinned) return pinned;
            }
        return {};
    }

    // libbpf shares or creates the pin at load; a pin of another shape is refused here, where its difference can be
    // told.
    static Result<void> pin(bpf_map* map, const std::string& path) {
        if (const Fd there{::bpf_obj_get(path.c_str())}) {
            auto shape = MapShape::of(there.get());
            if (!shape) return Failure(shape.error());
            const std::string difference = shape_difference(*shape, MapShape::of(map));
            if (!difference.empty())
                return fail(Stage::map, fmt::format("share pinned map {}: {}", path, difference), EINVAL);
        }
        if (const int error = ::bpf_map__set_pin_path(map, path.c_str()); error != 0)
            return fail_errno(Stage::map, "pin map " + path, -error);
        return {};
    }

    Result<void> share_maps() {
        bpf_map* map = nullptr;
        while ((map = ::bpf_object__next_map(bundle_.object(), map)) != nullptr) {
            const std::string name = ::bpf_map__name(map);
            if (const auto entries = settings_.map_entries.find(name); entries != settings_.map_entries.end())
                ::bpf_map__set_max_entries(map, entries->second);
            if (::bpf_map__is_internal(map)) continue;
            if (const auto given = settings_.map_fds.find(name); given != settings_.map_fds.end()) {
                if (const int error = ::bpf_map__reuse_fd(map, given->second); error != 0)
                    return fail_errno(Stage::map, fmt::format("use the open map {}", name), -error);
                continue;
            }
            for (BundleObject* other : before_) {
                const bpf_map* shared = ::bpf_object__find_map_by_name(other->object(), name.c_str());
                if (shared == nullptr) continue;
                const std::string difference = shape_difference(MapShape::of(map), MapShape::of(shared));
                if (!difference.empty())
                    return fail(Stage::map, fmt::format("share map {} between bundles: {}", name, difference), EINVAL);
                if (const int error = ::bpf_map__reuse_fd(map, ::bpf_map__fd(shared)); error != 0)
                    return fail_errno(Stage::map, fmt::format("share map {} between bundles", name), -error);
                break;
            }
        }
        return {};
    }

    BundleObject& bundle_;
    LoadSettings settings_;
    std::vector<BundleObject*> before_;
};

}  // namespace otel_ebpf::detail
