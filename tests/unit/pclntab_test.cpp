// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The Go function table against the symbol table, and damaged ones.
#include <otel_ebpf/executable.hpp>

#include <cstdint>
#include <map>
#include <string>

#include "../test.hpp"
#include "elf_image.hpp"
#include "go_targets.hpp"

namespace {

using namespace otel_ebpf;

std::shared_ptr<const Executable> open(const std::string& path) {
    auto executable = Executable::open(path);
    if (!executable) FAIL(executable.error().what);
    return *executable;
}

// The two tables spell a few names differently: the ABI of assembly functions, what is in brackets
// (cmd/link/internal/ld/pcln.go: nameParts), middle dots.
std::string normalized(std::string_view symbol) {
    constexpr std::string_view abi = ".abi0", middle_dot = "\u00b7";
    if (symbol.ends_with(abi)) symbol.remove_suffix(abi.size());
    std::string name(symbol);
    const std::size_t open = name.find('['), close = name.rfind(']');
    if (open != std::string::npos && close != std::string::npos && open < close)
        name.replace(open, close - open + 1, "[...]");
    for (std::size_t at; (at = name.find(middle_dot)) != std::string::npos;) name.replace(at, middle_dot.size(), ".");
    return name;
}

TEST_CASE("pclntab: a stripped executable has the functions of its plain twin, with the same sizes") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const GoTarget& target : targets) {
        CAPTURE(target.release);
        const auto plain = open(target.plain);
        const auto stripped = open(target.stripped);
        CHECK_FALSE(plain->is_stripped());
        CHECK(stripped->is_stripped());
        struct Extent {
            std::string name;
            std::uint64_t size;
        };
        std::map<std::uint64_t, Extent> expected;
        plain->for_each_function([&](std::string_view name, std::uint64_t vaddr, std::uint64_t size) {
            expected[vaddr] = {normalized(name), size};
            return true;
        });
        std::size_t seen = 0, unknown = 0, different = 0;
        stripped->for_each_function([&](std::string_view name, std::uint64_t vaddr, std::uint64_t size) {
            ++seen;
            const auto found = expected.find(vaddr);
            if (found == expected.end()) {
                ++unknown;
            } else if (name.starts_with("go:textfips")) {
                // a marker of the linker, not code
            } else if (found->second.name != normalized(name) || found->second.size != size) {
                ++different;
                UNSCOPED_INFO(name << " " << size << " at " << vaddr << " is " << found->second.name << " "
                                   << found->second.size);
            }
            return true;
        });
        CHECK(seen > 4000);
        CHECK(unknown == 0);
        CHECK(different == 0);
    }
}

TEST_CASE("pclntab: any damage to its header or its moduledata is refused") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const GoTarget& target : targets) {
        std::string bytes = read_file(target.stripped);
        const auto good = Executable::from_memory(as_bytes(bytes));
        REQUIRE(good);
        const ElfFile& elf = (*good)->elf();
        const auto header = go::read_pclntab_header(elf);
        REQUIRE(header);
        const auto moduledata = go::find_moduledata(elf, *header);
        REQUIRE(moduledata);
        REQUIRE(*moduledata);
        const auto offset_of_vaddr = [&](std::uint64_t vaddr) {
            const Elf64_Phdr* segment = elf.loaded_at(vaddr, 1);
            return vaddr - segment->p_vaddr + segment->p_offset;
        };
        const auto accepts_with = [&](std::uint64_t at, char flipped) {
            bytes[at] = static_cast<char>(bytes[at] ^ flipped);
            const bool accepted = Executable::from_memory(as_bytes(bytes)).has_value();
            bytes[at] = static_cast<char>(bytes[at] ^ flipped);
            return accepted;
        };
        const std::uint64_t table = offset_of_vaddr(header->vaddr);
        const std::uint64_t text_word = offset_of_vaddr((*moduledata)->vaddr) + 22 * 8;
        CHECK_FALSE(accepts_with(table, '\x40'));  // magic
        for (const char flipped : {'\x01', '\x10', '\x7f', '\xff'}) {
            CAPTURE(target.release, static_cast<int>(flipped));
            // quantum, pointer size, function count, where the parts are, text start (before 1.26)
            for (const std::uint64_t word : {6, 7, 8, 32, 56, 64}) CHECK_FALSE(accepts_with(table + word, flipped));
            if (header->text_start != 0) {
                CHECK_FALSE(accepts_with(table + 24, flipped));
            } else {
                CHECK_FALSE(accepts_with(text_word, flipped));
                CHECK_FALSE(accepts_with(text_word - 8, flipped));
            }
            CHECK_FALSE(accepts_with(table + header->functions, flipped));  // entry of the first function
        }
        CHECK(Executable::from_memory(as_bytes(bytes)));
    }
}

TEST_CASE("pclntab: a shifted text start is not taken for code") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const GoTarget& target : targets) {
        const auto executable = open(target.stripped);
        const auto header = go::read_pclntab_header(executable->elf());
        REQUIRE(header);
        const auto functions = go::FunctionIndex::open(executable->elf(), *header);
        REQUIRE(functions);
        const auto start = go::find_text_start(executable->elf(), *header);
        REQUIRE(start);
        CHECK(go::detail::check_text_start(executable->elf(), *functions, *start));
        for (const std::int64_t shift : {-4096, -64, -32, -16, -1, 1, 16, 32, 64, 4096}) {
            CAPTURE(target.release, shift);
            CHECK_FALSE(go::detail::check_text_start(executable->elf(), *functions,
                                                     *start + static_cast<std::uint64_t>(shift)));
        }
    }
}

TEST_CASE("pclntab: random damage to a stripped executable never leads outside the file") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    std::string bytes = read_file(targets.back().stripped);
    const auto good = Executable::from_memory(as_bytes(bytes));
    REQUIRE(good);
    const ElfSection* section = (*good)->elf().section(".gopclntab");
    REQUIRE(section != nullptr);
    std::uint64_t random = 0x243f6a8885a308d3u;
    for (int round = 0; round < 60; ++round) {
        std::vector<std::pair<std::size_t, char>> undo;
        for (int flip = 0; flip < 400; ++flip) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            const std::size_t at = section->offset + 72 + random % (section->size - 72);
            undo.emplace_back(at, bytes[at]);
            bytes[at] = static_cast<char>(random >> 32);
        }
        if (const auto executable = Executable::from_memory(as_bytes(bytes))) {
            (*executable)->for_each_function([&](std::string_view, std::uint64_t vaddr, std::uint64_t size) {
                if (!(*executable)->elf().is_code(vaddr, size)) FAIL("a function outside the code");
                return true;
            });
        }
        for (auto change = undo.rbegin(); change != undo.rend(); ++change) bytes[change->first] = change->second;
    }
}

}  // namespace
