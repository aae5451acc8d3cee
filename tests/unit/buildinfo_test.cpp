// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Go build info: both forms, modules, hostile sizes.
#include <otel_ebpf/go/buildinfo.hpp>

#include <cstdint>
#include <string>

#include "../test.hpp"
#include "elf_image.hpp"

namespace {

using namespace otel_ebpf;

const std::string frame(16, '#');  // of the module text
const std::string modules =
    "path\texample.com/shop/cmd\n"
    "mod\texample.com/shop\t(devel)\t\n"
    "dep\tgithub.com/a/b\tv1.2.3\th1:x=\n"
    "dep\tgithub.com/c/d\tv0.1.0\n"
    "=>\tgithub.com/fork/d\tv0.1.1-0.20240102030405-abcdef012345\th1:y=\n"
    "dep\tgithub.com/e/f\tv2.0.0+incompatible\n"
    "=>\t../f\n"
    "build\tGOARCH=amd64\n"
    "build\t-ldflags=\"-X a=b\"\n";

std::string varint(std::uint64_t value) {
    std::string bytes;
    for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
    return bytes + static_cast<char>(value);
}

std::string magic_and_flags(char flags) {
    return std::string("\xff Go buildinf:") + '\x08' + flags;
}

std::string inline_form(const std::string& version, const std::string& text) {
    return magic_and_flags(2) + std::string(16, '\0') + varint(version.size()) + version + varint(text.size()) + text;
}

Result<std::optional<go::BuildInfo>> read(const std::string& data, bool with_section) {
    ElfImage image;
    image.data = data;
    if (with_section) image.sections.push_back({".go.buildinfo", data, ElfImage::data_vaddr});
    const std::string bytes = image.bytes();
    const auto elf = ElfFile::open(ByteSource::from_memory(as_bytes(bytes)));
    REQUIRE(elf);
    return go::read_build_info(*elf);
}

TEST_CASE("buildinfo: version, modules, replacements and settings") {
    const auto read_result = read(inline_form("go1.26.8", frame + modules + frame), true);
    REQUIRE(read_result);
    REQUIRE(*read_result);
    const go::BuildInfo& info = **read_result;
    CHECK(info.go_version == "go1.26.8");
    CHECK(info.main_package == "example.com/shop/cmd");
    REQUIRE(info.main_module);
    CHECK(info.main_module->module.path == "example.com/shop");
    CHECK_FALSE(info.main_module->module.known_version());
    REQUIRE(info.dependencies.size() == 3);
    CHECK(info.dependencies[0].effective().known_version() == Version{1, 2, 3});
    CHECK(info.dependencies[1].effective().path == "github.com/fork/d");
    CHECK_FALSE(info.dependencies[1].effective().known_version());
    CHECK(info.dependencies[2].effective().path == "../f");
    CHECK(info.dependencies[2].effective().version.empty());
    CHECK(info.dependencies[2].module.known_version() == Version{2, 0, 0});
    CHECK(info.setting("GOARCH") == "amd64");
    CHECK_FALSE(info.has_experiments());
}

TEST_CASE("buildinfo: found by its magic where sections are gone") {
    const auto info = read(std::string(48, '\0') + inline_form("go1.19", ""), false);
    REQUIRE(info);
    REQUIRE(*info);
    CHECK((*info)->go_version == "go1.19");
    // not at a multiple of 16: text that happens to look like it
    const auto misaligned = read(std::string(7, '\0') + inline_form("go1.19", ""), false);
    REQUIRE(misaligned);
    CHECK_FALSE(*misaligned);
}

TEST_CASE("buildinfo: pointer form of old linkers") {
    const auto word = [](std::uint64_t value) { return ElfImage::raw_bytes(value); };
    const std::uint64_t strings = ElfImage::data_vaddr + 32;
    const std::string text = "go1.17.13";
    const auto info =
        read(magic_and_flags(0) + word(strings) + word(0) + word(strings + 16) + word(text.size()) + text, true);
    REQUIRE(info);
    REQUIRE(*info);
    CHECK((*info)->go_version == text);
}

TEST_CASE("buildinfo: experiments are seen in the version and in the settings") {
    CHECK(go::BuildInfo{"go1.26.3-X:boringcrypto", {}, {}, {}, {}}.has_experiments());
    CHECK(go::BuildInfo{"go1.24 X:noswissmap", {}, {}, {}, {}}.has_experiments());
    CHECK(go::BuildInfo{"go1.24", {}, {}, {}, {{"GOEXPERIMENT", "noswissmap"}}}.has_experiments());
    for (const go::BuildInfo& info : {go::BuildInfo{"go1.27.3-X:aliastypeparams,mapsplitgroup", {}, {}, {}, {}},
                                      go::BuildInfo{"go1.24 X:mapsplitgroup,b", {}, {}, {}, {}},
                                      go::BuildInfo{"go1.27", {}, {}, {}, {{"GOEXPERIMENT", "a,mapsplitgroup"}}}}) {
        CHECK(info.has_experiment("mapsplitgroup"));
        CHECK_FALSE(info.has_experiment("split"));
        CHECK_FALSE(info.has_experiment("noswissmap"));
    }
    CHECK_FALSE(go::BuildInfo{"go1.27.3", {}, {}, {}, {}}.has_experiment("mapsplitgroup"));
}

TEST_CASE("buildinfo: damaged sizes are refused") {
    const std::string head = magic_and_flags(2) + std::string(16, '\0');
    CHECK_FALSE(read(head + varint(UINT64_MAX), true));
    CHECK_FALSE(read(head + varint(1 << 20) + "go1.26", true));
    CHECK_FALSE(read(head + std::string(20, '\xff'), true));
    CHECK_FALSE(read(head, true));
    CHECK_FALSE(read(head.substr(0, 20), true));
    const auto word = [](std::uint64_t value) { return ElfImage::raw_bytes(value); };
    CHECK_FALSE(read(magic_and_flags(0) + word(UINT64_MAX - 4) + word(0), true));
    CHECK_FALSE(read(magic_and_flags(0) + word(ElfImage::data_vaddr) + word(0), true));  // a size out of the magic
    const auto unnamed = read(inline_form("", ""), true);
    REQUIRE(unnamed);
    CHECK_FALSE(*unnamed);
}

TEST_CASE("buildinfo: module text without its frame is ignored") {
    const auto info = read(inline_form("go1.26.8", modules), true);
    REQUIRE(info);
    REQUIRE(*info);
    CHECK((*info)->dependencies.empty());
}

}  // namespace
