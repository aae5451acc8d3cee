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
#include <utility>
#include <vector>

#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/site/select.hpp>

namespace otel_ebpf::detail {

inline site::Arch site_arch(const Executable& executable) {
    return executable.arch() == Arch::x86_64 ? site::Arch::x86_64 : site::Arch::aarch64;
}

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

    // Valid while this object lives, as is all code that it gives.
    [[nodiscard]] site::Image view(Abi abi = Abi::go) {
        const std::span<const site::Section> method_tables =
            executable_.is_go() ? std::span<const site::Section>(read_only_) : std::span<const site::Section>();
        return {text_, data_, method_tables, executable_.go_text_start(),
                [this, abi](std::uint64_t vaddr) { return function_at(vaddr, abi); }};
    }

    [[nodiscard]] Result<site::Code> code_of(const Function& function, Abi abi) {
        auto position = functions_.find({abi, function.vaddr});
        if (position == functions_.end()) {
            auto bytes = executable_.code(function);
            if (!bytes) return tl::unexpected(bytes.error());
            NamedCode fresh{function, std::move(*bytes), {}};
            position = functions_.emplace(std::pair(abi, function.vaddr), std::move(fresh)).first;
            if (abi == Abi::native)
                position->second.entered_at =
                    site::entered_from_outside(site_arch(executable_), text_, function.vaddr, function.size);
        }
        const NamedCode& known = position->second;
        return site::Code{known.function.vaddr, known.bytes, known.function.name, abi, known.entered_at};
    }

private:
    struct NamedCode {
        Function function;
        std::vector<std::byte> bytes;
        std::vector<std::uint64_t> entered_at;
    };

    std::optional<site::Code> function_at(std::uint64_t vaddr, Abi abi) {
        const auto function = executable_.function_at(vaddr);
        if (!function) return std::nullopt;
        const auto code = code_of(*function, abi);
        return code ? std::optional(*code) : std::nullopt;
    }

    const Executable& executable_;
    std::vector<ByteBuffer> buffers_;
    std::vector<site::Section> text_;
    std::vector<site::Section> data_;
    std::vector<site::Section> read_only_;  // holds Go's types, and so their method tables
    std::map<std::pair<Abi, std::uint64_t>, NamedCode> functions_;
};

}  // namespace otel_ebpf::detail
