// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Recorder: from the sampler's records to a Profile, with names instead of addresses.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include <otel_ebpf/clock.hpp>
#include <otel_ebpf/context_order.bpf.h>
#include <otel_ebpf/log.hpp>
#include <otel_ebpf/process.hpp>
#include <otel_ebpf/profile/kernel_symbols.hpp>
#include <otel_ebpf/profile/model.hpp>
#include <otel_ebpf/profile/process_image.hpp>
#include <otel_ebpf/sample.h>

namespace otel_ebpf::profile {

// Counts of one process.
struct ProcessCounts {
    std::uint64_t samples = 0;
    std::uint64_t from_sdk = 0;       // samples with a context, by where it came from
    std::uint64_t from_ebpf = 0;
    std::uint64_t trace_differs = 0;  // SDK and eBPF name different traces: a bug somewhere
    std::uint64_t span_differs = 0;   // one trace, different spans: normal
};

struct RecorderStats {
    std::uint64_t samples = 0;
    std::uint64_t from_sdk = 0;
    std::uint64_t from_ebpf = 0;
    std::uint64_t user_frames = 0;
    std::uint64_t unknown_user_frames = 0;    // shown as an address
    std::uint64_t unknown_leaves = 0;         // samples whose innermost frame has no name
    std::uint64_t kernel_frames = 0;
    std::uint64_t unknown_kernel_frames = 0;
    std::uint64_t restored_callers = 0;       // which a walk by frame pointers had missed
    std::uint64_t cut_stacks = 0;             // deeper than OE_SAMPLE_FRAMES
    std::uint64_t astray_stacks = 0;          // end where frame pointers led out of all code
    std::uint64_t failed_stacks = 0;          // the kernel could not walk them
    std::uint64_t cut_labels = 0;             // samples with more or longer labels than a record holds
    std::uint64_t gone_processes = 0;         // exited before their mappings could be read

    [[nodiscard]] std::uint64_t with_context() const { return from_sdk + from_ebpf; }
};

// Give it each sample soon after it was taken: a process that is gone can't be asked any more.
class Recorder {
public:
    // Called with the first sample of each program that a process runs.
    using OnProgram = std::function<void(std::uint32_t tgid)>;

    // hz: the rate that was asked of the Sampler.
    explicit Recorder(unsigned hz, OnProgram on_program = {}) : on_program_(std::move(on_program)) {
        profile_.period_ns = 1'000'000'000 / std::max(hz, 1u);
        profile_.start_unix_ns = now_ns(CLOCK_REALTIME);
        started_ns_ = now_ns(CLOCK_MONOTONIC);
    }

    void add(const oe_sample& sample) {
        clock_.refresh();
        Process& process = process_of(sample);
        count(sample, process.counts);
        const SampleKey key{process.index, sample.tid, stack_of(sample, process), sample.source,
                            std::string(reinterpret_cast<const char*>(&sample.ctx), sizeof(sample.ctx)),
                            labels_of(sample.labels)};
        const auto [position, is_new] = samples_.try_emplace(key, profile_.samples.size());
        if (is_new) profile_.samples.push_back(new_sample(sample, key));
        profile_.samples[position->second].times_unix_ns.push_back(clock_.to_unix_ns(sample.time_ns));
    }

    // What was recorded so far, up to now.
    [[nodiscard]] const Profile& profile() {
        profile_.duration_ns = now_ns(CLOCK_MONOTONIC) - started_ns_;
        return profile_;
    }
    [[nodiscard]] const RecorderStats& stats() const { return stats_; }
    // By index of Profile::processes.
    [[nodiscard]] std::vector<ProcessCounts> counts() const {
        std::vector<ProcessCounts> all(profile_.processes.size());
        for (const auto& [key, process] : processes_) all[process.index] = process.counts;
        return all;
    }

private:
    // tgid, start and exec: one address space.
    using ProcessKey = std::tuple<std::uint32_t, std::uint64_t, std::uint64_t>;
    using Labels = std::vector<std::pair<std::string, std::string>>;
    // process, tid, stack, source, ids, labels
    using SampleKey = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint8_t, std::string, Labels>;
    using Locations = std::vector<std::uint32_t>;

    struct Process {
        std::uint32_t index = 0;
        std::unique_ptr<ProcessImage> image;  // null: gone, or a kernel thread
        std::unordered_map<std::uint64_t, Locations> leaves;   // by address
        std::unordered_map<std::uint64_t, Locations> callers;
        ProcessCounts counts;
    };

    // ---- processes -------------------------------------------------------------------------------------------------

