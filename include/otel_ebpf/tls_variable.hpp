// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Where a thread-local variable of an executable or a library is, from any thread's thread pointer.
//
// How code reaches the variable is chosen by compiler and linker: a fixed distance from the thread pointer
// (local-exec), one that the loader computes (initial-exec, static TLSDESC), or a place in the dynamic thread vector
// (legacy general dynamic, dynamic TLSDESC). What the loader computed stands in the module's GOT, at addresses named by
// relocations.
#pragma once

#include <elf.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <otel_ebpf/elf.hpp>
#include <otel_ebpf/elf_symbols.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/process_maps.hpp>
#include <otel_ebpf/types.h>

namespace otel_ebpf {

enum class Libc : std::uint8_t { glibc, musl };

enum class TlsModel : std::uint8_t { local_exec, initial_exec, tlsdesc_static, tlsdesc_dynamic, legacy_dynamic };

constexpr std::string_view to_string(TlsModel model) {
    switch (model) {
        case TlsModel::local_exec: return "local-exec";
        case TlsModel::initial_exec: return "initial-exec";
        case TlsModel::tlsdesc_static: return "TLSDESC, static";
        case TlsModel::tlsdesc_dynamic: return "TLSDESC, dynamic";
        case TlsModel::legacy_dynamic: return "general dynamic";
    }
    return "unknown";
}

// A word of the GOT, or two, that the loader fills for the variable.
struct TlsSlot {
    enum class Kind : std::uint8_t { descriptor, initial_exec, module_pair };
    Kind kind = Kind::descriptor;
    std::uint64_t vaddr = 0;
    bool by_symbol = false;  // else by the place in the module's block only
};

struct TlsVariable {
    std::uint64_t block_offset = 0;  // in the TLS block of its module
    std::vector<TlsSlot> slots;
};

struct TlsPlace {
    oe_tls_location location{};
    TlsModel model = TlsModel::local_exec;
};

namespace detail {

struct TlsRelocations {
    std::uint32_t descriptor, initial_exec, module;
};
// psABI of each architecture; the module's relocation is the first word of a pair.
constexpr TlsRelocations tls_relocations(Arch arch) {
    return arch == Arch::x86_64 ? TlsRelocations{36, 18, 16} : TlsRelocations{1031, 1030, 1028};
}

inline constexpr std::uint64_t max_tls_bytes = 1ULL << 30;
inline constexpr std::size_t max_tls_slots = 64;

inline void add_tls_slots(const ElfFile& elf, std::span<const std::byte> relocations, std::uint32_t symbol,
                          TlsVariable& variable) {
    const TlsRelocations types = tls_relocations(elf.arch());
    for (std::size_t at = 0; in_range(at, sizeof(Elf64_Rela), relocations.size()); at += sizeof(Elf64_Rela)) {
        const auto relocation = load<Elf64_Rela>(relocations, at);
        const auto type = static_cast<std::uint32_t>(ELF64_R_TYPE(relocation.r_info));
        if (type != types.descriptor && type != types.initial_exec && type != types.module) continue;
        const auto of = static_cast<std::uint32_t>(ELF64_R_SYM(relocation.r_info));
        const bool by_symbol = symbol != 0 && of == symbol;
        // Symbols that can't be replaced are named by their place: the addend, or the second word of a pair.
        const bool by_place = of == 0 && (type == types.module || static_cast<std::uint64_t>(relocation.r_addend) ==
                                                                      variable.block_offset);
        if (!by_symbol && !by_place) continue;
        if (variable.slots.size() == max_tls_slots) return;
        variable.slots.push_back({type == types.descriptor     ? TlsSlot::Kind::descriptor
                                  : type == types.initial_exec ? TlsSlot::Kind::initial_exec
                                                               : TlsSlot::Kind::module_pair,
                                  relocation.r_offset, by_symbol});
    }
}

}  // namespace detail

// nullopt: the file defines no such variable. Looks at .dynsym, then at .symtab: a static executable may export
// nothing.
[[nodiscard]] inline Result<std::optional<TlsVariable>> find_tls_variable(const ElfFile& elf, std::string_view name) {
    TlsVariable variable;
    std::uint32_t index = 0;
    const ElfSection* const table = elf.section(".dynsym");
    if (table != nullptr && table->type == SHT_DYNSYM) {
        if (table->link >= elf.sections().size()) return fail(Stage::target, "has a damaged .dynsym: no names");
        auto entries = elf.bytes_of(*table);
        if (!entries) return Failure(std::move(entries.error()));
        auto names = elf.bytes_of(elf.sections()[table->link]);
        if (!names) return Failure(std::move(names.error()));
        for (std::uint32_t i = 1; in_range(i * sizeof(Elf64_Sym), sizeof(Elf64_Sym), entries->size()); ++i) {
            const auto symbol = load<Elf64_Sym>(std::as_const(*entries).bytes(), i * sizeof(Elf64_Sym));
            if (ELF64_ST_TYPE(symbol.st_info) != STT_TLS || symbol.st_shndx == SHN_UNDEF ||
                text_at(std::as_const(*names).bytes(), symbol.st_name) != name)
                continue;
            index = i;
            variable.block_offset = symbol.st_value;
            break;
        }
    }
    const auto symbols = ElfSymbols::sections(elf);
    if (index == 0 && symbols) {
        const go::NameSet wanted(std::span(&name, 1));
        auto done = find_symbols(elf, *symbols, wanted, [&](std::string_view own_name, const Elf64_Sym& symbol) {
            if (ELF64_ST_TYPE(symbol.st_info) != STT_TLS || own_name != name) return true;
            index = UINT32_MAX;  // no relocation names it
            variable.block_offset = symbol.st_value;
            return false;
        });
        if (!done) return tl::unexpected(std::move(done).error());
    }
    if (index == 0) return std::nullopt;
    const auto segment = elf.tls_segment();
    if (!segment || segment->p_memsz > detail::max_tls_bytes ||
        !in_range(variable.block_offset, sizeof(std::uint64_t), segment->p_memsz))
        return fail(Stage::target, "has " + std::string(name) + " outside of its TLS segment");
    for (const ElfSection& section : elf.sections()) {
        if (section.type != SHT_RELA) continue;
        auto relocations = elf.bytes_of(section);
        if (!relocations) return Failure(std::move(relocations.error()));
        detail::add_tls_slots(elf, std::as_const(*relocations).bytes(), index, variable);
    }
    return std::optional(std::move(variable));
}

// A variable of the executable itself, whose block lies next to the thread pointer: below on x86_64 (TLS variant II),
// above two words on aarch64 (variant I).
[[nodiscard]] inline Result<TlsPlace> local_exec_place(const ElfFile& elf, const TlsVariable& variable) {
    const auto segment = elf.tls_segment();
    if (!segment) return fail(Stage::target, "has no TLS segment");
    const std::uint64_t align = segment->p_align > 1 ? segment->p_align : 1;
    if ((align & (align - 1)) != 0 || align > detail::max_tls_bytes || segment->p_memsz > detail::max_tls_bytes)
        return fail(Stage::target, "has a damaged TLS segment");
    const std::uint64_t mask = align - 1;
    TlsPlace place;
    place.location.kind = OE_TLS_STATIC;
    if (elf.arch() == Arch::x86_64) {
        const std::uint64_t size = segment->p_memsz + ((0 - segment->p_vaddr - segment->p_memsz) & mask);
        place.location.offset = static_cast<std::int64_t>(variable.block_offset) - static_cast<std::int64_t>(size);
    } else {
        constexpr std::uint64_t head = 16;  // two words at the thread pointer
        place.location.offset =
            static_cast<std::int64_t>(head + ((segment->p_vaddr - head) & mask) + variable.block_offset);
    }
    return place;
}

namespace detail {

inline TlsPlace dynamic_place(Arch arch, Libc libc, TlsModel model, std::uint64_t module_id, std::uint64_t offset) {
    TlsPlace place;
    place.model = model;
    place.location.kind = OE_TLS_DTV;
    place.location.module_id = module_id;
    place.location.offset = static_cast<std::int64_t>(offset);
    // The vector's address: glibc tcbhead_t.dtv; musl struct pthread.dtv, on aarch64 at its end, below the pointer.
    place.location.dtv_offset = arch == Arch::x86_64 ? 8 : libc == Libc::glibc ? 0 : -8;
    place.location.dtv_stride = libc == Libc::glibc ? 16 : 8;
    // glibc: the entry in front of the vector has the count; musl: the first entry is the count.
    place.location.dtv_count_offset = libc == Libc::glibc ? -16 : 0;
    return place;
}

// Whether a descriptor's argument is an offset from the thread pointer, else the address of {module id, offset}.
// Its size does not tell: the heap of an executable with a fixed address lies low.
inline Result<bool> is_static_descriptor(Arch arch, std::uint64_t resolver, std::uint64_t argument,
                                         const ReadMemory& read) {
    // Static blocks lie below the thread pointer there.
    if (arch == Arch::x86_64) return static_cast<std::int64_t>(argument) < 0;
    // All that the static resolver of glibc and musl does is `ldr x0, [x0, #8]; ret`, maybe behind `bti c`.
    constexpr std::uint32_t bti_c = 0xd503245f, load = 0xf9400400, ret = 0xd65f03c0;
    const auto code = read_memory<std::array<std::uint32_t, 4>>(read, resolver);
    if (!code) return Failure(code.error());
    const std::size_t at = (*code)[0] == bti_c ? 1 : 0;
    return (*code)[at] == load && (*code)[at + 1] == ret;
}

inline Result<TlsPlace> checked(TlsPlace place) {
    constexpr std::uint64_t max_modules = 65536;
    const auto& where = place.location;
    if (where.kind == OE_TLS_DTV && (where.module_id == 0 || where.module_id > max_modules || where.offset < 0 ||
                                     where.offset > static_cast<std::int64_t>(max_tls_bytes)))
        return fail(Stage::offset, "has absurd numbers in its GOT: module " + std::to_string(where.module_id) +
                                       ", offset " + std::to_string(where.offset));
    if (where.kind == OE_TLS_STATIC && (where.offset < -static_cast<std::int64_t>(max_tls_bytes) ||
                                        where.offset > static_cast<std::int64_t>(max_tls_bytes)))
        return fail(Stage::offset, "has an absurd TLS offset in its GOT: " + std::to_string(where.offset));
    return place;
}

}  // namespace detail

// A variable of a loaded library or position-independent executable, from what the loader has put into its GOT. `bias`:
// address in the process less address in the file.
[[nodiscard]] inline Result<TlsPlace> place_in_process(const ElfFile& elf, const TlsVariable& variable,
                                                       std::uint64_t bias, Libc libc, const ReadMemory& read) {
    Error last{Stage::symbol, {}, "has no relocation that tells where its thread-local variable is", {}};
    for (const TlsSlot& slot : variable.slots) {
        const auto word = read_memory<std::uint64_t>(read, bias + slot.vaddr);
        if (!word) {
            last = word.error();
            continue;
        }
        const std::uint64_t first = *word;
        std::uint64_t second = 0;
        if (slot.kind != TlsSlot::Kind::initial_exec) {
            const auto next = read_memory<std::uint64_t>(read, bias + slot.vaddr + 8);
            if (!next) {
                last = next.error();
                continue;
            }
            second = *next;
        }
        // Zero is what the file has there; no offset, module or function is at 0.
        if (first == 0) {
            last = {Stage::offset, {}, "is not relocated yet", {}};
            continue;
        }
        TlsPlace place;
        place.location.kind = OE_TLS_STATIC;
        switch (slot.kind) {
            case TlsSlot::Kind::initial_exec:
                place.model = TlsModel::initial_exec;
                place.location.offset = static_cast<std::int64_t>(first);
                return detail::checked(place);
            case TlsSlot::Kind::module_pair:
                if (!slot.by_symbol && second != variable.block_offset) continue;
                return detail::checked(
                    detail::dynamic_place(elf.arch(), libc, TlsModel::legacy_dynamic, first, second));
            case TlsSlot::Kind::descriptor: {
                const auto is_static = detail::is_static_descriptor(elf.arch(), first, second, read);
                if (!is_static) return Failure(is_static.error());
                if (*is_static) {
                    place.model = TlsModel::tlsdesc_static;
                    place.location.offset = static_cast<std::int64_t>(second);
                    return detail::checked(place);
                }
                const auto index = read_memory<std::array<std::uint64_t, 2>>(read, second);
                if (!index) return Failure(index.error());
                return detail::checked(detail::dynamic_place(elf.arch(), libc, TlsModel::tlsdesc_dynamic, (*index)[0],
                                                             (*index)[1]));
            }
        }
    }
    return Failure(std::move(last));
}

}  // namespace otel_ebpf
