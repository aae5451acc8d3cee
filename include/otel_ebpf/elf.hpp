// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// ElfFile: checked reading of 64-bit little-endian ELF executables.
//
// Every offset, size and count in the file is hostile until checked here. Messages are predicates ("is truncated:
// ..."), to be put behind the name of the file.
#pragma once

#include <elf.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/byte_source.hpp>
#include <otel_ebpf/error.hpp>

namespace otel_ebpf {

static_assert(std::endian::native == std::endian::little, "ELF structs are read in the byte order of the file");

enum class Arch : std::uint8_t { x86_64, aarch64 };

constexpr std::string_view to_string(Arch arch) {
    return arch == Arch::x86_64 ? "x86_64" : "aarch64";
}

struct ElfSection {
    std::string name;
    std::uint32_t type = 0;
    std::uint64_t flags = 0;
    std::uint64_t vaddr = 0;
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    std::uint32_t link = 0;
};

// Headers are read and checked by open(); the rest on request.
class ElfFile {
public:
    static Result<ElfFile> open(ByteSource source) {
        ElfFile file(source);
        auto done = file.read_headers();
        if (!done) return tl::unexpected(std::move(done).error());
        return file;
    }

    [[nodiscard]] const ByteSource& source() const { return source_; }
    [[nodiscard]] Arch arch() const { return header_.e_machine == EM_AARCH64 ? Arch::aarch64 : Arch::x86_64; }
    // PIE or shared object: addresses in the process differ from those in the file.
    [[nodiscard]] bool is_position_independent() const { return header_.e_type == ET_DYN; }
    [[nodiscard]] std::span<const Elf64_Phdr> segments() const { return segments_; }
    [[nodiscard]] std::span<const ElfSection> sections() const { return sections_; }

    // The first section of that name; nullptr when there is none.
    [[nodiscard]] const ElfSection* section(std::string_view name) const {
        for (const ElfSection& section : sections_)
            if (section.name == name) return &section;
        return nullptr;
    }

    [[nodiscard]] Result<ByteBuffer> bytes_of(const ElfSection& section) const {
        if (section.type == SHT_NOBITS) return ByteBuffer();
        return source_.read(section.offset, section.size);
    }

    // Segment of type PT_LOAD whose bytes in the file cover [vaddr, vaddr + size); nullptr when there is none.
    [[nodiscard]] const Elf64_Phdr* loaded_at(std::uint64_t vaddr, std::uint64_t size) const {
        for (const Elf64_Phdr& segment : segments_)
            if (segment.p_type == PT_LOAD && vaddr >= segment.p_vaddr &&
                in_range(vaddr - segment.p_vaddr, size, segment.p_filesz))
                return &segment;
        return nullptr;
    }

    // True when the bytes are mapped executable.
    [[nodiscard]] bool is_code(std::uint64_t vaddr, std::uint64_t size) const {
        const Elf64_Phdr* segment = loaded_at(vaddr, size);
        return segment != nullptr && (segment->p_flags & PF_X) != 0;
    }

    // File offset of an instruction.
    [[nodiscard]] Result<std::uint64_t> file_offset(std::uint64_t vaddr) const {
        if (!is_code(vaddr, 1)) return fail(Stage::symbol, "has no code at address " + hex(vaddr));
        const Elf64_Phdr* segment = loaded_at(vaddr, 1);
        return vaddr - segment->p_vaddr + segment->p_offset;
    }

    // File offset of bytes that are in the file and in one segment.
    [[nodiscard]] Result<std::uint64_t> offset_of(std::uint64_t vaddr, std::uint64_t size) const {
        const Elf64_Phdr* segment = loaded_at(vaddr, size);
        if (segment == nullptr)
            return fail(Stage::target, "has no " + std::to_string(size) + " bytes at address " + hex(vaddr));
        return vaddr - segment->p_vaddr + segment->p_offset;
    }

    // What the loader maps at [vaddr, vaddr + size), before relocation.
    [[nodiscard]] Result<ByteBuffer> bytes_at(std::uint64_t vaddr, std::uint64_t size) const {
        auto offset = offset_of(vaddr, size);
        if (!offset) return tl::unexpected(std::move(offset).error());
        return source_.read(*offset, size);
    }

    // NT_GNU_BUILD_ID in hex; empty when there is none.
    [[nodiscard]] const std::string& build_id() const { return build_id_; }
    // Text of the Go linker's own build id note; empty when there is none.
    [[nodiscard]] const std::string& go_build_id() const { return go_build_id_; }

