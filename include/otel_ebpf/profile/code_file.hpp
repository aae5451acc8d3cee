// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// CodeFile: from addresses of a mapped file to functions and lines. CodeFiles: each file read once.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/go/line_table.hpp>
#include <otel_ebpf/log.hpp>
#include <otel_ebpf/profile/build_ids.hpp>
#include <otel_ebpf/profile/symbol_index.hpp>

namespace otel_ebpf::profile {

// A function at an address; inlined ones have entries of their own.
struct CodeFrame {
    std::string function;
    std::string file;      // empty: unknown
    std::int64_t line = 0; // 0: unknown
};

// Immutable. A file that is no ELF file gives no frames.
class CodeFile {
public:
    // Never fails: what can't be read about the file is logged and missing.
    static std::shared_ptr<const CodeFile> open(Fd fd, const FileIdentity& identity, const std::string& shown_path) {
        std::shared_ptr<CodeFile> file(new CodeFile(std::move(fd)));
        if (auto done = file->read(ByteSource::from_fd(file->fd_.get(), identity.size)); !done)
            log(LogLevel::info, shown_path + ": no symbols: it " + done.error().what);
        return file;
    }

    // From bytes that outlive it.
    static std::shared_ptr<const CodeFile> from_memory(std::span<const std::byte> bytes, const std::string& name) {
        std::shared_ptr<CodeFile> file(new CodeFile(Fd()));
        if (auto done = file->read(ByteSource::from_memory(bytes)); !done)
            log(LogLevel::info, name + ": no symbols: it " + done.error().what);
        return file;
    }

    CodeFile(const CodeFile&) = delete;
    CodeFile& operator=(const CodeFile&) = delete;

    [[nodiscard]] const BuildIds& build_ids() const { return build_ids_; }
    [[nodiscard]] bool is_go() const { return !go_version_.empty(); }
    [[nodiscard]] const std::string& go_version() const { return go_version_; }  // "go1.26.8"; empty: not Go

    // The address in the file's own terms of a byte that is mapped; nullopt when no segment loads it.
    [[nodiscard]] std::optional<std::uint64_t> vaddr_of(std::uint64_t file_offset) const {
        for (const Elf64_Phdr& segment : segments_)
            if (segment.p_type == PT_LOAD && file_offset >= segment.p_offset &&
                file_offset - segment.p_offset < segment.p_filesz)
                return file_offset - segment.p_offset + segment.p_vaddr;
        return std::nullopt;
    }

    // Innermost first; empty when the address is in no known function.
    [[nodiscard]] std::vector<CodeFrame> frames_at(std::uint64_t vaddr) const {
        std::vector<CodeFrame> frames;
        if (lines_)
            for (const go::SourcePlace& place : lines_->places_at(vaddr))
                if (!place.function.empty())
                    frames.push_back({std::string(place.function), std::string(place.file), place.line});
        if (!frames.empty() || !symbols_) return frames;
        if (const SymbolIndex::Symbol* symbol = symbols_->find(vaddr))
            frames.push_back({symbols_->name(*symbol), {}, 0});
        return frames;
    }

    // How far the stack pointer is below the return address at `vaddr`, in bytes, which only Go code tells.
    [[nodiscard]] std::optional<std::uint32_t> stack_delta_at(std::uint64_t vaddr) const {
        return lines_ && arch_ == Arch::x86_64 ? lines_->stack_delta_at(vaddr) : std::nullopt;
    }

    // Where the function that covers `vaddr` begins, by the symbol tables.
    [[nodiscard]] std::optional<std::uint64_t> function_start(std::uint64_t vaddr) const {
        const SymbolIndex::Symbol* symbol = symbols_ ? symbols_->find(vaddr) : nullptr;
        return symbol != nullptr ? std::optional(symbol->vaddr) : std::nullopt;
    }

private:
    explicit CodeFile(Fd fd) : fd_(std::move(fd)) {}

    Result<void> read(const ByteSource& source) {
        if (auto hash = htlhash_of(source)) build_ids_.htlhash = std::move(*hash);
        auto elf = ElfFile::open(source);
        if (!elf) return Failure(std::move(elf.error()));
        elf_ = std::move(*elf);
        arch_ = elf_->arch();
        segments_.assign(elf_->segments().begin(), elf_->segments().end());
        build_ids_.gnu = elf_->build_id();
        build_ids_.go = elf_->go_build_id();
        auto info = go::read_build_info(*elf_);
        if (info && *info) go_version_ = (*info)->go_version;
        Result<void> done;
        if (is_go()) done = read_go_lines();
        // Go code with lines needs no symbols, but C code that is linked to it does.
        symbols_.emplace(*elf_);
        if (!lines_) {  // descriptors are few: only the tables of Go are read later on
            elf_.reset();
            fd_.reset();
        }
        return done;
    }

    Result<void> read_go_lines() {
        auto header = go::read_pclntab_header(*elf_);
        if (!header) return Failure(std::move(header.error()));
        auto table = go::Pclntab::open(*elf_, *header);
        if (!table) return Failure(std::move(table.error()));
        auto start = go::find_text_start(*elf_, *header, *table);
        if (!start) return Failure(std::move(start.error()));
        auto lines = go::LineTable::open(*elf_, std::move(*table), *start,
                                         go::find_function_data(*elf_, *header, Version::parse(go_version_)));
        if (!lines) return Failure(std::move(lines.error()));
        lines_.emplace(std::move(*lines));
        return {};
    }

    Fd fd_;
    BuildIds build_ids_;
    std::string go_version_;
    std::optional<Arch> arch_;
    std::vector<Elf64_Phdr> segments_;
    std::optional<ElfFile> elf_;  // while lines_ reads from it
    std::optional<go::LineTable> lines_;
    std::optional<SymbolIndex> symbols_;
};

// By identity of the file, for as long as this object lives.
class CodeFiles {
public:
    // Opens `path`; the text is only for messages. Fails when it can't be opened or is no regular file.
    [[nodiscard]] Result<std::shared_ptr<const CodeFile>> open(const std::string& path, const std::string& shown_path) {
        Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a FIFO must not hold up the caller
        if (!fd) return fail_errno(Stage::target, "open " + path);
        struct stat status {};
        if (::fstat(fd.get(), &status) != 0) return fail_errno(Stage::target, "stat " + path);
        if (!S_ISREG(status.st_mode)) return fail(Stage::target, path + " is not a regular file");
        const FileIdentity identity = FileIdentity::of(status);
        auto& known = files_[identity];
        if (!known) known = CodeFile::open(std::move(fd), identity, shown_path);
        return known;
    }

    [[nodiscard]] std::size_t size() const { return files_.size(); }

private:
    std::unordered_map<FileIdentity, std::shared_ptr<const CodeFile>> files_;
};

}  // namespace otel_ebpf::profile
