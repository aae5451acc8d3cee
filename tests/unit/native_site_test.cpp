// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The site selector on functions as compilers of C and C++ make them.
#include "test.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include <otel_ebpf/site/select.hpp>

#include "assembler.hpp"

namespace site = otel_ebpf::site;
using assembler::Assembler;
using assembler::base;
using otel_ebpf::Abi;
using otel_ebpf::Result;
using site::Arch;
using site::CostClass;
using site::Rule;

namespace {

constexpr site::KernelRelease linux_6_18{6, 18};
constexpr std::uint64_t elsewhere = base + 0x1000;
constexpr site::LiveRegisters first_argument = 1 << 0, third_argument = 1 << 2;

std::string error_of(const Result<site::Point>& result) { return result ? result->why : result.error().what; }
std::string error_of(const Result<std::vector<site::Point>>& result) {
    return result ? "accepted" : result.error().what;
}

site::Code native(Assembler& function, std::string_view name = "f", std::span<const std::uint64_t> entered_at = {}) {
    site::Code code = function.code();
    code.name = name;
    code.abi = Abi::native;
    code.entered_at = entered_at;
    return code;
}

Result<site::Point> entry(const site::Code& code, site::LiveRegisters needed = first_argument) {
    return site::entry(Arch::x86_64, code, linux_6_18, needed, nullptr);
}

void check_entry(const Result<site::Point>& point, std::uint64_t offset, CostClass cost) {
    INFO(error_of(point));
    REQUIRE(point);
    CHECK(point->vaddr == base + offset);
    CHECK(point->cost == cost);
    CHECK(point->filter == site::FlagsFilter::none);
}

// Functions as an image: what a branch out of one leads to.
struct Functions {
    std::vector<site::Code> known;

    [[nodiscard]] Result<std::vector<site::Point>> returns_of(const site::Code& code) const {
        site::Image image;
        image.function_at = [this](std::uint64_t vaddr) -> std::optional<site::Code> {
            for (const site::Code& one : known)
                if (vaddr >= one.vaddr && vaddr - one.vaddr < one.bytes.size()) return one;
            return std::nullopt;
        };
        return site::end_sites(Arch::x86_64, code, image, linux_6_18, 0);
    }
};

}  // namespace

TEST_CASE("native site: the push behind endbr64, with any register written that no argument is in") {
    Assembler f;
    f.raw("f3 0f 1e fa  49 89 d6  55 5d c3");  // endbr64; mov %rdx,%r14; push %rbp; ...
    check_entry(entry(native(f)), 7, CostClass::emulated);
    Assembler go;
    go.raw("f3 0f 1e fa  49 89 d6  55 5d c3");
    const auto of_go = site::entry(Arch::x86_64, go.code(), linux_6_18, 0, nullptr);
    check_entry(of_go, 0, CostClass::stepped);  // r14 holds g there
}

TEST_CASE("native site: arguments are rdi, rsi, rdx, rcx, r8, r9") {
    struct Row {
        std::string overwrites;
        unsigned argument;
    };
    for (const auto& [overwrites, argument] :
         {Row{"31 ff", 0}, {"31 f6", 1}, {"31 d2", 2}, {"31 c9", 3}, {"45 31 c0", 4}, {"45 31 c9", 5}}) {
        Assembler f;
        f.raw(overwrites + " 55 5d c3");
        for (unsigned needed = 0; needed < 6; ++needed) {
            CAPTURE(overwrites, needed);
            const auto point = entry(native(f), static_cast<site::LiveRegisters>(1U << needed));
            REQUIRE(point);
            CHECK((point->cost == CostClass::stepped) == (needed == argument));
            CHECK(point->vaddr == base + (needed == argument ? 0 : f.size() - 3));
        }
    }
}

