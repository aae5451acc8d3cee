// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Manager: the life cycle. Loads bundles once, attaches them to executables, reads records, detaches.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include <otel_ebpf/assignment.hpp>
#include <otel_ebpf/detail/loader.hpp>
#include <otel_ebpf/detail/publisher.hpp>
#include <otel_ebpf/detail/span_reader.hpp>
#include <otel_ebpf/event_stream.hpp>
#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/executable_cache.hpp>
#include <otel_ebpf/kernel.hpp>
#include <otel_ebpf/link.hpp>
#include <otel_ebpf/map.hpp>
#include <otel_ebpf/plan.hpp>
#include <otel_ebpf/process.hpp>
#include <otel_ebpf/publication.hpp>
#include <otel_ebpf/report.hpp>
#include <otel_ebpf/skeleton.hpp>
#include <otel_ebpf/target.hpp>

namespace otel_ebpf {

struct ManagerConfig {
    std::vector<Bundle> bundles;
    std::vector<Target> targets = {};
    std::shared_ptr<Sink> sink = {};      // null: spans are counted only
    OptionValues options = {};            // "net_http.route_site" -> false
    // Of current spans, for targets that don't say; needs a bundle with publish.programs.h. `off`, with no target that
    // says otherwise, leaves the shared map alone.
    Publication publication = Publication::jit;
    std::string bpffs_root = {};          // of the shared map; "": OTEL_EBPF_BPF_FS_PATH, else /sys/fs/bpf
    std::uint32_t events_bytes = 0;       // ring buffer, a power of two; 0: as compiled (4 MiB). Counts twice in RSS
    std::uint32_t max_executables = 0;    // rows of the executable table; 0: as compiled (1,024)
    std::chrono::milliseconds interval{20};  // between two reads of the ring buffer
};

// Starts no thread: drive it by run(), or by poll() when fd() is readable. All members but post() belong to the thread
// that drives it. Needs CAP_BPF and CAP_PERFMON, and CAP_SYS_PTRACE for other users' processes.
class Manager {
public:
    // Loads the bundles and attaches to the targets. Fails when nothing could be loaded or when a target given by the
    // caller can't be instrumented at all; parts that failed are rows of report(). On failure nothing stays attached.
    [[nodiscard]] static Result<std::unique_ptr<Manager>> open(ManagerConfig config) {
        std::unique_ptr<Manager> manager(new Manager(std::move(config)));
        if (auto ready = manager->load(); !ready) return Failure(std::move(ready.error()));
        const auto begin = now_ns(CLOCK_MONOTONIC);
        for (const Target& target : manager->config_.targets)
            if (auto added = manager->add(target); !added) return Failure(std::move(added.error()));
        manager->stats_.attach_ms = static_cast<double>(now_ns(CLOCK_MONOTONIC) - begin) / 1e6;
        return manager;
    }

    Manager(const Manager&) = delete;
    Manager& operator=(const Manager&) = delete;
    // Closes the bundles too: skeletons, maps and programs of theirs end here.
    ~Manager() {
        stop();
        for (detail::BundleObject* bundle : opened_) bundle->close();
    }

    // Adds a process or an executable. An executable that is attached already costs no further link.
    [[nodiscard]] Result<void> add(const Target& target) {
        if (const auto* process = std::get_if<ProcessTarget>(&target))
            return add_process(process->pid, process->publication.value_or(config_.publication));
        const auto& file = std::get<ExecutableTarget>(target);
        return follow(file.path, file.publication.value_or(config_.publication));
    }

    // Stops instrumenting a process; its executable's links are closed with its last process.
    void remove(pid_t pid) {
        const auto tgid = static_cast<std::uint32_t>(pid);
        const auto position = processes_.find(tgid);
        if (position == processes_.end()) return;
        const AttachedProcess process = position->second;
        close_row(tgid, process);
        release(tgid, process.generation);
        publication_ends(tgid);
        drain();  // only now: what was under way when its links closed is written
        reader_.remove_process(tgid, process.generation);
    }

    // Changes how the current spans of a target's process are published, from now on. An error says why it is not as
    // asked for; report() has what is active.
    [[nodiscard]] Result<void> set_publication(pid_t pid, Publication wanted) {
        const auto tgid = static_cast<std::uint32_t>(pid);
        const auto process = processes_.find(tgid);
        if (process == processes_.end())
            return fail(Stage::target, fmt::format("publish spans of PID {}: it is no target", pid), ESRCH);
        AttachedExecutable& executable = *executables_.at(process->second.executable);
        const auto [active, reason] = publish(executable, wanted);
        oe_process row{};
        if (::bpf_map_lookup_elem(processes_fd_, &tgid, &row) != 0 || row.generation != process->second.generation)
            return fail(Stage::target, fmt::format("publish spans of PID {}: it has ended", pid), ESRCH);
        const bool was_eager = row.publication == OE_PUBLISH_EAGER;
        row.publication = static_cast<std::uint8_t>(active);
        if (::bpf_map_update_elem(processes_fd_, &tgid, &row, BPF_EXIST) != 0)
            return fail_errno(Stage::map, fmt::format("publish spans of PID {}: change oe_processes", pid));
        if (was_eager && active != Publication::eager) publisher_.retract(tgid);
        for (TargetRow& target : report_.targets) {
            if (target.pid != pid || target.exited) continue;
            target.publication = active;
            target.publication_reason = reason;
        }
        if (active == wanted) return {};
        return fail(Stage::unsupported, fmt::format("publish spans of PID {}: {}: {}", pid, to_string(active), reason),
                    ENOTSUP);
    }

