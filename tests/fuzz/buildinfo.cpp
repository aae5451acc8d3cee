// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Any bytes as Go build info, in its section or to be searched for; what stands around it may hold the texts that it
// points at.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <otel_ebpf/executable.hpp>

#include "../hostile/promise.hpp"
#include "go_image.hpp"
#include "input.hpp"

namespace oe = otel_ebpf;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    const auto flags = input.number<std::uint8_t>();
    GoImage image;
    image.text = "\xc3";
    image.has_symbols = true;  // so that the executable opens without a pclntab
    image.has_sections = (flags & 1) != 0;
    image.is_pie = (flags & 2) != 0;
    if (!image.has_sections) image.pclntab.assign((flags >> 2 & 7) * 16, '\xff');
    image.build_info = input.part();
    image.moduledata = input.rest();
    const std::string file = image.bytes();
    const auto opened = oe::Executable::from_memory(as_bytes(file));
    if (!hostile::worked(opened) || !(*opened)->is_go()) return 0;
    const oe::go::BuildInfo& info = *(*opened)->build_info();
    hostile::promise(!info.go_version.empty(), "Go executables have a version");
    std::size_t total = info.go_version.size() + info.main_package.size();
    const auto count = [&total](const oe::go::Dependency& dependency) {
        total += dependency.module.path.size() + dependency.module.version.size() + 1;
        static_cast<void>(dependency.effective().known_version());
    };
    if (info.main_module) count(*info.main_module);
    for (const oe::go::Dependency& dependency : info.dependencies) count(dependency);
    for (const auto& [key, value] : info.settings) total += key.size() + value.size() + 1;
    hostile::promise(total <= 2 * file.size(), "build info is no longer than the file");
    static_cast<void>(info.has_experiments());
    static_cast<void>((*opened)->go_version());
    for (const char* const module : {"std", "example.com/m"})
        hostile::worked((*opened)->fact(oe::version_in(module, oe::from_version(1, 22))));
    return 0;
}
