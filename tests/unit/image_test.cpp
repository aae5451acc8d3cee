// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The search for callers in the little that ExecutableImage keeps, against the one in all of the file.
#include <otel_ebpf/detail/image.hpp>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../test.hpp"
#include "go_targets.hpp"

namespace {

using namespace otel_ebpf;

// Everything that is loaded, as it is in the file.
class WholeImage {
public:
    explicit WholeImage(const Executable& executable) : executable_(executable) {
        for (const ElfSection& section : executable.elf().sections()) {
            if ((section.flags & SHF_ALLOC) == 0 || section.type == SHT_NOBITS) continue;
            if (section.name.ends_with("gopclntab")) continue;
            auto bytes = executable.elf().bytes_of(section);
            REQUIRE(bytes);
            buffers_.push_back(std::move(*bytes));
            const site::Section part{section.vaddr, std::as_const(buffers_.back()).bytes()};
            ((section.flags & SHF_EXECINSTR) != 0 ? text_ : data_).push_back(part);
            if ((section.flags & (SHF_EXECINSTR | SHF_WRITE)) == 0) methods_.push_back(part);
        }
    }

    site::Image view() {
        return {text_, data_, methods_, executable_.go_text_start(),
                [this](std::uint64_t vaddr) -> std::optional<site::Code> {
                    const auto function = executable_.function_at(vaddr);
                    if (!function) return std::nullopt;
                    auto& known = code_[function->vaddr];
                    if (!known) {
                        auto bytes = executable_.code(*function);
                        if (!bytes) return std::nullopt;
                        known = std::make_unique<std::pair<std::string, std::vector<std::byte>>>(function->name,
                                                                                                std::move(*bytes));
                    }
                    return site::Code{function->vaddr, known->second, known->first};
                }};
    }

private:
    const Executable& executable_;
    std::vector<ByteBuffer> buffers_;
    std::vector<site::Section> text_, data_, methods_;
    std::map<std::uint64_t, std::unique_ptr<std::pair<std::string, std::vector<std::byte>>>> code_;
};

// "vaddr: call call ...", or why not.
std::vector<std::string> text_of(const Result<std::vector<site::CallerSite>>& callers) {
    if (!callers) return {callers.error().what};
    std::vector<std::string> lines;
    for (const site::CallerSite& caller : *callers) {
        lines.push_back(std::string(caller.caller.name) + ":");
        for (const std::uint64_t call : caller.call_vaddrs) lines.back() += " " + ElfFile::hex(call);
    }
    return lines;
}

TEST_CASE("image: callers are the same in what is kept as in the whole file") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    std::vector<std::string> paths;
    for (const GoTarget& target : targets) {
        paths.insert(paths.end(), {target.plain, target.stripped});
        for (const std::string variant : {"", "-stripped"})
            if (auto path = test_target("server-arm64-go" + target.release + variant); !path.empty())
                paths.push_back(std::move(path));
    }
    for (const std::string& path : paths) {
        const auto executable = Executable::open(path);
        REQUIRE(executable);
        const site::Arch arch = detail::site_arch(**executable);
        std::vector<Function> functions;
        std::size_t seen = 0;
        (*executable)->for_each_function([&](std::string_view name, std::uint64_t vaddr, std::uint64_t size) {
            if (seen++ % 151 == 0) functions.push_back({std::string(name), vaddr, size});
            return true;
        });
        std::vector<detail::ReferenceTarget> wanted;
        for (const Function& function : functions) wanted.push_back({function.vaddr});
        auto image = detail::ExecutableImage::open(**executable, wanted);
        REQUIRE(image);
        WholeImage whole(**executable);
        std::size_t closed = 0, calls = 0;
        for (const Function& function : functions) {
            const auto bytes = (*executable)->code(function);
            if (!bytes) continue;
            const site::Code code{function.vaddr, *bytes, function.name};
            const auto expected = site::callers_of(arch, code, whole.view());
            CAPTURE(path, function.name);
            CHECK(text_of(site::callers_of(arch, code, image->view())) == text_of(expected));
            closed += expected.has_value();
            for (const site::CallerSite& caller : expected ? *expected : std::vector<site::CallerSite>())
                calls += caller.call_vaddrs.size();
        }
        CHECK(functions.size() > 30);
        CHECK(closed > 5);
        CHECK(calls > closed);  // some are called more than once
    }
}

}  // namespace
