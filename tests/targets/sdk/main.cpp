// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// main THREADS MS [late]: publishes a process context, then works. late: waits for a line on stdin before anything
// of it, then loads its library, if it has one to load.
#include <cstdio>
#include <cstdlib>
#include <string_view>

#ifdef PLUGIN
#include <dlfcn.h>
#endif

#include <otel_ebpf/publish/process_context.hpp>

#include "work.hpp"

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    char line[16];
    if (argc > 3 && std::string_view(argv[3]) == "late" && std::fgets(line, sizeof(line), stdin) == nullptr) return 2;
    namespace publish = otel_ebpf::publish;
    const auto error = publish::ProcessContextPublisher::instance().publish(
        {{{"service.name", "sdk-target"}, {"service.version", "1.0"}}, "tlsdesc_v1_dev", {"depth", "function"}});
    if (error) {
        std::fprintf(stderr, "publish: %s\n", error.message().c_str());
        return 1;
    }
#ifdef PLUGIN
    void* const library = ::dlopen(PLUGIN, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        std::fprintf(stderr, "%s\n", ::dlerror());
        return 1;
    }
    auto* const work = reinterpret_cast<decltype(&run_work)>(::dlsym(library, "run_work"));
#else
    auto* const work = &run_work;
#endif
    return work(std::atoi(argv[1]), std::atoi(argv[2]));
}
