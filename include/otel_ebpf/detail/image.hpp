// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ExecutableImage: an executable's sections and functions in the form that the search for callers reads.
#pragma once

#include <elf.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <otel_ebpf/detail/reference_search.hpp>
#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/site/select.hpp>

namespace otel_ebpf::detail {

inline site::Arch site_arch(const Executable& executable) {
    return executable.arch() == Arch::x86_64 ? site::Arch::x86_64 : site::Arch::aarch64;
}

// Holds only what may refer to the functions that it was made for, with the bytes around: a section here is a few bytes
// of one of the file. Reads all code and data of the file once, in chunks; make one only when callers are really
// searched for.
class ExecutableImage {
public:
    // The functions whose callers, or for native ones whose entries, will be asked for.
    static Result<ExecutableImage> open(const Executable& executable, std::span<const ReferenceTarget> targets) {
        ExecutableImage image(executable);
        ReferenceSearch search(executable.arch(), targets, executable.go_text_start());
        for (const Part& part : parts_of(executable)) {
            auto done = part.is_code ? image.read_code(part, search, targets, image.text_)
                                     : image.read_data(part, search);
            if (!done) return tl::unexpected(std::move(done).error());
        }
        for (const ReferenceTarget& target : targets) image.entries_known_.insert(target.vaddr);
        return image;
    }

    // Valid while this object lives, as is all code that it gives.
    [[nodiscard]] site::Image view(Abi abi = Abi::go) {
        const std::span<const site::Section> method_tables =
            executable_->is_go() ? std::span<const site::Section>(read_only_) : std::span<const site::Section>();
        return {text_, data_, method_tables, executable_->go_text_start(),
                [this, abi](std::uint64_t vaddr) { return function_at(vaddr, abi); }};
    }