    // Readable whenever poll() has something to look at.
    [[nodiscard]] int fd() const { return timer_.get(); }

    // Waits up to `timeout` for the next read of the ring buffer, then hands finished spans to the sink and runs what
    // was posted. Returns the number of records read.
    int poll(std::chrono::milliseconds timeout) {
        pollfd descriptor{timer_.get(), POLLIN, 0};
        if (::poll(&descriptor, 1, static_cast<int>(timeout.count())) > 0) {
            std::uint64_t expirations = 0;
            [[maybe_unused]] const auto size = ::read(timer_.get(), &expirations, sizeof(expirations));
        }
        run_posted();
        publisher_.poll();
        return drain();
    }

    // poll() until a stop is requested; returns with everything attached still in place.
    void run(const std::stop_token& stop) {
        while (!stop.stop_requested()) poll(config_.interval);
    }

    void run_for(std::chrono::milliseconds duration) {
        const auto end = std::chrono::steady_clock::now() + duration;
        while (std::chrono::steady_clock::now() < end) poll(config_.interval);
    }

    // Queues a change for the thread that drives the Manager. Callable from any thread.
    void post(std::function<void(Manager&)> change) {
        std::scoped_lock lock(posted_mutex_);
        posted_.push_back(std::move(change));
    }

    // Detaches everything, reads what is left and flushes the sink. Bounded; may be called again.
    void stop(std::chrono::milliseconds flush_timeout = std::chrono::milliseconds(400)) {
        if (stopped_) return;
        stopped_ = true;
        const auto begin = now_ns(CLOCK_MONOTONIC);
        for (const auto& [identity, executable] : executables_) write_row(*executable);  // nobody joins any more
        for (const auto& [tgid, process] : processes_) ::bpf_map_delete_elem(processes_fd_, &tgid);
        stats_programs();
        stats_publication();
        for (const auto& [identity, executable] : executables_) executable->links.clear();
        process_links_.clear();
        publisher_.stop();
        if (events_) {
            while (drain() > 0) {}
            stats_.unfinished = open_spans();
        }
        executables_.clear();  // only now: the last records need to know whose they are
        if (config_.sink) config_.sink->flush(flush_timeout);
        stats_.stop_ms = static_cast<double>(now_ns(CLOCK_MONOTONIC) - begin) / 1e6;
    }

    [[nodiscard]] const Report& report() const { return report_; }
    // Of traces_ctx_v1, shared or private, for a sampler in the same program; -1: publication is off. The Manager's.
    [[nodiscard]] int context_map_fd() const { return publisher_.context_map_fd(); }
    [[nodiscard]] const Kernel& kernel() const { return kernel_; }

    // All counters as of now.
    [[nodiscard]] Stats stats() {
        if (stats_map_) {
            for (std::uint32_t i = 0; i < OE_STAT_MAX; ++i)
                if (const auto sum = stats_map_->sum_per_cpu(i)) stats_.kernel[i] = *sum;
        }
        if (config_.sink) stats_.sink = config_.sink->stats();
        if (!stopped_) {
            stats_programs();
            stats_publication();
        }
        return stats_;
    }

private:
    // Generations that the kernel side gives out have bit 31 clear.
    static constexpr std::uint32_t own_generation = 0x80000000U;

    struct AttachedExecutable {
        std::shared_ptr<const Executable> file;
        std::string path;          // as the user or the kernel named it
        std::uint32_t row = 0;
        bool followed = false;
        Publication wanted = Publication::off;       // of the target by which it is followed
        Publication publication = Publication::off;  // of processes that join
        bool eager = false;        // the scheduler is hooked
        pid_t only_pid = 0;        // the links see this process only; 0: every process of the file
        std::uint32_t round = 0;   // of the links, see OE_SITE_DESCRIPTOR
        AttachPlan planned;
        std::vector<Link> links;
        std::set<std::uint32_t> tgids;
    };

    struct AttachedProcess {
        std::uint32_t generation = 0;
        FileIdentity executable;
    };

    explicit Manager(ManagerConfig config)
        : config_(std::move(config)),
          publisher_(report_),
          reader_(config_.sink, [this](std::uint32_t tgid, std::uint32_t generation) {
              return joined_process(tgid, generation);
          }) {}

    // ---- load ------------------------------------------------------------------------------------------------------

    Result<void> load() {
        const auto begin = now_ns(CLOCK_MONOTONIC);
        if (config_.bundles.empty()) return fail(Stage::open, "open a Manager: no bundles given", EINVAL);
        kernel_ = Kernel::detect();
        if (auto allowed = check_prerequisites(kernel_); !allowed) return allowed;
        std::vector<ProbeSpec> all;
        for (const Bundle& bundle : config_.bundles) {
            if (auto opened = bundle->open(); !opened) return Failure(opened.error());
            opened_.push_back(&*bundle);
            all.insert(all.end(), bundle->probes().begin(), bundle->probes().end());
        }
        if (const auto unknown = unknown_option(all, config_.options))
            return fail(Stage::unsupported, "set an option: " + *unknown, EINVAL);
        bool publish = config_.publication != Publication::off;
        for (const Target& target : config_.targets)
            publish |= std::visit([](const auto& one) { return one.publication.value_or(Publication::off); }, target) !=
                       Publication::off;
        if (publish && publishes()) publisher_.open(config_.bpffs_root);
        const auto opened = now_ns(CLOCK_MONOTONIC);
        stats_.open_ms = static_cast<double>(opened - begin) / 1e6;
        std::vector<detail::BundleObject*> loaded;
        for (const Bundle& bundle : config_.bundles) {
            if (auto done = load_bundle(*bundle, loaded); !done) return done;
            loaded.push_back(&*bundle);
        }
        stats_.load_ms = static_cast<double>(now_ns(CLOCK_MONOTONIC) - opened) / 1e6;
        return connect();
    }