    Process& process_of(const oe_sample& sample) {
        const ProcessKey key{sample.tgid, sample.process_start_ns, sample.exec_id};
        const auto [position, is_new] = processes_.try_emplace(key);
        Process& process = position->second;
        if (!is_new) return process;
        if (on_program_) on_program_(sample.tgid);
        process.index = static_cast<std::uint32_t>(profile_.processes.size());
        const std::string name(sample.comm, ::strnlen(sample.comm, sizeof(sample.comm)));
        profile_.processes.push_back({sample.tgid, name, {}});
        Resource& resource = profile_.processes.back().resource;
        const auto facts = read_process(static_cast<pid_t>(sample.tgid));
        if (facts && is_same_process(*facts, sample)) {
            process.image = std::make_unique<ProcessImage>(sample.tgid, files_);
            const auto executable = files_.open("/proc/" + std::to_string(sample.tgid) + "/exe", facts->executable);
            resource = make_resource(*facts, executable ? (*executable)->go_version() : std::string());
            return process;
        }
        if (sample.user_bytes > 0) ++stats_.gone_processes;
        resource.attributes = {{std::string(semconv::service_name), "unknown_service:" + name},
                               {std::string(semconv::process_pid), std::int64_t{sample.tgid}}};
        return process;
    }

    // Not another one that took its number.
    static bool is_same_process(const ProcessFacts& facts, const oe_sample& sample) {
        const auto ns_per_tick = 1'000'000'000u / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
        const std::uint64_t ticks = sample.process_start_ns / ns_per_tick;
        return facts.start_ticks + 1 >= ticks && facts.start_ticks <= ticks + 1;
    }

    void count(const oe_sample& sample, ProcessCounts& counts) {
        ++stats_.samples;
        ++counts.samples;
        const bool is_sdk = sample.source == OE_CTX_SDK, is_ebpf = sample.source == OE_CTX_EBPF;
        stats_.from_sdk += is_sdk ? 1 : 0;
        stats_.from_ebpf += is_ebpf ? 1 : 0;
        counts.from_sdk += is_sdk ? 1 : 0;
        counts.from_ebpf += is_ebpf ? 1 : 0;
        stats_.cut_labels += sample.labels.cut != 0 || sample.labels.published > sample.labels.count ? 1 : 0;
        const oe_traces_ctx_v1 &won = sample.ctx, &lost = sample.other_ctx;
        if (TraceId::from_bytes(lost.trace_id).is_zero()) return;
        if (std::memcmp(won.trace_id, lost.trace_id, sizeof(won.trace_id)) != 0) ++counts.trace_differs;
        else if (std::memcmp(won.span_id, lost.span_id, sizeof(won.span_id)) != 0) ++counts.span_differs;
    }

    // As the application has set them, in their order.
    static Labels labels_of(const oe_go_labels& labels) {
        Labels out;
        const auto text = [](const auto& field) { return std::string(field, ::strnlen(field, sizeof(field))); };
        for (std::size_t i = 0; i < std::min<std::size_t>(labels.count, OE_GO_LABELS); ++i)
            out.emplace_back(text(labels.label[i].key), text(labels.label[i].value));
        return out;
    }

    static Sample new_sample(const oe_sample& record, const SampleKey& key) {
        Sample sample;
        sample.process = std::get<0>(key);
        sample.tid = record.tid;
        sample.stack = std::get<2>(key);
        sample.labels = std::get<Labels>(key);
        sample.source = record.source == OE_CTX_SDK    ? ContextSource::sdk
                        : record.source == OE_CTX_EBPF ? ContextSource::ebpf
                                                       : ContextSource::none;
        sample.trace_id = TraceId::from_bytes(record.ctx.trace_id);
        sample.span_id = SpanId::from_bytes(record.ctx.span_id);
        return sample;
    }

    // ---- stacks ----------------------------------------------------------------------------------------------------

    // Frames of one part of a stack; counts those that could not be walked, or not to their end.
    template <std::size_t Count>
    std::span<const __u64> frames_in(const __u64 (&stack)[Count], std::int32_t bytes) {
        if (bytes < 0) ++stats_.failed_stacks;
        if (bytes <= 0) return {};
        const std::size_t frames = std::min(static_cast<std::size_t>(bytes) / 8, Count);
        if (frames == Count) ++stats_.cut_stacks;
        return std::span(stack).first(frames);
    }