TEST_CASE("native site: no site where code outside of the function leads to it or between it and the entry") {
    Assembler f;
    f.raw("89 f8 55 5d c3");  // mov %edi,%eax; push %rbp; ...
    check_entry(entry(native(f)), 2, CostClass::emulated);
    const std::uint64_t before_or_at[] = {base + 2};
    check_entry(entry(native(f, "f", before_or_at)), 0, CostClass::stepped);
    const std::uint64_t behind[] = {base + 3};
    check_entry(entry(native(f, "f", behind)), 2, CostClass::emulated);
}

TEST_CASE("native site: a first instruction that can't be probed is passed over, if the next one serves") {
    Assembler f;
    f.raw("f0 83 2f 01  48 89 f8  c3");  // lock subl $1,(%rdi); mov %rdi,%rax; ret
    check_entry(entry(native(f)), 4, CostClass::stepped);
    Assembler overwriting;
    overwriting.raw("c5 f9 6e c7  c3");  // vmovd %edi,%xmm0; ret
    check_entry(entry(native(overwriting)), 4, CostClass::stepped);
    Assembler go;
    go.raw("f0 83 2f 01  48 89 f8  c3");
    CHECK_FALSE(site::entry(Arch::x86_64, go.code(), linux_6_18, 0, nullptr));
}

TEST_CASE("native site: a loop to the first instruction is refused") {
    Assembler f;
    f.raw("48 ff cf").short_branch("75", "entry").raw("c3");
    CHECK(error_of(entry(native(f))).find("branches back to its first instruction") != std::string::npos);
}

TEST_CASE("native site: branches of other code into a function are found") {
    Assembler before(base - 0x100), f(base), after(base + 0x100);
    before.far_branch("e9", base + 5).far_branch("0f 84", base + 9).far_branch("e8", base);  // a call is none
    f.raw("55 90 90 90 90 90 90 90 90 90").far_branch("e9", base + 1).raw("c3");             // its own is none
    after.far_branch("e9", base + 5).far_branch("e9", base + 0x20);  // the second leads behind it
    std::vector<std::byte> text(0x240, std::byte{0xcc});
    for (Assembler* part : {&before, &f, &after}) {
        const site::Code code = part->code();
        std::copy(code.bytes.begin(), code.bytes.end(), text.begin() + (code.vaddr - (base - 0x100)));
    }
    const site::Section section{base - 0x100, text};
    CHECK(site::x86_64::entered_from_outside({&section, 1}, base, f.size()) ==
          std::vector<std::uint64_t>{base + 5, base + 9});
    // The same field without a branch's opcode before it is no branch.
    text[0] = std::byte{0xb8};
    text[0x100 + 0x100] = std::byte{0xb8};
    CHECK(site::x86_64::entered_from_outside({&section, 1}, base, f.size()) == std::vector<std::uint64_t>{base + 9});
}

TEST_CASE("native site: returns of a function whose cold part is elsewhere") {
    Assembler f, cold(elsewhere);
    f.raw("55 85 ff").far_branch("0f 84", elsewhere).label("back").raw("5d c3");
    const std::uint64_t ret = base + f.size() - 1;
    SECTION("the part goes back: one return") {
        cold.raw("90 90").far_branch("e9", base + 9);
        const Functions functions{{native(f), native(cold, "f.cold")}};
        const auto points = functions.returns_of(native(f));
        INFO(error_of(points));
        REQUIRE(points);
        REQUIRE(points->size() == 1);
        CHECK(points->front().vaddr == ret);
        CHECK(points->front().rule == Rule::every_return);
    }
    SECTION("the part returns too: two") {
        cold.raw("31 c0 5d c3");
        const Functions functions{{native(f), native(cold, "f.cold")}};
        const auto points = functions.returns_of(native(f));
        REQUIRE(points);
        REQUIRE(points->size() == 2);
        CHECK(points->back().vaddr == elsewhere + 3);
    }
    SECTION("without its symbol nobody knows what is there") {
        const Functions functions{{native(f)}};
        CHECK(error_of(functions.returns_of(native(f))).find("where no function of the symbol table begins") !=
              std::string::npos);
    }
    SECTION("another function, under a condition") {
        cold.raw("31 c0 c3");
        const Functions functions{{native(f), native(cold, "g")}};
        CHECK(error_of(functions.returns_of(native(f))).find("left by a conditional jump") != std::string::npos);
    }
    SECTION("into the middle of another function") {
        Assembler jumps;
        jumps.raw("55 5d").far_branch("e9", elsewhere + 2);
        cold.raw("31 c0 c3");
        const Functions functions{{native(jumps), native(cold, "g")}};
        CHECK(error_of(functions.returns_of(native(jumps))).find("not known whether") != std::string::npos);
    }
    SECTION("a tail call ends the function") {
        Assembler jumps;
        jumps.raw("55 5d").far_branch("e9", elsewhere);
        cold.raw("31 c0 c3");
        const Functions functions{{native(jumps), native(cold, "g")}};
        const auto points = functions.returns_of(native(jumps));
        REQUIRE(points);
        REQUIRE(points->size() == 1);
        CHECK(points->front().vaddr == base + 2);
        CHECK(points->front().cost == CostClass::emulated);
    }
}

