// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// BuildInfo: Go version, modules and build settings that the Go linker embeds (debug/buildinfo).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/version.hpp>

namespace otel_ebpf::go {

struct Module {
    std::string path;
    std::string version;  // "v1.2.3", "(devel)"; empty for a `replace` by a folder

    // nullopt: a development build, a pseudo-version or a folder, whose code is unknown.
    [[nodiscard]] std::optional<Version> known_version() const { return Version::parse(version); }
};

struct Dependency {
    Module module;
    std::optional<Module> replacement;

    // The code that was compiled.
    [[nodiscard]] const Module& effective() const { return replacement ? *replacement : module; }
};

struct BuildInfo {
    std::string go_version;    // "go1.26.8", "go1.26.3-X:boringcrypto"
    std::string main_package;  // import path
    std::optional<Dependency> main_module;
    std::vector<Dependency> dependencies;
    std::vector<std::pair<std::string, std::string>> settings;  // "GOARCH", "amd64"
    bool has_modules = true;  // false: the executable lost its build info, and only the release is known

    [[nodiscard]] std::string_view setting(std::string_view name) const {
        for (const auto& [key, value] : settings)
            if (key == name) return value;
        return {};
    }
    // Built with GOEXPERIMENT: layouts may differ from those of the plain release.
    [[nodiscard]] bool has_experiments() const {
        return go_version.find("X:") != std::string::npos || !setting("GOEXPERIMENT").empty();
    }
};

namespace detail {

// debug/buildinfo: 14 bytes of magic, pointer size, flags; strings inline after 32 bytes since Go 1.18.
inline constexpr std::string_view build_info_magic = "\xff Go buildinf:";
inline constexpr std::uint64_t build_info_header_bytes = 32;
inline constexpr std::uint64_t build_info_align = 16;
inline constexpr std::uint64_t max_build_info_text = 8 << 20;  // a thousand modules take 100 KB

// Address of the header: at the start of its section, else searched where the linker puts it, in writable data.
inline Result<std::optional<std::uint64_t>> find_build_info(const ElfFile& elf) {
    const auto search = [&](std::uint64_t vaddr, std::uint64_t size) -> Result<std::optional<std::uint64_t>> {
        constexpr std::uint64_t chunk_bytes = 1 << 20;
        for (std::uint64_t done = 0; done < size; done += chunk_bytes) {
            auto chunk = elf.bytes_at(vaddr + done, std::min(chunk_bytes, size - done));
            if (!chunk) return tl::unexpected(std::move(chunk).error());
            const auto bytes = std::as_const(*chunk).bytes();
            const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            std::size_t found = 0;
            while ((found = text.find(build_info_magic, found)) != std::string_view::npos) {
                if ((vaddr + done + found) % build_info_align == 0) return vaddr + done + found;
                ++found;
            }
        }
        return std::nullopt;
    };
    if (const ElfSection* section = elf.section(".go.buildinfo");
        section != nullptr && elf.loaded_at(section->vaddr, section->size) != nullptr)
        return search(section->vaddr, section->size);
    for (const Elf64_Phdr& segment : elf.segments()) {
        if (segment.p_type != PT_LOAD || (segment.p_flags & (PF_W | PF_X)) != PF_W) continue;
        const std::uint64_t start = (segment.p_vaddr + build_info_align - 1) & ~(build_info_align - 1);
        const std::uint64_t skipped = start - segment.p_vaddr;
        if (skipped >= segment.p_filesz) continue;
        auto found = search(start, segment.p_filesz - skipped);
        if (!found || *found) return found;
    }
    return std::nullopt;
}

// Reads a varint-prefixed string at `vaddr` and moves `vaddr` behind it.
inline Result<std::string> read_inline_string(const ElfFile& elf, std::uint64_t& vaddr) {
    std::uint64_t size = 0;
    for (unsigned shift = 0;; shift += 7) {
        auto byte = elf.bytes_at(vaddr, 1);
        if (!byte) return tl::unexpected(std::move(byte).error());
        ++vaddr;
        const auto value = load<std::uint8_t>(std::as_const(*byte).bytes(), 0);
        size |= static_cast<std::uint64_t>(value & 0x7f) << shift;
        if ((value & 0x80) == 0) break;
        if (shift >= 28 || size > max_build_info_text) break;
    }
    if (size > max_build_info_text) return fail(Stage::target, "has damaged Go build info: a text of more than 8 MiB");
    auto bytes = elf.bytes_at(vaddr, size);
    if (!bytes) return tl::unexpected(std::move(bytes).error().in("has damaged Go build info"));
    vaddr += size;
    return std::string(reinterpret_cast<const char*>(bytes->bytes().data()), bytes->size());
}

// Reads the Go string {data, size} at `vaddr`.
inline Result<std::string> read_pointed_string(const ElfFile& elf, std::uint64_t vaddr) {
    auto header = elf.bytes_at(vaddr, 16);
    if (!header) return tl::unexpected(std::move(header).error());
    const auto size = load<std::uint64_t>(std::as_const(*header).bytes(), 8);
    if (size > max_build_info_text) return fail(Stage::target, "has damaged Go build info: a text of more than 8 MiB");
    auto bytes = elf.bytes_at(load<std::uint64_t>(std::as_const(*header).bytes(), 0), size);
    if (!bytes) return tl::unexpected(std::move(bytes).error());
    return std::string(reinterpret_cast<const char*>(bytes->bytes().data()), bytes->size());
}

// Cuts the text before `separator` off `text`; all of it where there is none.
inline std::string_view cut(std::string_view& text, char separator) {
    const std::size_t at = text.find(separator);
    const std::string_view head = text.substr(0, at);
    text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
    return head;
}

inline Module parse_module(std::string_view fields) {
    const std::string_view path = cut(fields, '\t');
    return {std::string(path), std::string(cut(fields, '\t'))};
}

// runtime/debug.ParseBuildInfo: lines of tab-separated fields.
inline void parse_module_info(std::string_view text, BuildInfo& info) {
    constexpr std::size_t frame_bytes = 16;  // cmd/go/internal/modload: infoStart and infoEnd
    if (text.size() < 2 * frame_bytes + 1 || text[text.size() - frame_bytes - 1] != '\n') return;
    text = text.substr(frame_bytes, text.size() - 2 * frame_bytes);
    Dependency* last = nullptr;
    while (!text.empty()) {
        std::string_view line = cut(text, '\n');
        const std::string_view key = cut(line, '\t');
        if (key == "path") {
            info.main_package = line;
        } else if (key == "mod") {
            info.main_module = Dependency{parse_module(line), std::nullopt};
            last = &*info.main_module;
        } else if (key == "dep") {
            info.dependencies.push_back({parse_module(line), std::nullopt});
            last = &info.dependencies.back();
        } else if (key == "=>" && last != nullptr) {
            last->replacement = parse_module(line);
        } else if (key == "build") {
            const std::string_view name = cut(line, '=');
            info.settings.emplace_back(name, line);
        }
    }
}

}  // namespace detail

// nullopt: the file holds no Go build info, so it is not a Go executable (or was packed).
inline Result<std::optional<BuildInfo>> read_build_info(const ElfFile& elf) {
    auto found = detail::find_build_info(elf);
    if (!found) return tl::unexpected(std::move(found).error());
    if (!*found) return std::nullopt;
    std::uint64_t vaddr = **found;
    auto header = elf.bytes_at(vaddr, detail::build_info_header_bytes);
    if (!header) return tl::unexpected(std::move(header).error().in("has damaged Go build info"));
    const auto bytes = std::as_const(*header).bytes();
    constexpr std::size_t pointer_size_at = 14, flags_at = 15;
    constexpr std::uint8_t big_endian = 0x1, inline_strings = 0x2;
    const auto flags = load<std::uint8_t>(bytes, flags_at);

    BuildInfo info;
    std::string modules;
    if ((flags & inline_strings) != 0) {
        vaddr += detail::build_info_header_bytes;
        for (std::string* text : {&info.go_version, &modules}) {
            auto read = detail::read_inline_string(elf, vaddr);
            if (!read) return tl::unexpected(std::move(read).error());
            *text = std::move(*read);
        }
    } else {
        if ((flags & big_endian) != 0 || load<std::uint8_t>(bytes, pointer_size_at) != 8)
            return fail(Stage::target, "has damaged Go build info: not of a 64-bit little-endian build");
        std::size_t at = 16;
        for (std::string* text : {&info.go_version, &modules}) {
            const auto string_vaddr = load<std::uint64_t>(bytes, at);
            at += 8;
            if (string_vaddr == 0) continue;
            auto read = detail::read_pointed_string(elf, string_vaddr);
            if (!read) return tl::unexpected(std::move(read).error().in("has damaged Go build info"));
            *text = std::move(*read);
        }
    }
    if (info.go_version.empty()) return std::nullopt;
    detail::parse_module_info(modules, info);
    return info;
}

}  // namespace otel_ebpf::go