    std::uint32_t stack_of(const oe_sample& sample, Process& process) {
        Locations stack;
        const auto append = [&stack](const Locations& locations) {
            stack.insert(stack.end(), locations.begin(), locations.end());
        };
        bool is_leaf = true;
        for (const std::uint64_t address : frames_in(sample.kernel_stack, sample.kernel_bytes)) {
            const std::uint32_t location = kernel_location(address, std::exchange(is_leaf, false));
            ++stats_.kernel_frames;
            stats_.unknown_kernel_frames += is_unknown(location) ? 1 : 0;
            stack.push_back(location);
        }
        auto user = frames_in(sample.user_stack, sample.user_bytes);
        if (user.size() > 1 && user.back() == 0) user = user.first(user.size() - 1);  // the outermost frame's caller
        for (std::size_t i = 0; i < user.size(); ++i) {
            if (process.image && !process.image->is_code(user[i])) {
                ++stats_.astray_stacks;
                break;
            }
            append(user_locations(process, user[i], i > 0));
            if (i != 0 || !process.image) continue;
            const auto hidden =
                process.image->hidden_caller(user[0], sample.user_top, user.size() > 1 ? user[1] : 0);
            if (!hidden) continue;
            ++stats_.restored_callers;
            append(user_locations(process, *hidden, true));
        }
        if (stack.empty()) return 0;
        stats_.unknown_leaves += is_unknown(stack.front()) ? 1 : 0;
        const auto [position, is_new] = stacks_.try_emplace(stack, static_cast<std::uint32_t>(profile_.stacks.size()));
        if (is_new) profile_.stacks.push_back(std::move(stack));
        return position->second;
    }

    [[nodiscard]] bool is_unknown(std::uint32_t location) const {
        return profile_.locations[location].function.empty();
    }

    const Locations& user_locations(Process& process, std::uint64_t address, bool is_return) {
        auto& known = is_return ? process.callers : process.leaves;
        const auto [position, is_new] = known.try_emplace(address);
        Locations& locations = position->second;
        if (is_new) locations = resolve(process, address, is_return);
        ++stats_.user_frames;
        stats_.unknown_user_frames += is_unknown(locations.front()) ? 1 : 0;
        return locations;
    }

    Locations resolve(Process& process, std::uint64_t address, bool is_return) {
        ResolvedAddress resolved;
        if (process.image) resolved = process.image->resolve(address, is_return);
        const std::uint32_t mapping = resolved.range != nullptr ? mapping_of(*resolved.range, resolved.file.get()) : 0;
        if (resolved.frames.empty()) resolved.frames.emplace_back();
        Locations locations;
        for (CodeFrame& frame : resolved.frames)
            locations.push_back(intern({mapping, address, std::move(frame.function), std::move(frame.file), frame.line,
                                        false}));
        return locations;
    }

    std::uint32_t kernel_location(std::uint64_t address, bool is_leaf) {
        if (!kernel_symbols_) {
            kernel_symbols_ = KernelSymbols::read();
            if (!*kernel_symbols_) log(LogLevel::warning, kernel_symbols_->error().what);
        }
        std::optional<std::string_view> name;
        if (*kernel_symbols_) name = (*kernel_symbols_)->find(is_leaf ? address : address - 1);
        return intern({0, address, std::string(name.value_or("")), {}, 0, true});
    }

    std::uint32_t intern(Location location) {
        LocationKey key{location.mapping, location.address, location.is_kernel, location.function, location.line};
        const auto [position, is_new] =
            locations_.try_emplace(std::move(key), static_cast<std::uint32_t>(profile_.locations.size()));
        if (is_new) profile_.locations.push_back(std::move(location));
        return position->second;
    }

    // 0 for memory without a file.
    std::uint32_t mapping_of(const MappedRange& range, const CodeFile* file) {
        if (range.path.empty()) return 0;
        Mapping mapping{range.path, range.start, range.limit, range.file_offset, {}, {}, {}};
        if (file != nullptr) {
            mapping.gnu_build_id = file->build_ids().gnu;
            mapping.go_build_id = file->build_ids().go;
            mapping.htlhash = file->build_ids().htlhash;
        }
        MappingKey key{mapping.path, mapping.start, mapping.limit, mapping.file_offset, mapping.htlhash};
        const auto [position, is_new] =
            mappings_.try_emplace(std::move(key), static_cast<std::uint32_t>(profile_.mappings.size()));
        if (is_new) profile_.mappings.push_back(std::move(mapping));
        return position->second;
    }

    using LocationKey = std::tuple<std::uint32_t, std::uint64_t, bool, std::string, std::int64_t>;
    using MappingKey = std::tuple<std::string, std::uint64_t, std::uint64_t, std::uint64_t, std::string>;

    OnProgram on_program_;
    Profile profile_;
    RecorderStats stats_;
    ClockOffset clock_;
    std::uint64_t started_ns_ = 0;
    CodeFiles files_;
    std::optional<Result<KernelSymbols>> kernel_symbols_;
    std::map<ProcessKey, Process> processes_;
    std::map<LocationKey, std::uint32_t> locations_;
    std::map<MappingKey, std::uint32_t> mappings_;
    std::map<Locations, std::uint32_t> stacks_;
    std::map<SampleKey, std::size_t> samples_;
};

}  // namespace otel_ebpf::profile
