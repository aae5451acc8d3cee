// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ExecutableImage: an executable's sections and functions in the form that the search for callers reads.
#pragma once

#include <elf.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/site/callers.hpp>

namespace otel_ebpf::detail {

// Reads every section that is in memory; make one only when callers are really searched for.
class ExecutableImage {
public:
    explicit ExecutableImage(const Executable& executable) : executable_(executable) {
        for (const ElfSection& section : executable.elf().sections()) {
            const bool is_data = (section.flags & SHF_ALLOC) != 0 || section.type == SHT_RELA;
            // The pclntab lists every function, so an address in it means nothing.
            if (!is_data || section.type == SHT_NOBITS || section.name.ends_with("gopclntab")) continue;
            auto bytes = executable.elf().bytes_of(section);
            if (!bytes) continue;
            buffers_.push_back(std::move(*bytes));
            const site::Section part{section.vaddr, std::as_const(buffers_.back()).bytes()};
            ((section.flags & SHF_EXECINSTR) != 0 ? text_ : data_).push_back(part);
            if ((section.flags & (SHF_EXECINSTR | SHF_WRITE)) == 0 || section.name.starts_with(".data.rel.ro"))
                read_only_.push_back(part);
        }
    }

    // Valid while this object lives.
    [[nodiscard]] site::Image view() {
        return {text_, data_, read_only_, executable_.go_text_start(),
                [this](std::uint64_t vaddr) { return function_at(vaddr); }};
    }

private:
    struct NamedCode {
        Function function;
        std::vector<std::byte> bytes;
    };

    std::optional<site::Code> function_at(std::uint64_t vaddr) {
        const auto function = executable_.function_at(vaddr);
        if (!function) return std::nullopt;
        auto position = functions_.find(function->vaddr);
        if (position == functions_.end()) {
            auto bytes = executable_.code(*function);
            if (!bytes) return std::nullopt;
            position = functions_.emplace(function->vaddr, NamedCode{*function, std::move(*bytes)}).first;
        }
        const NamedCode& known = position->second;
        return site::Code{known.function.vaddr, known.bytes, known.function.name};
    }

    const Executable& executable_;
    std::vector<ByteBuffer> buffers_;
    std::vector<site::Section> text_;
    std::vector<site::Section> data_;
    std::vector<site::Section> read_only_;  // holds Go's types, and so their method tables
    std::map<std::uint64_t, NamedCode> functions_;
};

}  // namespace otel_ebpf::detail