    [[nodiscard]] Result<site::Code> code_of(const Function& function, Abi abi) {
        auto position = functions_.find({abi, function.vaddr});
        if (position == functions_.end()) {
            auto bytes = executable_->code(function);
            if (!bytes) return tl::unexpected(bytes.error());
            NamedCode fresh{function, std::move(*bytes), {}};
            if (abi == Abi::native) {
                if (auto found = find_entries(function); !found) return tl::unexpected(std::move(found).error());
                for (const auto* text : {&text_, &entry_text_}) {
                    const auto more = site::entered_from_outside(site_arch(*executable_), *text, function.vaddr,
                                                                 function.size);
                    fresh.entered_at.insert(fresh.entered_at.end(), more.begin(), more.end());
                }
                std::ranges::sort(fresh.entered_at);
            }
            position = functions_.emplace(std::pair(abi, function.vaddr), std::move(fresh)).first;
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

    // A range of the file, and what may refer to functions there. Relocations that are not loaded have no address.
    struct Part {
        std::uint64_t vaddr = 0;
        std::uint64_t offset = 0;
        std::uint64_t size = 0;
        bool is_code = false;
        bool has_methods = false;  // may hold Go's types, and so their method tables
    };

    explicit ExecutableImage(const Executable& executable) : executable_(&executable) {}

    // The function table lists every function, so an address in it means nothing.
    static std::vector<Part> parts_of(const Executable& executable) {
        const ElfFile& elf = executable.elf();
        std::vector<Part> parts;
        for (const ElfSection& section : elf.sections()) {
            const bool is_read = (section.flags & SHF_ALLOC) != 0 || section.type == SHT_RELA;
            if (!is_read || section.type == SHT_NOBITS || section.name.ends_with("gopclntab")) continue;
            const bool is_code = (section.flags & SHF_EXECINSTR) != 0;
            const bool has_methods =
                !is_code && ((section.flags & SHF_WRITE) == 0 || section.name.starts_with(".data.rel.ro"));
            parts.push_back({section.vaddr, section.offset, section.size, is_code, has_methods});
        }
        if (elf.sections().empty())
            for (const Elf64_Phdr& segment : elf.segments())
                if (segment.p_type == PT_LOAD)
                    parts.push_back({segment.p_vaddr, segment.p_offset, segment.p_filesz,
                                     (segment.p_flags & PF_X) != 0, (segment.p_flags & PF_X) == 0});
        if (const go::FunctionIndex* functions = executable.go_functions()) cut_out(functions->header(), parts);
        return parts;
    }

    static void cut_out(const go::PclntabHeader& table, std::vector<Part>& parts) {
        for (std::size_t i = 0; i < parts.size(); ++i) {
            Part& part = parts[i];
            if (table.vaddr < part.vaddr || !in_range(table.vaddr - part.vaddr, table.size, part.size)) continue;
            Part behind = part;
            const std::uint64_t skipped = table.vaddr - part.vaddr + table.size;
            behind.vaddr += skipped, behind.offset += skipped, behind.size -= skipped;
            part.size = table.vaddr - part.vaddr;
            parts.push_back(behind);
            return;
        }
    }

    // Calls visit(vaddr, bytes) for chunks of the part, which overlap by a word, so that each word and field lies whole
    // in one of them.
    template <class Visit>
    Result<void> for_each_chunk(const Part& part, Visit&& visit) const {
        constexpr std::uint64_t chunk_bytes = 256 << 10;
        ByteBuffer buffer(static_cast<std::size_t>(std::min(chunk_bytes, part.size)));
        for (std::uint64_t done = 0; done < part.size; done += chunk_bytes - sizeof(std::uint64_t)) {
            const auto chunk = buffer.bytes().first(
                static_cast<std::size_t>(std::min<std::uint64_t>(chunk_bytes, part.size - done)));
            auto read = executable_->elf().source().read(part.offset + done, chunk);
            if (!read) return read;
            visit(part.vaddr + done, std::span<const std::byte>(chunk));
        }
        return {};
    }

    // With the opcode before each field, and the short branches near each target.
    Result<void> read_code(const Part& part, ReferenceSearch& search, std::span<const ReferenceTarget> targets,
                           std::vector<site::Section>& sections) {
        constexpr std::uint64_t around = 160, short_branch = 130;
        auto done = for_each_chunk(
            part, [&](std::uint64_t vaddr, std::span<const std::byte> bytes) { search.scan_code(vaddr, bytes); });
        if (!done) return done;
        std::vector<std::uint64_t> fields = search.take();
        for (const ReferenceTarget& target : targets)
            for (const std::uint64_t vaddr : {target.vaddr - short_branch, target.vaddr, target.vaddr + short_branch})
                if (vaddr >= part.vaddr && vaddr - part.vaddr < part.size) fields.push_back(vaddr);
        // All that one function has goes into one section, as in the file.
        return keep(part, fields, around, sections, [this](std::uint64_t vaddr) {
            const auto function = executable_->function_at(vaddr);
            return function ? function->vaddr + function->size : vaddr;
        });
    }

    // With the type before each method.
    Result<void> read_data(const Part& part, ReferenceSearch& search) {
        constexpr std::uint64_t around = 16;
        std::vector<std::uint64_t> words, methods;
        const bool has_methods = part.has_methods && executable_->is_go();
        const auto append = [](std::vector<std::uint64_t>& to, const std::vector<std::uint64_t>& more) {
            to.insert(to.end(), more.begin(), more.end());
        };
        auto done = for_each_chunk(part, [&](std::uint64_t vaddr, std::span<const std::byte> bytes) {
            search.scan_data(vaddr, bytes);
            append(words, search.take());
            if (has_methods) search.scan_methods(vaddr, bytes);
            append(methods, search.take());
        });
        if (!done) return done;
        const auto is_alone = [](std::uint64_t vaddr) { return vaddr; };
        if (auto kept = keep(part, words, around, data_, is_alone); !kept) return kept;
        return keep(part, methods, around, read_only_, is_alone);
    }

    // Code that may enter a native function elsewhere than at its start, where it was not asked for at first: a caller,
    // most of the time. All functions with a reference to the wanted ones are then looked for at once.
    Result<void> find_entries(const Function& function) {
        if (!entries_known_.insert(function.vaddr).second) return {};
        std::vector<ReferenceTarget> targets{{function.vaddr, function.size}};
        for (const site::Section& section : text_) {
            std::uint64_t at = section.vaddr;
            while (at < section.vaddr + section.bytes.size()) {
                const auto other = executable_->function_at(at);
                const std::uint64_t end = other ? other->vaddr + other->size : at + 1;
                if (other && entries_known_.insert(other->vaddr).second) targets.push_back({other->vaddr, other->size});
                at = std::max(at + 1, end);
            }
        }
        ReferenceSearch search(executable_->arch(), targets, executable_->go_text_start());
        for (const Part& part : parts_of(*executable_))
            if (part.is_code)
                if (auto done = read_code(part, search, targets, entry_text_); !done) return done;
        return {};
    }

    // Reads the bytes from `around` before each address to `around` behind it, in one piece with what is up to
    // end_of(address).
    template <class EndOf>
    Result<void> keep(const Part& part, std::vector<std::uint64_t>& addresses, std::uint64_t around,
                      std::vector<site::Section>& sections, EndOf&& end_of) {
        constexpr std::uint64_t max_bytes = 32 << 20;  // a function that is called from 100,000 places
        std::ranges::sort(addresses);
        for (std::size_t i = 0; i < addresses.size();) {
            const std::uint64_t first = addresses[i] - part.vaddr;
            const std::uint64_t begin = first > around ? first - around : 0;
            std::uint64_t end = first + around, together = end_of(addresses[i]) - part.vaddr;
            for (++i; i < addresses.size(); ++i) {
                const std::uint64_t next = addresses[i] - part.vaddr;
                if (next > end + around && next >= together) break;
                if (next >= together) together = end_of(addresses[i]) - part.vaddr;
                end = next + around;
            }
            end = std::min(end, part.size);
            kept_bytes_ += end - begin;
            if (kept_bytes_ > max_bytes)
                return fail(Stage::symbol, executable_->path().string() +
                                               " refers to the wanted functions from an absurd number of places");
            auto bytes = executable_->elf().source().read(part.offset + begin, end - begin);
            if (!bytes) return tl::unexpected(std::move(bytes).error());
            buffers_.push_back(std::move(*bytes));
            sections.push_back({part.vaddr + begin, std::as_const(buffers_.back()).bytes()});
        }
        return {};
    }

    std::optional<site::Code> function_at(std::uint64_t vaddr, Abi abi) {
        const auto function = executable_->function_at(vaddr);
        if (!function) return std::nullopt;
        const auto code = code_of(*function, abi);
        return code ? std::optional(*code) : std::nullopt;
    }

    const Executable* executable_;
    std::deque<ByteBuffer> buffers_;
    std::uint64_t kept_bytes_ = 0;
    std::vector<site::Section> text_;
    std::vector<site::Section> entry_text_;  // more of it, of which view() says nothing
    std::set<std::uint64_t> entries_known_;  // functions whose entries these two have
    std::vector<site::Section> data_;
    std::vector<site::Section> read_only_;  // holds Go's types, and so their method tables
    std::map<std::pair<Abi, std::uint64_t>, NamedCode> functions_;
};

}  // namespace otel_ebpf::detail