    [[nodiscard]] std::optional<Elf64_Phdr> tls_segment() const {
        for (const Elf64_Phdr& segment : segments_)
            if (segment.p_type == PT_TLS) return segment;
        return std::nullopt;
    }

    static std::string hex(std::uint64_t number) {
        std::string text;
        do text.insert(text.begin(), "0123456789abcdef"[number & 0xf]);
        while ((number >>= 4) != 0);
        return "0x" + text;
    }

private:
    static constexpr std::uint32_t go_build_id_note = 4;    // cmd/link/internal/ld/elf.go: ELF_NOTE_GOBUILDID_TAG
    static constexpr std::uint64_t max_note_bytes = 65536;  // far above the hundred bytes of real notes
    static constexpr std::size_t max_notes = 64;
    static constexpr std::uint64_t max_sections = 65536;
    static constexpr std::size_t max_section_name_bytes = 128;

    explicit ElfFile(ByteSource source) : source_(source) {}

    Result<void> read_headers() {
        if (auto done = read_file_header(); !done) return done;
        std::uint64_t segment_count = header_.e_phnum;
        if (auto done = read_sections(segment_count); !done) return done;
        if (auto done = read_segments(segment_count); !done) return done;
        return read_notes();
    }

    Result<void> read_file_header() {
        std::array<std::byte, sizeof(Elf64_Ehdr)> raw{};
        const std::size_t available = static_cast<std::size_t>(std::min<std::uint64_t>(raw.size(), source_.size()));
        if (auto done = source_.read(0, std::span(raw).first(available)); !done) return done;
        const auto ident = load<std::array<unsigned char, EI_NIDENT>>(raw, 0);
        if (available < EI_NIDENT || std::memcmp(ident.data(), ELFMAG, SELFMAG) != 0)
            return fail(Stage::target, "is not an ELF file");
        if (ident[EI_CLASS] == ELFCLASS32)
            return fail(Stage::unsupported, "is a 32-bit ELF: only 64-bit executables are supported");
        if (ident[EI_DATA] == ELFDATA2MSB)
            return fail(Stage::unsupported, "is a big-endian ELF: only little-endian executables are supported");
        if (ident[EI_CLASS] != ELFCLASS64 || ident[EI_DATA] != ELFDATA2LSB || ident[EI_VERSION] != EV_CURRENT)
            return fail(Stage::target, "is a damaged ELF file: unknown class, byte order or version");
        if (available < raw.size()) return fail(Stage::target, "is truncated: its ELF header is incomplete");
        header_ = load<Elf64_Ehdr>(raw, 0);
        if (header_.e_machine != EM_X86_64 && header_.e_machine != EM_AARCH64)
            return fail(Stage::unsupported, "is for ELF machine " + std::to_string(header_.e_machine) +
                                                ": only x86_64 and aarch64 are supported");
        if (header_.e_type != ET_EXEC && header_.e_type != ET_DYN)
            return fail(Stage::target, "is not an executable (ELF type " + std::to_string(header_.e_type) + ")");
        return {};
    }

    // Also resolves the counts that do not fit the ELF header (ELF gABI: e_shnum 0, e_phnum PN_XNUM).
    Result<void> read_sections(std::uint64_t& segment_count) {
        if (header_.e_shoff == 0) return {};
        if (header_.e_shentsize != sizeof(Elf64_Shdr))
            return fail(Stage::target,
                        "is a damaged ELF file: section headers of " + std::to_string(header_.e_shentsize) + " bytes");
        auto first = source_.read(header_.e_shoff, sizeof(Elf64_Shdr));
        if (!first) return tl::unexpected(std::move(first).error());
        const auto zeroth = load<Elf64_Shdr>(first->bytes(), 0);
        const std::uint64_t count = header_.e_shnum != 0 ? header_.e_shnum : zeroth.sh_size;
        const std::uint64_t names_index = header_.e_shstrndx != SHN_XINDEX ? header_.e_shstrndx : zeroth.sh_link;
        if (segment_count == PN_XNUM) segment_count = zeroth.sh_info;
        if (count > max_sections || count > source_.size() / sizeof(Elf64_Shdr))
            return fail(Stage::target, "is truncated: it claims " + std::to_string(count) + " sections");
        auto table = source_.read(header_.e_shoff, count * sizeof(Elf64_Shdr));
        if (!table) return tl::unexpected(std::move(table).error());

        ByteBuffer names;
        if (names_index != SHN_UNDEF) {
            if (names_index >= count)
                return fail(Stage::target, "is a damaged ELF file: section names in a section that does not exist");
            const auto raw = load<Elf64_Shdr>(table->bytes(), names_index * sizeof(Elf64_Shdr));
            auto text = source_.read(raw.sh_offset, raw.sh_size);
            if (!text) return tl::unexpected(std::move(text).error());
            names = std::move(*text);
        }
        sections_.reserve(count);
        for (std::uint64_t i = 0; i < count; ++i) {
            const auto raw = load<Elf64_Shdr>(table->bytes(), i * sizeof(Elf64_Shdr));
            if (raw.sh_type != SHT_NOBITS && raw.sh_type != SHT_NULL &&
                !in_range(raw.sh_offset, raw.sh_size, source_.size()))
                return fail(Stage::target, "is truncated: section " + std::to_string(i) + " lies beyond its end");
            const std::string_view name = text_at(std::as_const(names).bytes(), raw.sh_name);
            sections_.push_back({std::string(name.substr(0, max_section_name_bytes)), raw.sh_type, raw.sh_flags,
                                 raw.sh_addr, raw.sh_offset, raw.sh_size, raw.sh_link});
        }
        return {};
    }