    Result<void> load_bundle(detail::BundleObject& bundle, const std::vector<detail::BundleObject*>& before) {
        auto slots = assignment_.add(bundle.probes(), config_.options);
        if (!slots) return Failure(slots.error());
        detail::LoadSettings settings{kernel_, std::move(*slots), {}, {}, {}, {}, {}};
        publisher_.add_to(settings);
        for (const ProbeSpec& probe : bundle.probes())
            for (const UprobeSpec& uprobe : probe.uprobes) settings.uprobe_programs.insert(uprobe.program);
        if (config_.events_bytes != 0) settings.map_entries["oe_events"] = config_.events_bytes;
        if (config_.max_executables != 0) settings.map_entries["oe_exes"] = config_.max_executables;
        auto refused = detail::BundleLoader(bundle, std::move(settings), before).load();
        if (!refused) return Failure(refused.error());
        for (const auto& [program, verifier_log] : *refused) {
            refused_programs_.insert(program);
            report_.messages.push_back(
                fmt::format("load program {}: refused by the verifier: {}", program, verifier_log));
        }
        for (const ProbeSpec& probe : bundle.probes()) {
            const std::uint16_t kind = assignment_.kind_of(probe);
            if (!kinds_.insert(kind).second) continue;  // another bundle has it
            if (owners_.contains(probe.name))
                return fail(Stage::open, fmt::format("load Probe {}: another Probe has that name", probe.name), EEXIST);
            reader_.add_probe(kind, probe);
            probes_.push_back(probe);
            owners_[probe.name] = &bundle;
        }
        return {};
    }