TEST_CASE("native site: a switch is told from a jump to nobody knows where") {
    Assembler table;  // lea TABLE(%rip),%rdx; movslq (%rdx,%rdi,4),%rax; add %rdx,%rax; jmp *%rax; ret
    table.raw("48 8d 15 00 10 00 00  48 63 04 ba  48 01 d0  ff e0  c3");
    const Functions none;
    const auto points = none.returns_of(native(table));
    INFO(error_of(points));
    REQUIRE(points);
    REQUIRE(points->size() == 1);
    CHECK(points->front().vaddr == base + table.size() - 1);

    Assembler indirect;  // mov (%rdi),%rax; jmp *%rax
    indirect.raw("85 ff").short_branch("74", "end").raw("48 8b 07 ff e0").label("end").raw("c3");
    CHECK(error_of(none.returns_of(native(indirect))).find("an indirect jump may lead") != std::string::npos);
}

TEST_CASE("native site: the nops before a function are not taken for a call of it") {
    Assembler f(base + 0x20), g(base + 0x40);
    f.raw("48 ff c8 c3");
    g.raw("55").call(base + 0x20).raw("eb 00 5d c3");
    std::vector<std::byte> text(0x60, std::byte{0xcc});
    const auto put = [&](Assembler& part) {
        const site::Code code = part.code();
        std::copy(code.bytes.begin(), code.bytes.end(), text.begin() + static_cast<std::ptrdiff_t>(code.vaddr - base));
    };
    put(f);
    put(g);
    const auto ends = [&](std::string_view before) {
        for (std::size_t i = 0; i < before.size() / 3; ++i)
            text[0x20 - before.size() / 3 + i] = std::byte(std::stoul(std::string(before.substr(3 * i, 2)), nullptr, 16));
        const site::Section section{base, text};
        const std::vector<site::Code> known = {native(f), native(g, "g")};
        site::Image image;
        image.text = {&section, 1};
        image.function_at = [&](std::uint64_t vaddr) -> std::optional<site::Code> {
            for (const site::Code& one : known)
                if (vaddr >= one.vaddr && vaddr - one.vaddr < one.bytes.size()) return one;
            return std::nullopt;
        };
        return site::end_sites(Arch::x86_64, known[0], image, linux_6_18, 0);
    };
    const auto padded = ends("0f 1f 84 00 00 00 00 00 ");  // nopl 0x0(%rax,%rax,1)
    INFO(error_of(padded));
    REQUIRE(padded);
    CHECK(padded->front().rule == Rule::after_call);
    const auto jumped = ends("cc cc cc e9 00 00 00 00 ");  // a tail call to what comes next
    REQUIRE(jumped);
    CHECK(jumped->front().rule == Rule::every_return);
}