    Result<void> read_segments(std::uint64_t count) {
        if (count == 0) return fail(Stage::target, "is not an executable: it has no program headers");
        if (header_.e_phentsize != sizeof(Elf64_Phdr))
            return fail(Stage::target,
                        "is a damaged ELF file: program headers of " + std::to_string(header_.e_phentsize) + " bytes");
        auto table = source_.read(header_.e_phoff, count * sizeof(Elf64_Phdr));
        if (!table) return tl::unexpected(std::move(table).error());
        segments_.reserve(count);
        for (std::uint64_t i = 0; i < count; ++i) {
            const auto segment = load<Elf64_Phdr>(table->bytes(), i * sizeof(Elf64_Phdr));
            if (segment.p_type == PT_LOAD || segment.p_type == PT_NOTE) {
                if (!in_range(segment.p_offset, segment.p_filesz, source_.size()))
                    return fail(Stage::target, "is truncated: segment " + std::to_string(i) + " lies beyond its end");
                if (segment.p_filesz > segment.p_memsz || segment.p_vaddr > UINT64_MAX - segment.p_memsz)
                    return fail(Stage::target, "is a damaged ELF file: absurd size of segment " + std::to_string(i));
            }
            segments_.push_back(segment);
        }
        return {};
    }

    // The Go linker puts its GNU build id in a section that no PT_NOTE covers; executables without sections have
    // PT_NOTE.
    Result<void> read_notes() {
        std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
        for (const ElfSection& section : sections_)
            if (section.type == SHT_NOTE) ranges.emplace_back(section.offset, section.size);
        for (const Elf64_Phdr& segment : segments_)
            if (segment.p_type == PT_NOTE) ranges.emplace_back(segment.p_offset, segment.p_filesz);
        if (ranges.size() > max_notes) ranges.resize(max_notes);
        for (const auto& [offset, size] : ranges) {
            if (size > max_note_bytes) continue;
            auto buffer = source_.read(offset, size);
            if (!buffer) return tl::unexpected(std::move(buffer).error());
            read_notes_in(std::as_const(*buffer).bytes());
        }
        return {};
    }

    void read_notes_in(std::span<const std::byte> bytes) {
        const auto padded = [](std::uint64_t size) { return (size + 3) & ~std::uint64_t{3}; };
        while (bytes.size() >= sizeof(Elf64_Nhdr)) {
            const auto note = load<Elf64_Nhdr>(bytes, 0);
            const std::uint64_t text_offset = sizeof(note) + padded(note.n_namesz);
            if (!in_range(text_offset, note.n_descsz, bytes.size())) return;
            const auto* begin = reinterpret_cast<const char*>(bytes.data());
            const std::string_view owner(begin + sizeof(note), note.n_namesz);
            const std::string_view text(begin + text_offset, note.n_descsz);
            if (owner == std::string_view("GNU\0", 4) && note.n_type == NT_GNU_BUILD_ID && build_id_.empty()) {
                for (const char c : text) {
                    build_id_ += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
                    build_id_ += "0123456789abcdef"[static_cast<unsigned char>(c) & 0xf];
                }
            } else if (owner == std::string_view("Go\0\0", 4) && note.n_type == go_build_id_note) {
                go_build_id_ = text;
            }
            const std::uint64_t next = text_offset + padded(note.n_descsz);
            if (next > bytes.size()) return;
            bytes = bytes.subspan(next);
        }
    }

    ByteSource source_;
    Elf64_Ehdr header_{};
    std::vector<Elf64_Phdr> segments_;
    std::vector<ElfSection> sections_;
    std::string build_id_;
    std::string go_build_id_;
};

}  // namespace otel_ebpf