    Result<void> connect() {
        bpf_object* const object = config_.bundles.front()->object();
        const auto map_fd = [object](const char* name) { return ::bpf_object__find_map_fd_by_name(object, name); };
        exes_fd_ = map_fd("oe_exes");
        processes_fd_ = map_fd("oe_processes");
        const int events = map_fd("oe_events");
        if (exes_fd_ < 0 || processes_fd_ < 0 || events < 0)
            return fail(Stage::map,
                        "open a Manager: the first bundle's BPF object lacks oe_exes, oe_processes or oe_events: "
                        "include a *.programs.h",
                        ENOENT);
        const bpf_map* exes = ::bpf_object__find_map_by_name(object, "oe_exes");
        const std::uint32_t rows = ::bpf_map__max_entries(exes);
        for (std::uint32_t row = rows; row > 0; --row) free_rows_.push_back(row - 1);
        if (auto stats = Map<std::uint32_t, std::uint64_t>::open(
                map_fd("oe_stats"), {"oe_stats", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, OE_STAT_MAX, 0}))
            stats_map_ = *stats;
        else
            return Failure(stats.error());
        auto stream = EventStream::open(events, [this](std::span<const std::byte> record) { on_record(record); });
        if (!stream) return Failure(stream.error());
        events_ = std::move(*stream);
        for (const auto& [program, tracepoint] :
             {std::pair{"oe_process_exit", "sched_process_exit"}, {"oe_process_exec", "sched_process_exec"}}) {
            const bpf_program* found = ::bpf_object__find_program_by_name(object, program);
            if (found == nullptr)
                return fail(Stage::load, fmt::format("attach {}: the first bundle lacks it: include "
                                                     "<otel_ebpf/process.programs.h>", program), ENOENT);
            auto link = Link::raw_tracepoint(found, tracepoint);
            if (!link) return Failure(link.error());
            process_links_.push_back(std::move(*link));
        }
        publisher_.connect(object);
        if (const bpf_program* found = find_program("oe_thread_exit")) {
            auto link = Link::raw_tracepoint(found, "sched_process_exit");
            if (!link) return Failure(link.error());
            process_links_.push_back(std::move(*link));
        }
        timer_ = Fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
        if (!timer_) return fail_errno(Stage::open, "create a timer");
        const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(config_.interval).count();
        if (nanoseconds <= 0) return fail(Stage::open, "set a timer: ManagerConfig::interval must be above 0", EINVAL);
        itimerspec period{};
        period.it_interval = {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
        period.it_value = period.it_interval;
        if (::timerfd_settime(timer_.get(), 0, &period, nullptr) != 0) return fail_errno(Stage::open, "set a timer");
        return {};
    }

    // A program that any bundle may have; null when none has it.
    const bpf_program* find_program(const char* name) const {
        for (const Bundle& bundle : config_.bundles)
            if (const bpf_program* found = ::bpf_object__find_program_by_name(bundle->object(), name)) return found;
        return nullptr;
    }

    // ---- targets ---------------------------------------------------------------------------------------------------

    Result<void> add_process(pid_t pid, Publication publication) {
        const auto tgid = static_cast<std::uint32_t>(pid);
        if (is_registered(tgid)) return {};
        auto facts = read_process(pid);
        if (!facts) return Failure(facts.error());
        auto attached = attach_executable(fmt::format("/proc/{}/exe", pid), facts->executable, pid,
                                          publication);
        if (!attached) return Failure(std::move(attached.error()).in(fmt::format("target PID {}", pid)));
        return register_process(tgid, *facts, **attached, publication, own_generation | ++last_generation_, BPF_ANY);
    }

    Result<void> follow(const std::filesystem::path& path, Publication publication) {
        auto attached = attach_executable(path.string(), path.string(), 0, publication);
        if (!attached) return Failure(std::move(attached.error()).in("target " + path.string()));
        (*attached)->followed = true;
        (*attached)->path = std::filesystem::weakly_canonical(path).string();
        TargetRow row{0, (*attached)->path, {}, RowState::attached, "followed: every process that runs it"};
        std::tie(row.publication, row.publication_reason) = publish_joining(**attached, publication);
        report_.targets.push_back(std::move(row));
        for (const pid_t pid : all_processes()) consider(static_cast<std::uint32_t>(pid));
        return {};
    }

    // A process that may run a followed executable: one that is there already, or one that just executed a program.
    void consider(std::uint32_t tgid) {
        if (stopped_ || is_registered(tgid)) return;
        const std::string link = fmt::format("/proc/{}/exe", tgid);
        const auto identity = FileIdentity::of(std::filesystem::path(link));
        if (!identity) return;
        auto position = executables_.find(*identity);
        if (position == executables_.end() && is_followed_path(detail::link_target(link))) {
            const Publication publication = publication_of_followed(detail::link_target(link));
            // The file was replaced.
            auto attached = attach_executable(link, detail::link_target(link), 0, publication);
            if (!attached) {
                report_.targets.push_back({tgid, link, {}, RowState::failed, attached.error().what});
                return;
            }
            (*attached)->followed = true;
            publish_joining(**attached, publication);
            position = executables_.find(*identity);
        }
        if (position == executables_.end() || !position->second->followed) return;
        auto facts = read_process(static_cast<pid_t>(tgid));
        if (!facts) return;
        oe_process row{};
        const bool joined = ::bpf_map_lookup_elem(processes_fd_, &tgid, &row) == 0;  // by a hit before we saw it
        if (joined && row.probes == 0) return;                                       // remove() has shut it out
        const std::uint32_t generation = joined ? row.generation : own_generation | ++last_generation_;
        const auto done = register_process(tgid, *facts, *position->second, position->second->wanted, generation,
                                           BPF_NOEXIST);
        if (!done && done.error().code.value() != ESRCH) report_.messages.push_back(done.error().what);
    }

    // Whether the process is known and still that one: news of its end may be lost when the ring buffer is full.
    bool is_registered(std::uint32_t tgid) {
        const auto position = processes_.find(tgid);
        if (position == processes_.end()) return false;
        const std::uint32_t generation = position->second.generation;
        oe_process row{};
        if (::bpf_map_lookup_elem(processes_fd_, &tgid, &row) == 0 && row.generation == generation) return true;
        forget(tgid, generation);
        return false;
    }

    // From here on no hit of the process counts. Where any process may join, a row without Probes keeps it out.
    void close_row(std::uint32_t tgid, const AttachedProcess& process) {
        const auto executable = executables_.find(process.executable);
        if (executable == executables_.end() || !executable->second->followed) {
            ::bpf_map_delete_elem(processes_fd_, &tgid);
            return;
        }
        oe_process row{};
        row.exe_row = executable->second->row;
        row.generation = own_generation | ++last_generation_;  // what it has open is nobody's any more
        ::bpf_map_update_elem(processes_fd_, &tgid, &row, BPF_EXIST);
    }

    bool is_followed_path(const std::string& path) const {
        return std::any_of(executables_.begin(), executables_.end(), [&](const auto& entry) {
            return entry.second->followed && entry.second->path == path;
        });
    }

    Result<void> register_process(std::uint32_t tgid, const ProcessFacts& facts, AttachedExecutable& executable,
                                  Publication wanted, std::uint32_t generation, std::uint64_t flags) {
        publisher_.watch(tgid);  // before its row: nothing of ours goes out next to an SDK's
        const auto [publication, publication_reason] = publish(executable, wanted);
        oe_process row{};
        row.publication = static_cast<std::uint8_t>(publication);
        row.exe_row = executable.row;
        row.generation = generation;
        row.probes = ~0ULL;
        if (const auto offset = executable.file->tls_g_offset()) row.tls_g_offset = *offset;
        const auto enter = [&] {
            reader_.add_process(make_process(tgid, row.generation, facts, *executable.file));
            processes_[tgid] = {row.generation, executable.file->identity()};
        };
        // Before the row: a record of this process may be read as soon as the row is there.
        enter();
        executable.tgids.insert(tgid);
        if (::bpf_map_update_elem(processes_fd_, &tgid, &row, flags) != 0) {
            const int reason = errno;
            if (reason != EEXIST || ::bpf_map_lookup_elem(processes_fd_, &tgid, &row) != 0) {
                forget(tgid, generation);
                return fail_errno(Stage::map, fmt::format("target PID {}: add it to oe_processes", tgid), reason);
            }
            reader_.remove_process(tgid, generation);
            enter();
        }
        if (!is_still(facts, *executable.file)) {
            ::bpf_map_delete_elem(processes_fd_, &tgid);
            forget(tgid, row.generation);
            return fail(Stage::target, fmt::format("target PID {}: it ended while it was added", tgid), ESRCH);
        }
        const std::string service(service_name_of(make_resource(facts, {})));
        report_.targets.push_back({tgid, facts.executable, service, RowState::attached, {}, false, publication,
                                   publication_reason});
        return {};
    }

    // ---- publication of current spans ------------------------------------------------------------------------------

    // Whether any bundle has the parts that publish.
    [[nodiscard]] bool publishes() const {
        return std::any_of(opened_.begin(), opened_.end(), [](detail::BundleObject* bundle) {
            return ::bpf_object__find_program_by_name(bundle->object(), "oe_jit_entry") != nullptr;
        });
    }

    // The mode for a process of the executable that asks for `wanted`, and why it is another one; hooks are attached.
    std::pair<Publication, std::string> publish(AttachedExecutable& executable, Publication wanted) {
        const auto [mode, reason] = publisher_.start(wanted);
        if (mode == Publication::jit && executable.file->is_go())
            for (const PlanFact& fact : executable.planned.facts)
                if (!fact.known && (fact.name == "runtime.g.m" || fact.name == "runtime.m.curg"))
                    return {Publication::off, "no goroutine can be found from outside: " + fact.reason};
        if (mode == Publication::jit && executable.file->is_go() && !executable.file->tls_g_offset())
            return {Publication::off, "no goroutine can be found from outside: where threads keep g is unknown"};
        if (mode == Publication::eager && executable.file->is_go()) {
            if (auto hooked = hook_scheduler(executable); !hooked) return {Publication::off, hooked.error().what};
        }
        return {mode, reason};
    }

    // The same for processes that join by their first hit.
    std::pair<Publication, std::string> publish_joining(AttachedExecutable& executable, Publication wanted) {
        executable.wanted = wanted;
        auto result = publish(executable, wanted);
        executable.publication = result.first;
        write_row(executable);
        return result;
    }

    // Of the target by which a file of that path is followed.
    [[nodiscard]] Publication publication_of_followed(const std::string& path) const {
        for (const auto& [identity, executable] : executables_)
            if (executable->followed && executable->path == path) return executable->wanted;
        return config_.publication;
    }

    // Whether a process is the one that was looked at: an end before its row was there to be removed goes unnoticed.
    static bool is_still(const ProcessFacts& facts, const Executable& file) {
        const auto now = read_process(facts.pid);
        return now && now->start_ticks == facts.start_ticks &&
               FileIdentity::of(std::filesystem::path(fmt::format("/proc/{}/exe", facts.pid))) == file.identity();
    }

    std::unique_ptr<detail::ProcessSpans> make_process(std::uint32_t tgid, std::uint32_t generation,
                                                       const ProcessFacts& facts, const Executable& file) const {
        auto process = std::make_unique<detail::ProcessSpans>();
        process->facts = facts;
        process->go_version = file.go_version_text();
        process->resource = make_resource(process->facts, process->go_version);
        process->info = {tgid, generation, process->facts.executable, service_name_of(process->resource),
                         process->go_version};
        return process;
    }

    // A process of a followed executable whose first span arrives before news of its exec.
    std::unique_ptr<detail::ProcessSpans> joined_process(std::uint32_t tgid, std::uint32_t generation) {
        const auto facts = read_process(static_cast<pid_t>(tgid));
        const std::filesystem::path link = fmt::format("/proc/{}/exe", tgid);
        const AttachedExecutable* found = nullptr;
        for (const auto& [identity, executable] : executables_) {
            if (!executable->followed || (facts && FileIdentity::of(link) != identity)) continue;
            if (found != nullptr) return nullptr;  // it is gone, and may have run any of them
            found = executable.get();
        }
        if (found == nullptr) return nullptr;
        ProcessFacts known;
        known.pid = static_cast<pid_t>(tgid);
        known.executable = found->path;
        return make_process(tgid, generation, facts ? *facts : known, *found->file);
    }

    void forget(std::uint32_t tgid, std::uint32_t generation) {
        reader_.remove_process(tgid, generation);
        release(tgid, generation);
    }

    // Closes the links that nobody else needs. The row in oe_processes may be a successor's already: it is not touched.
    void release(std::uint32_t tgid, std::uint32_t generation) {
        const auto position = processes_.find(tgid);
        if (position == processes_.end() || position->second.generation != generation) return;
        const auto executable = executables_.find(position->second.executable);
        processes_.erase(position);
        if (executable == executables_.end()) return;
        executable->second->tgids.erase(tgid);
        if (!executable->second->tgids.empty() || executable->second->followed) return;
        free_rows_.push_back(executable->second->row);
        executable->second->links.clear();
        executables_.erase(executable);
    }

    // ---- attach ----------------------------------------------------------------------------------------------------

    // only_pid: the process that is asked for, 0 for all. The kernel's filter leaves others of the file untouched.
    Result<AttachedExecutable*> attach_executable(const std::string& path, const std::string& shown, pid_t only_pid,
                                                  Publication publication) {
        auto file = cache_.open(path);
        if (!file) return Failure(file.error());
        const auto known = executables_.find((*file)->identity());
        if (known != executables_.end()) {
            if (auto widened = widen(*known->second); !widened) return Failure(widened.error());
            return known->second.get();
        }
        if (free_rows_.empty())
            return fail(Stage::map, "oe_exes is full: raise ManagerConfig::max_executables", ENOSPC);

        auto attached = std::make_unique<AttachedExecutable>();
        attached->eager = publication == Publication::eager;
        plan_executable(**file, *attached);
        if (!attached->planned.attaches_anything()) return Failure(nothing_to_attach(**file, attached->planned));
        attached->file = *file;
        attached->path = shown;
        attached->row = free_rows_.back();
        attached->only_pid = kernel_.uprobe_multi_pid ? only_pid : 0;
        const std::size_t first_row = report_.rows.size();
        attached->links = attach_rows(*attached);
        if (attached->links.empty()) {
            return Failure(take_failure(first_row));
        }
        write_row(*attached);
        free_rows_.pop_back();
        if (auto note = assumed_facts(attached->planned); !note.empty()) report_.messages.push_back(std::move(note));
        AttachedExecutable* const result = attached.get();
        executables_[(*file)->identity()] = std::move(attached);
        return result;
    }

    // From links for one process to links for all: the new ones count from the moment when the row has their round.
    Result<void> widen(AttachedExecutable& executable) {
        if (executable.only_pid == 0) return {};
        const pid_t former_pid = std::exchange(executable.only_pid, 0);
        auto replaced = replace_links(executable);
        if (!replaced) executable.only_pid = former_pid;
        return replaced;
    }

    // Sites in the scheduler are added to those that are attached.
    Result<void> hook_scheduler(AttachedExecutable& executable) {
        if (!executable.eager) {
            AttachPlan former = executable.planned;
            executable.eager = true;
            plan_executable(*executable.file, executable);
            if (auto replaced = replace_links(executable); !replaced) {
                executable.eager = false;
                executable.planned = std::move(former);
                return Failure(std::move(replaced.error()).in("hook the scheduler"));
            }
        }
        for (const ReportRow& row : report_.rows) {
            if (row.executable != executable.path || row.plan.program != "oe_go_execute") continue;
            if (row.state == RowState::attached) return {};
            return fail(Stage::attach, fmt::format("hook the scheduler: {}: {}", row.plan.symbol, row.reason), ENOENT);
        }
        return fail(Stage::attach, "hook the scheduler: no bundle has the Probe probes::goroutines::scheduler", ENOENT);
    }

    void plan_executable(const Executable& file, AttachedExecutable& executable) {
        OptionValues options = config_.options;
        if (executable.eager) options["goroutines.eager"] = true;
        executable.planned = plan(file, probes_, assignment_, options, kernel_.release);
    }

    // New links for all rows, which count from the moment when the executable's row has their round; then the old ones
    // go. On failure all is as before.
    Result<void> replace_links(AttachedExecutable& executable) {
        const std::uint32_t former_round = std::exchange(executable.round, (executable.round + 1) % 256);
        const std::size_t first_row = report_.rows.size();
        std::vector<Link> links = attach_rows(executable);
        if (links.empty()) {
            executable.round = former_round;
            return Failure(take_failure(first_row));
        }
        const auto is_former = [&](const ReportRow& row) { return row.executable == executable.path; };
        report_.rows.erase(std::remove_if(report_.rows.begin(),
                                          report_.rows.begin() + static_cast<std::ptrdiff_t>(first_row), is_former),
                           report_.rows.begin() + static_cast<std::ptrdiff_t>(first_row));
        write_row(executable);
        executable.links = std::move(links);
        return {};
    }

    Error nothing_to_attach(const Executable& file, const AttachPlan& planned) const {
        const auto is_native = [this](std::string_view name) {
            return std::any_of(probes_.begin(), probes_.end(), [&](const ProbeSpec& probe) {
                return probe.abi == Abi::native && (name.empty() || probe.name == name);
            });
        };
        if (!file.is_go() && !is_native({}))
            return {Stage::symbol,
                    {ENOENT, std::system_category()},
                    fmt::format("{}: no Probe fits: not a Go program (no Go build information)", planned.executable),
                    {}};
        for (const PlanRow& row : planned.rows)
            if ((!row.expected || row.absent) && (file.is_go() || is_native(row.probe)))
                return {Stage::symbol, {ENOENT, std::system_category()},
                        fmt::format("{}: no Probe fits: {}: {}", planned.executable, row.symbol, row.reason), {}};
        return {Stage::symbol, {ENOENT, std::system_category()},
                fmt::format("{}: no Probe fits: every one is switched off", planned.executable), {}};
    }

    // The first error of rows that are taken back because nothing could be attached.
    Error take_failure(std::size_t first_row) {
        Error error{Stage::attach, {EINVAL, std::system_category()}, "nothing could be attached", {}};
        for (std::size_t i = report_.rows.size(); i-- > first_row;)
            if (report_.rows[i].state == RowState::failed && report_.rows[i].code.value() != 0)
                error = {Stage::attach, report_.rows[i].code, report_.rows[i].reason, {}};
        report_.rows.resize(first_row);
        return error;
    }

    // Links per program and a report row per site; a group that fails in part is taken back.
    std::vector<Link> attach_rows(AttachedExecutable& executable) {
        AttachPlan& planned = executable.planned;
        std::map<std::string, std::vector<Link>> links_of_part;  // by Probe/group
        std::set<std::string> failed_parts;
        std::map<std::pair<std::string, std::string>, std::vector<std::size_t>> rows_of_program;
        for (std::size_t i = 0; i < planned.rows.size(); ++i)
            if (planned.rows[i].attach)
                rows_of_program[{part_of(planned.rows[i]), planned.rows[i].program}].push_back(i);
        std::map<std::size_t, Error> errors;
        for (const auto& [key, indices] : rows_of_program) {
            auto link = attach_program(executable, indices);
            if (link) {
                links_of_part[key.first].push_back(std::move(*link));
                continue;
            }
            failed_parts.insert(key.first);
            for (const std::size_t index : indices) errors[index] = link.error();
        }
        const auto is_taken_back = [&failed_parts](const std::string& probe, const std::string& part) {
            return failed_parts.contains(part) || failed_parts.contains(probe + "/");
        };
        std::vector<Link> links;
        for (auto& [part, own] : links_of_part)
            if (!is_taken_back(part.substr(0, part.find('/')), part))
                std::move(own.begin(), own.end(), std::back_inserter(links));
        for (std::size_t i = 0; i < planned.rows.size(); ++i) {
            const PlanRow& row = planned.rows[i];
            ReportRow report{executable.path, row, row.attach ? RowState::attached : RowState::skipped, row.reason, {}};
            if (errors.contains(i)) {
                report.state = RowState::failed;
                report.reason = errors[i].what;
                report.code = errors[i].code;
            } else if (row.attach && is_taken_back(row.probe, part_of(row))) {
                report.state = RowState::failed;
                report.reason = "taken back: another part failed";
            }
            report_.rows.push_back(std::move(report));
        }
        clear_failed_groups(failed_parts, planned);
        return links;
    }

    // What attaches whole or not at all: a group, or what a Probe can't do without; its other rows are on their own.
    static std::string part_of(const PlanRow& row) {
        const bool alone = row.group.empty() && !row.required;
        return row.probe + "/" + (alone ? ":" + row.program : row.group);
    }

    void clear_failed_groups(const std::set<std::string>& failed_parts, AttachPlan& planned) const {
        for (const FactIndex& fact : assignment_.facts())
            if (!fact.group.empty() && failed_parts.contains(fact.group)) planned.table_row.value[fact.index] = 0;
    }

    Result<Link> attach_program(const AttachedExecutable& executable, const std::vector<std::size_t>& indices) {
        const PlanRow& first = executable.planned.rows[indices.front()];
        const std::string context = fmt::format("attach {} in {}", first.symbol, executable.path);
        if (refused_programs_.contains(first.program))
            return fail(Stage::load, fmt::format("{}: the verifier refused program {}", context, first.program));
        bpf_object* const object = owners_.at(first.probe)->object();
        const int program = ::bpf_program__fd(::bpf_object__find_program_by_name(object, first.program.c_str()));
        std::vector<std::uint64_t> offsets, cookies;
        for (const std::size_t index : indices) {
            const PlanRow& row = executable.planned.rows[index];
            offsets.push_back(row.file_offset);
            cookies.push_back(OE_COOKIE(executable.row, OE_WITH_ROUND(row.descriptor, executable.round)));
        }
        const std::string path = fmt::format("/proc/self/fd/{}", executable.file->fd());
        auto link = kernel_.uprobe_multi ? Link::uprobe_multi(program, path, offsets, cookies, executable.only_pid)
                                         : Link::uprobe_perf(program, path, offsets, cookies, -1);
        if (!link) return Failure(std::move(link.error()).in(context));
        return link;
    }

    void write_row(const AttachedExecutable& executable) {
        oe_exe row = executable.planned.table_row;
        row.any_process = executable.followed && !stopped_ ? 1 : 0;
        row.round = executable.round;
        row.publication = static_cast<std::uint32_t>(executable.publication);
        ::bpf_map_update_elem(exes_fd_, &executable.row, &row, BPF_ANY);
    }

    // ---- records ---------------------------------------------------------------------------------------------------

    void on_record(std::span<const std::byte> record) {
        ++stats_.records;
        if (record.size() < sizeof(oe_event_header)) return void(++stats_.short_records);
        const auto& header = *reinterpret_cast<const oe_event_header*>(record.data());
        if (header.kind >= OE_KIND_FIRST_PROBE) return reader_.on_span(record, stats_);
        if (header.kind == OE_KIND_PROCESS_EXEC) return consider(header.tgid);
        if (header.kind == OE_KIND_PROCESS_EXIT) {
            note_exit(header.tgid);
            publication_ends(header.tgid);
            clear_overflow(header.tgid, header.generation);
            clear_tasks(header.tgid, header.generation);
            return forget(header.tgid, header.generation);
        }
        ++stats_.unknown_kinds;
    }

    // Rows of processes that ended are kept for the report, but not without bound.
    void note_exit(std::uint32_t tgid) {
        constexpr std::size_t max_exited = 1024;
        std::size_t exited = 0;
        for (TargetRow& row : report_.targets) {
            if (row.pid == tgid) row.exited = true;
            exited += row.exited ? 1 : 0;
        }
        if (exited <= max_exited) return;
        ++report_.targets_forgotten;
        report_.targets.erase(std::find_if(report_.targets.begin(), report_.targets.end(),
                                           [](const TargetRow& row) { return row.exited; }));
    }

    // Spans that a process that is gone left in the overflow hash; those in slots are reclaimed when a slot is wanted.
    void clear_overflow(std::uint32_t tgid, std::uint32_t generation) {
        const auto overflowed = stats_map_->sum_per_cpu(OE_STAT_STORE_OVERFLOW);
        if (!overflowed || *overflowed == 0) return;
        const auto spans = overflow_map();
        if (!spans) return;
        std::vector<oe_span_key> keys;
        [[maybe_unused]] const auto walked = spans->for_each([&](const oe_span_key& key, const oe_live_span& span) {
            if (key.tgid == tgid && span.generation == generation) keys.push_back(key);
            return true;
        });
        for (const oe_span_key& key : keys)
            if (spans->erase(key).value_or(false)) ++left_open_;
    }

    // Tasks of a process that is gone.
    void clear_tasks(std::uint32_t tgid, std::uint32_t generation) const {
        for (const Bundle& bundle : config_.bundles) {
            const int fd = ::bpf_object__find_map_fd_by_name(bundle->object(), "oe_tasks");
            if (fd < 0) continue;
            const auto tasks = Map<oe_task_key, oe_task>::open(
                fd, {"oe_tasks", BPF_MAP_TYPE_HASH, sizeof(oe_task_key), sizeof(oe_task), 0, BPF_F_NO_PREALLOC});
            if (!tasks) return;
            std::vector<oe_task_key> keys;
            [[maybe_unused]] const auto walked = tasks->for_each([&](const oe_task_key& key, const oe_task& task) {
                if (key.tgid == tgid && task.flow.generation == generation) keys.push_back(key);
                return true;
            });
            for (const oe_task_key& key : keys) [[maybe_unused]] const auto erased = tasks->erase(key);
            return;  // bundles share the map
        }
    }

    Result<Map<oe_span_key, oe_live_span>> overflow_map() const {
        const int fd = ::bpf_object__find_map_fd_by_name(config_.bundles.front()->object(), "oe_span_more");
        return Map<oe_span_key, oe_live_span>::open(
            fd, {"oe_span_more", BPF_MAP_TYPE_HASH, sizeof(oe_span_key), sizeof(oe_live_span), 0, BPF_F_NO_PREALLOC});
    }

    int drain() {
        const int count = events_->drain();
        reader_.flush();
        if (config_.sink) config_.sink->flush(std::chrono::milliseconds(0));
        return count;
    }

    void run_posted() {
        std::vector<std::function<void(Manager&)>> changes;
        {
            std::scoped_lock lock(posted_mutex_);
            changes.swap(posted_);
        }
        for (auto& change : changes) change(*this);
    }

    // Spans that are live in the kernel, and those that processes left behind: their ends never came.
    [[nodiscard]] std::uint64_t open_spans() const {
        std::uint64_t open = left_open_;
        const auto count = [&open](const auto& map) {
            if (!map) return;
            [[maybe_unused]] const auto walked = map->for_each([&open](const auto&, const oe_live_span& span) {
                open += span.state & 1;
                return true;
            });
        };
        const int fd = ::bpf_object__find_map_fd_by_name(config_.bundles.front()->object(), "oe_spans");
        count(Map<std::uint32_t, oe_live_span>::open(
            fd, {"oe_spans", BPF_MAP_TYPE_ARRAY, sizeof(std::uint32_t), sizeof(oe_live_span), 0, 0}));
        count(overflow_map());
        return open;
    }

    // The counts of a process go with it.
    void publication_ends(std::uint32_t tgid) {
        constexpr std::size_t max_ended = 1024;
        if (const auto counts = publisher_.counts(tgid)) ended_.push_back({tgid, *counts});
        if (ended_.size() > max_ended) ended_.pop_front();
        publisher_.forget(tgid);
    }

    void stats_publication() {
        stats_.publication.assign(ended_.begin(), ended_.end());
        for (const auto& [tgid, process] : processes_)
            if (const auto counts = publisher_.counts(tgid)) stats_.publication.push_back({tgid, *counts});
    }

    void stats_programs() {
        stats_.programs.clear();
        for (const Bundle& bundle : config_.bundles) {
            bpf_program* program = nullptr;
            if (bundle->object() == nullptr) continue;
            while ((program = ::bpf_object__next_program(bundle->object(), program)) != nullptr) {
                bpf_prog_info info{};
                std::uint32_t size = sizeof(info);
                if (::bpf_obj_get_info_by_fd(::bpf_program__fd(program), &info, &size) != 0) continue;
                stats_.programs.push_back({::bpf_program__name(program), info.run_cnt, info.run_time_ns,
                                           info.verified_insns});
            }
        }
    }

    ManagerConfig config_;
    Kernel kernel_;
    Assignment assignment_;
    ExecutableCache cache_;
    std::vector<ProbeSpec> probes_;
    std::vector<detail::BundleObject*> opened_;  // by this Manager
    std::set<std::uint16_t> kinds_;
    std::map<std::string, detail::BundleObject*> owners_;  // of Probes by name
    std::set<std::string> refused_programs_;

    int exes_fd_ = -1;
    int processes_fd_ = -1;
    std::optional<Map<std::uint32_t, std::uint64_t>> stats_map_;
    std::vector<std::uint32_t> free_rows_;

    std::unordered_map<FileIdentity, std::unique_ptr<AttachedExecutable>> executables_;
    std::map<std::uint32_t, AttachedProcess> processes_;  // by tgid
    std::vector<Link> process_links_;
    std::uint32_t last_generation_ = 0;

    Report report_;
    Stats stats_;
    detail::Publisher publisher_;
    detail::SpanReader reader_;
    std::unique_ptr<EventStream> events_;
    Fd timer_;
    std::mutex posted_mutex_;
    std::vector<std::function<void(Manager&)>> posted_;

    std::uint64_t left_open_ = 0;  // spans deleted with their processes
    std::deque<PublicationStats> ended_;
    bool stopped_ = false;
};

}  // namespace otel_ebpf
