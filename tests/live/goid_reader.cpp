// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// goid_reader PID [LIBRARY]: compares the goroutine ids that BPF reads in a running tests/targets/server with those
// that it tells of itself. LIBRARY: the shared object of that process that the Go code is in, else its executable.
//
// Prints "ready" once it is attached; when its standard input ends, a JSON object: the TLS offset of g, and per context
// right, none, wrong.
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include <nlohmann/json.hpp>

#include <otel_ebpf/go/tls.hpp>
#include <otel_ebpf/otel_ebpf.hpp>
#include <otel_ebpf/sdk_module.hpp>

// The first has what the second one's variables are made of.
#include "goid_reader.h"

#include "goid_reader.skel.h"

namespace oe = otel_ebpf;

namespace {

[[noreturn]] void fail(std::string_view what) {
    fmt::print(stderr, "goid_reader: {}\n", what);
    std::exit(1);
}

template <class T>
T must(oe::Result<T> result) {
    if (!result) fail(result.error().what);
    return std::move(*result);
}

// Address in the process less address in the file.
std::uint64_t bias_of(const oe::Executable& file, pid_t pid) {
    const std::string name = fmt::format("/proc/{}/maps", pid);
    std::ifstream text(name);
    const std::string lines{std::istreambuf_iterator<char>(text), {}};
    for (const oe::ProcessMapping& mapping : oe::parse_process_maps(lines))
        if (mapping.inode == file.identity().ino)
            if (const auto bias = oe::load_bias(file.elf(), mapping)) return *bias;
    fail(fmt::format("{} does not map {}", name, file.path().string()));
}

void sample_all_cpus(bpf_program* program) {
    perf_event_attr attr{};
    attr.type = PERF_TYPE_SOFTWARE;
    attr.config = PERF_COUNT_SW_CPU_CLOCK;
    attr.size = sizeof(attr);
    attr.freq = 1;
    attr.sample_freq = 997;
    int events = 0;
    for (int cpu = 0; cpu < ::libbpf_num_possible_cpus(); ++cpu) {
        const auto fd = static_cast<int>(::syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC));
        if (fd >= 0 && ::bpf_program__attach_perf_event(program, fd) != nullptr) ++events;
    }
    if (events == 0) fail("no CPU could be sampled");
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2 && argc != 3) fail("usage: goid_reader PID [LIBRARY]");
    const pid_t pid = std::atoi(argv[1]);
    const std::string path = argc == 3 ? argv[2] : std::string("/proc/") + argv[1] + "/exe";
    const auto executable = must(oe::ExecutableCache().open(path));

    goid_reader_bpf* const skeleton = goid_reader_bpf::open();
    if (skeleton == nullptr) fail("open the BPF object");
    const std::pair<const char*, volatile __u16*> members[] = {{"goid", &skeleton->rodata->oe_f_g_goid},
                                                               {"m", &skeleton->rodata->oe_f_g_m},
                                                               {"curg", &skeleton->rodata->oe_f_m_curg}};
    __u16 slot = 0;
    for (const auto& [member, name] : members) {
        const char* const type = std::string_view(member) == "curg" ? "m" : "g";
        const auto offset = must(executable->fact(oe::offset_of("std", "runtime", type, member)));
        skeleton->bss->facts.value[slot] = static_cast<__u16>(offset.value);
        *name = slot++;
    }
    skeleton->bss->target.tls_g_offset =
        must(oe::go::tls_g_offset_in_process(must(executable->tls_g()), bias_of(*executable, pid), oe::memory_of(pid)));
    skeleton->bss->target_tgid = static_cast<__u32>(pid);

    if (goid_reader_bpf::load(skeleton) != 0) fail("load the BPF object");
    constexpr std::string_view name[] = {"main.tellGoroutine"};
    const auto functions = executable->find_functions(name);
    if (functions.size() != 1) fail("the program has no main.tellGoroutine");
    const auto offset = must(executable->file_offset(functions[0].vaddr));
    if (::bpf_program__attach_uprobe(skeleton->progs.on_tell, false, pid, path.c_str(), offset) == nullptr)
        fail("attach to main.tellGoroutine");
    if (::bpf_program__attach(skeleton->progs.on_system_call) == nullptr) fail("attach to sys_enter");
    sample_all_cpus(skeleton->progs.on_tick);

    fmt::print("ready\n");
    std::fflush(stdout);
    for (char byte = 0; ::read(STDIN_FILENO, &byte, 1) > 0;) {
    }
    constexpr const char* contexts[] = {"register", "uprobe", "tracepoint", "sample", "sample_c"};
    static_assert(std::size(contexts) == GOID_CONTEXTS);
    nlohmann::json result{{"tls_g_offset", skeleton->bss->target.tls_g_offset}};
    for (int i = 0; i < GOID_CONTEXTS; ++i) {
        const goid_counts& counts = skeleton->bss->counts[i];
        result[contexts[i]] = {{"right", counts.right}, {"none", counts.none}, {"wrong", counts.wrong},
                               {"told", counts.told},   {"read", counts.read}};
    }
    fmt::print("{}\n", result.dump());
    return 0;  // the kernel takes back what is left
}
