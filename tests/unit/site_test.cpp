// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The site selector on hand-assembled functions: every pattern it accepts and every reason to refuse.
#include "test.hpp"

#include <otel_ebpf/site/select.hpp>

#include "assembler.hpp"

namespace site = otel_ebpf::site;
using otel_ebpf::Result;
using site::Arch;
using site::CostClass;
using site::FlagsFilter;
using site::KernelRelease;
using site::Rule;
using assembler::Assembler;
using assembler::base;
using assembler::morestack;

namespace {

constexpr std::uint64_t callee = 0x450000;
constexpr std::uint64_t elsewhere = 0x440000;
constexpr KernelRelease linux_6_1{6, 1};
constexpr KernelRelease linux_6_18{6, 18};
constexpr site::LiveRegisters rax = 1 << 0, rbx = 1 << 1, rcx_rdi = 3 << 2;

bool is_morestack(std::uint64_t target) {
    return target == morestack;
}

Result<site::Point> entry(Assembler& function, KernelRelease kernel = linux_6_18,
                          site::LiveRegisters needed = site::all_registers) {
    return site::entry(Arch::x86_64, function.code(), kernel, needed, is_morestack);
}

Result<std::vector<site::Point>> returns(Assembler& function, site::LiveRegisters needed = 0,
                                         KernelRelease kernel = linux_6_18) {
    return site::returns(Arch::x86_64, function.code(), kernel, needed);
}

Result<std::vector<site::Point>> after_call(Assembler& function, site::LiveRegisters needed = 0,
                                            site::AfterCallOptions options = {}, KernelRelease kernel = linux_6_18) {
    return site::after_call(Arch::x86_64, function.code(), callee, kernel, needed, options);
}

template <class T>
std::string error_of(const Result<T>& result) {
    return result ? std::string("accepted") : result.error().what;
}

void check_point(const Result<site::Point>& point, std::uint64_t offset, Rule rule) {
    INFO(error_of(point));
    REQUIRE(point.has_value());
    INFO(point->why);
    CHECK(point->vaddr == base + offset);
    CHECK(point->rule == rule);
    CHECK(point->cost == (rule == Rule::slow_entry ? CostClass::stepped : CostClass::emulated));
    CHECK(point->filter == (rule == Rule::stack_check_jump ? FlagsFilter::stack_check : FlagsFilter::none));
}

template <class T>
void check_refused(const Result<T>& result, const std::string& part) {
    INFO(error_of(result));
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().what.find(part) != std::string::npos);
    CHECK(result.error().what.find("main.f at +") != std::string::npos);
}

const std::string body = "55 48 89 e5 5d c3";  // push %rbp; mov %rsp,%rbp; pop %rbp; ret

site::Treatment treatment_of(const std::string& hex, KernelRelease kernel) {
    Assembler function;
    function.raw(hex).raw("c3");
    const auto decoded = site::x86_64::decode(function.code(), "a test");
    REQUIRE(decoded.has_value());
    return site::x86_64::treatment(decoded->instructions.front().encoding, kernel);
}

}  // namespace

TEST_CASE("site: kernel releases parse and compare") {
    CHECK(KernelRelease::parse("6.18.44-cloud-amd64") == linux_6_18);
    CHECK(KernelRelease::parse("6.1") == linux_6_1);
    CHECK(KernelRelease::parse("6.1-rc3") == linux_6_1);
    CHECK(linux_6_1 < linux_6_18);
    CHECK(KernelRelease{5, 15} < linux_6_1);
    for (const char* const bad : {"", "6", "6.", ".1", "x.y", "6,1", "99999999999.1", "-6.1"})
        CHECK_FALSE(KernelRelease::parse(bad));
}

TEST_CASE("site: the emulation table follows the kernels") {
    using T = site::Treatment;
    struct Row {
        const char* bytes;
        T old;   // 6.1
        T now;   // 6.18
        T next;  // 7.2
    };
    const Row rows[] = {
        {"90", T::emulated, T::emulated, T::emulated},                          // nop
        {"66 90", T::emulated, T::emulated, T::emulated},                       // two-byte nop
        {"f3 90", T::emulated, T::emulated, T::emulated},                       // pause
        {"41 90", T::refused, T::refused, T::refused},                          // xchg %r8,%rax
        {"0f 1f 00", T::stepped, T::emulated, T::emulated},                     // nopl
        {"66 0f 1f 44 00 00", T::stepped, T::emulated, T::emulated},            // six-byte nop
        {"0f 1f 44 00 00", T::stepped, T::refused, T::emulated},                // rewritten by 6.18
        {"66 2e 0f 1f 84 00 00 00 00 00", T::refused, T::refused, T::refused},  // cs prefix
        {"eb 00", T::emulated, T::emulated, T::emulated},                       // jmp
        {"e9 00 00 00 00", T::emulated, T::emulated, T::emulated},              //
        {"76 00", T::emulated, T::emulated, T::emulated},                       // jbe
        {"0f 86 00 00 00 00", T::emulated, T::emulated, T::emulated},           //
        {"2e 76 00", T::refused, T::refused, T::refused},                       // branch hint
        {"66 76 00", T::refused, T::refused, T::refused},                       //
        {"f2 eb 00", T::refused, T::refused, T::refused},                       // bnd jmp
        {"e8 00 00 00 00", T::emulated, T::emulated, T::emulated},              // call
        {"55", T::emulated, T::emulated, T::emulated},                          // push %rbp
        {"41 54", T::emulated, T::emulated, T::emulated},                       // push %r12
        {"66 55", T::stepped, T::stepped, T::stepped},                          // push %bp
        {"48 55", T::stepped, T::stepped, T::stepped},                          // needless REX.W
        {"c3", T::stepped, T::stepped, T::stepped},                             // ret
        {"5d", T::stepped, T::stepped, T::stepped},                             // pop %rbp
        {"48 89 e5", T::stepped, T::stepped, T::stepped},                       // mov
        {"49 3b 66 10", T::stepped, T::stepped, T::stepped},                    // cmp
        {"f3 0f 1e fa", T::stepped, T::stepped, T::stepped},                    // endbr64
        {"ff d2", T::stepped, T::stepped, T::stepped},                          // call *%rdx
        {"f0 48 0f b1 0b", T::refused, T::refused, T::refused},                 // lock cmpxchg
        {"0f 05", T::refused, T::refused, T::refused},                          // syscall
        {"0f 0b", T::refused, T::refused, T::refused},                          // ud2
        {"cc", T::refused, T::refused, T::refused},                             // int3
        {"c5 fe 6f 06", T::refused, T::refused, T::refused},                    // vmovdqu
        {"66 0f 38 00 c1", T::refused, T::refused, T::refused},                 // pshufb
    };
    for (const Row& row : rows) {
        INFO(row.bytes);
        CHECK(treatment_of(row.bytes, linux_6_1) == row.old);
        CHECK(treatment_of(row.bytes, linux_6_18) == row.now);
        CHECK(treatment_of(row.bytes, {7, 2}) == row.next);
    }
    CHECK(treatment_of("55", {4, 15}) == T::stepped);
    CHECK(treatment_of("55", {4, 16}) == T::emulated);
}

TEST_CASE("site: entry at the jump of the stack check") {
    SECTION("small frame") {
        Assembler f;
        f.raw("49 3b 66 10").short_branch("76", "grow").raw(body).grow().raw("cc cc cc");
        check_point(entry(f), 4, Rule::stack_check_jump);
        check_point(entry(f, linux_6_1), 4, Rule::stack_check_jump);
        CHECK(entry(f)->why == "jbe of the stack check at +4");
    }
    SECTION("small frame, near jump, zero padding") {
        Assembler f;
        f.raw("49 3b 66 10").near_branch("0f 86", "grow").raw(body).grow().raw("00 00 00 00 00");
        check_point(entry(f), 4, Rule::stack_check_jump);
    }
    SECTION("system stack") {
        Assembler f;
        f.raw("49 3b 66 18").short_branch("76", "grow").raw(body).grow();
        check_point(entry(f), 4, Rule::stack_check_jump);
    }
    SECTION("large frame, both lengths of lea") {
        Assembler f;
        f.raw("4c 8d 64 24 e8 4d 3b 66 10").short_branch("76", "grow").raw(body).grow();
        check_point(entry(f), 9, Rule::stack_check_jump);
        Assembler g;
        g.raw("4c 8d a4 24 00 ff ff ff 4d 3b 66 10").short_branch("76", "grow").raw(body).grow();
        check_point(entry(g), 12, Rule::stack_check_jump);
    }
    SECTION("huge frame") {
        Assembler f;
        f.raw("49 89 e4 49 81 ec 00 10 01 00").short_branch("72", "grow");
        f.raw("4d 3b 66 10").near_branch("0f 86", "grow").raw(body).grow();
        check_point(entry(f), 16, Rule::stack_check_jump);
    }
    SECTION("assembly function that loads g first") {
        Assembler f;
        f.raw("64 4c 8b 34 25 f8 ff ff ff 49 3b 66 10").short_branch("76", "grow").raw(body).grow();
        check_point(entry(f), 13, Rule::stack_check_jump);
        Assembler g;
        g.raw("4c 8b 35 00 10 00 00 64 4d 8b 36 49 3b 66 10").short_branch("76", "grow").raw(body).grow();
        check_point(entry(g), 15, Rule::stack_check_jump);
        Assembler h;
        h.raw("49 c7 c6 f8 ff ff ff 64 4d 8b 36 49 3b 66 10").short_branch("76", "grow").raw(body).grow();
        check_point(entry(h), 15, Rule::stack_check_jump);
    }
    SECTION("next call keeps the site and says what it is for") {
        Assembler f;
        f.raw("49 3b 66 10").short_branch("76", "grow").raw(body).grow();
        const auto point = site::next_call(Arch::x86_64, f.code(), linux_6_1, 0, is_morestack);
        REQUIRE(point.has_value());
        CHECK(point->rule == Rule::next_call);
        CHECK(point->filter == FlagsFilter::stack_check);
    }
}

TEST_CASE("site: entry without a stack check") {
    SECTION("push") {
        Assembler f;
        f.raw(body);
        check_point(entry(f), 0, Rule::entry_push);
        Assembler g;
        g.raw("41 54 41 5c c3");
        check_point(entry(g), 0, Rule::entry_push);
    }
    SECTION("nop of an inlined call at the entry") {
        Assembler f;
        f.raw("90 48 8b 40 08 c3");
        check_point(entry(f), 0, Rule::straight_line_scan);
    }
    SECTION("first jump of a leaf") {
        Assembler f;
        f.raw("48 85 db").short_branch("74", "out").raw("48 ff c8").label("out").raw("c3");
        check_point(entry(f), 3, Rule::straight_line_scan);
    }
    SECTION("long nops count from 6.18") {
        Assembler f;
        f.raw("48 85 db 0f 1f 40 00 48 8b 40 08 c3");
        check_point(entry(f), 3, Rule::straight_line_scan);
        check_point(entry(f, linux_6_1), 0, Rule::slow_entry);
    }
    SECTION("a getter has nothing to offer") {
        Assembler f;
        f.raw("48 8b 40 08 c3");
        const auto point = entry(f);
        check_point(point, 0, Rule::slow_entry);
        CHECK(point->why.find("straight line from the entry ends at +4") != std::string::npos);
    }
    SECTION("an argument overwritten before the site") {
        Assembler f;
        f.raw("31 c9 48 85 c0").short_branch("74", "out").raw("48 ff c8").label("out").raw("c3");
        check_point(entry(f), 0, Rule::slow_entry);
        check_point(entry(f, linux_6_18, rax | rbx), 5, Rule::straight_line_scan);
    }
    SECTION("the stack pointer, the closure context or g changed before the site") {
        for (const char* const change : {"48 83 ec 18", "31 d2", "45 31 f6"}) {
            Assembler f;
            f.raw(change).raw("48 85 c0").short_branch("74", "out").raw("48 ff c8").label("out").raw("c3");
            check_point(entry(f, linux_6_18, 0), 0, Rule::slow_entry);
        }
    }
    SECTION("a branch leads between the entry and the site") {
        Assembler f;
        f.raw("48 85 c0").label("loop").raw("48 85 db").short_branch("74", "out").raw("48 ff cb");
        f.short_branch("eb", "loop").label("out").raw("c3");
        check_point(entry(f), 0, Rule::slow_entry);
    }
    SECTION("an address inside the function is taken") {
        Assembler f;
        f.raw("48 85 c0 48 85 db").short_branch("74", "out").raw("48 8d 0d f7 ff ff ff").label("out").raw("c3");
        check_point(entry(f), 0, Rule::slow_entry);  // the lea points at +6, the site
    }
    SECTION("a jump table may lead anywhere but to the entry") {
        Assembler f;
        f.raw("48 85 c0").short_branch("74", "out").raw("ff 24 c1").label("out").raw("c3");
        check_point(entry(f), 0, Rule::slow_entry);
        Assembler g;
        g.raw("49 3b 66 10").short_branch("76", "grow").raw("ff 24 c1 c3").grow();
        check_point(entry(g), 4, Rule::stack_check_jump);
    }
    SECTION("too far from the entry") {
        Assembler f;
        for (int i = 0; i < 8; ++i) f.raw("48 85 c0");
        f.raw(body);
        check_point(entry(f), 0, Rule::slow_entry);
    }
}

TEST_CASE("site: entry refuses where hits would not be calls") {
    SECTION("a loop to the entry") {
        Assembler f;
        f.raw("48 ff c8").short_branch("75", "entry").raw("c3");
        check_refused(entry(f), "branches back to its first instruction");
    }
    SECTION("a jump back that follows another call than morestack") {
        Assembler f;
        f.raw("49 3b 66 10").short_branch("76", "grow").raw(body).grow(elsewhere);
        check_refused(entry(f), "branches back to its first instruction");
    }
    SECTION("a jump back that can be reached without morestack") {
        Assembler f;
        f.raw("49 3b 66 10").short_branch("76", "grow").raw("48 85 c0").short_branch("74", "again").raw(body);
        f.label("grow").call(morestack).label("again").short_branch("eb", "entry");
        check_refused(entry(f), "branches back to its first instruction");
    }
    SECTION("a stack check of another form") {
        Assembler f;
        f.raw("49 3b 66 20").short_branch("76", "grow").raw(body).grow();
        check_refused(entry(f), "grows its stack by a check of unknown form");
    }
    SECTION("a stack check whose jump has a prefix") {
        Assembler f;
        f.raw("49 3b 66 10 2e").short_branch("76", "grow").raw(body).grow();
        check_refused(entry(f), "grows its stack by a check of unknown form");
    }
    SECTION("a branch to the jump of the stack check") {
        Assembler f;
        f.raw("49 3b 66 10").label("check").short_branch("76", "grow").raw("48 85 c0");
        f.short_branch("74", "check").raw(body).grow();
        check_refused(entry(f), "a branch leads to +4");
    }
    SECTION("a stack check that leads elsewhere") {
        Assembler f;
        f.raw("49 3b 66 10").short_branch("76", "out").raw(body).label("out").raw("31 c0 c3").grow();
        check_refused(entry(f), "does not lead to runtime.morestack");
    }
    SECTION("an entry that can't be probed") {
        Assembler f;
        f.raw("f0 48 ff 00 c3");
        check_refused(entry(f), "can't probe its first instruction");
    }
}

TEST_CASE("site: code that can't be followed is refused") {
    SECTION("no bytes") {
        Assembler f;
        check_refused(entry(f), "no bytes");
    }
    SECTION("no instruction") {
        Assembler f;
        f.raw("55 06 5d c3");
        check_refused(entry(f), "main.f at +1: byte 0x6 starts no known instruction");
        check_refused(returns(f), "starts no known instruction");
        check_refused(after_call(f), "starts no known instruction");
    }
    SECTION("cut inside an instruction") {
        Assembler f;
        f.raw("55 48 89");
        check_refused(entry(f), "main.f at +1: the function ends inside an instruction");
    }
    SECTION("cut between instructions") {
        Assembler f;
        f.raw("55 48 89 e5");
        check_refused(entry(f), "continues behind the function");
        Assembler padded;
        padded.raw("55 48 89 e5 00 00");
        check_refused(entry(padded), "continues behind the function");
    }
    SECTION("a branch into an instruction") {
        Assembler f;
        f.raw("55 48 85 c0 74 fc 5d c3");
        check_refused(entry(f), "main.f at +4: it branches into the middle of an instruction");
    }
    SECTION("impossible bounds") {
        Assembler f(~std::uint64_t{0} - 2);
        f.raw(body);
        check_refused(entry(f), "bounds of the function are impossible");
    }
    SECTION("what may come last") {
        for (const char* const end : {"c3", "0f 0b", "cd 03", "ff e0", "c3 cc cc", "c3 00 00 00", "c3 90 0f 1f 00"}) {
            Assembler f;
            f.raw("55").raw(end);
            INFO(end);
            CHECK(entry(f).has_value());
        }
        Assembler panics;
        panics.raw("55").call(0x400000).raw("90 cc cc");
        CHECK(entry(panics).has_value());
    }
}

TEST_CASE("site: after a call") {
    Assembler f;
    const auto offsets = [&](const Result<std::vector<site::Point>>& points) {
        std::vector<std::uint64_t> found;
        INFO(error_of(points));
        REQUIRE(points.has_value());
        for (const site::Point& point : *points) {
            CHECK(point.rule == Rule::after_call);
            CHECK(point.filter == FlagsFilter::none);
            found.push_back(point.vaddr - base);
        }
        return found;
    };
    SECTION("first jump behind the call") {
        f.call(callee).raw("48 85 db").short_branch("74", "out").raw("48 ff c8").label("out").raw("c3");
        CHECK(offsets(after_call(f, rax | rbx)) == std::vector<std::uint64_t>{8});
        CHECK(after_call(f, rax)->front().cost == CostClass::emulated);
    }
    SECTION("every call gets one") {
        f.call(callee).raw("90").call(callee).call(elsewhere).raw("c3");
        CHECK(offsets(after_call(f)) == std::vector<std::uint64_t>{5, 11});
    }
    SECTION("one call without a site refuses all") {
        f.call(callee).raw("90").call(callee).raw("c3");
        check_refused(after_call(f), "main.f at +6: control leaves the straight line at +11");
    }
    SECTION("a result is overwritten") {
        f.call(callee).raw("48 8b 4c 24 08").short_branch("eb", "out").label("out").raw("c3");
        check_refused(after_call(f, rcx_rdi), "overwrites a result");
        CHECK(offsets(after_call(f, rax)) == std::vector<std::uint64_t>{10});
    }
    SECTION("a branch leads to the site, or to the return address") {
        f.raw("48 85 c0").short_branch("74", "join").call(callee).label("join").raw("48 85 db");
        f.short_branch("74", "out").raw("48 ff c8").label("out").raw("c3");
        check_refused(after_call(f), "a branch leads to +10");
        CHECK(offsets(after_call(f, 0, {.allow_stepped = false, .allow_joins = true})) ==
              std::vector<std::uint64_t>{13});
        check_refused(after_call(f, 0, {.allow_stepped = true, .allow_joins = false}), "a branch leads to +10");
    }
    SECTION("a jump table may lead to the site") {
        f.raw("ff 24 c1").call(callee).raw("90 c3");
        check_refused(after_call(f), "jump table");
        CHECK(offsets(after_call(f, 0, {.allow_stepped = false, .allow_joins = true})) ==
              std::vector<std::uint64_t>{8});
    }
    SECTION("stepped when allowed") {
        f.call(callee).raw("48 8b 4c 24 08 c3");
        check_refused(after_call(f), "control leaves the straight line");
        CHECK(offsets(after_call(f, rcx_rdi, {.allow_stepped = true, .allow_joins = false})) ==
              std::vector<std::uint64_t>{5});
        CHECK(after_call(f, 0, {.allow_stepped = true, .allow_joins = false})->front().cost == CostClass::stepped);
    }
    SECTION("kernels without long nops look further") {
        f.call(callee).raw("0f 1f 00 48 85 c0").short_branch("74", "out").raw("90").label("out").raw("c3");
        CHECK(offsets(after_call(f, 0, {}, linux_6_18)) == std::vector<std::uint64_t>{5});
        CHECK(offsets(after_call(f, 0, {}, linux_6_1)) == std::vector<std::uint64_t>{11});
    }
    SECTION("too far from the call") {
        f.call(callee);
        for (int i = 0; i < 16; ++i) f.raw("48 85 c0");
        f.raw("90 c3");
        check_refused(after_call(f), "no emulated instruction follows closely");
    }
    SECTION("no call, and a jump in its place") {
        f.call(elsewhere).raw("c3");
        check_refused(after_call(f), "does not call it directly");
        Assembler tail;
        tail.raw("55").far_branch("e9", callee);
        check_refused(after_call(tail), "ends by a jump to the callee");
    }
    SECTION("the call never returns") {
        f.call(callee);
        check_refused(after_call(f, 0, {.allow_stepped = true, .allow_joins = true}), "no emulated instruction");
    }
}

TEST_CASE("site: returns") {
    Assembler f;
    SECTION("each return, single-stepped") {
        f.raw("48 85 c0").short_branch("74", "out").raw("31 c0 c3").label("out").raw("ff c0 c3");
        const auto points = returns(f);
        REQUIRE(points.has_value());
        REQUIRE(points->size() == 2);
        CHECK((*points)[0].vaddr == base + 7);
        CHECK((*points)[1].vaddr == base + 10);
        for (const site::Point& point : *points) {
            CHECK(point.rule == Rule::every_return);
            CHECK(point.cost == CostClass::stepped);
            CHECK_FALSE(point.why.empty());
        }
    }
    SECTION("a nop before every return") {
        f.raw("48 85 c0").short_branch("74", "out").raw("31 c0 90 5d c3").label("out").raw("90 c3");
        const auto points = returns(f, rax);
        REQUIRE(points.has_value());
        REQUIRE(points->size() == 2);
        CHECK((*points)[0].vaddr == base + 7);
        CHECK((*points)[1].vaddr == base + 10);
        for (const site::Point& point : *points) {
            CHECK(point.rule == Rule::tail);
            CHECK(point.cost == CostClass::emulated);
        }
    }
    SECTION("a result written after the nop") {
        f.raw("90 31 c0 c3");
        CHECK(returns(f)->front().rule == Rule::tail);
        CHECK(returns(f, rax)->front().rule == Rule::every_return);
        CHECK(returns(f, rbx)->front().rule == Rule::tail);
    }
    SECTION("a branch between the nop and the return") {
        f.raw("48 85 c0").short_branch("74", "out").raw("90 31 c0").label("out").raw("c3");
        CHECK(returns(f)->front().rule == Rule::every_return);
    }
    SECTION("a jump table") {
        f.raw("ff 24 c1 90 c3");
        CHECK(returns(f)->front().rule == Rule::every_return);
    }
    SECTION("jumps to other functions") {
        f.raw("48 85 c0").short_branch("74", "out").raw("c3").label("out").far_branch("e9", elsewhere);
        const auto points = returns(f);
        REQUIRE(points.has_value());
        REQUIRE(points->size() == 2);
        CHECK((*points)[0].cost == CostClass::stepped);
        CHECK((*points)[1].cost == CostClass::emulated);
        check_refused(returns(f, rax), "main.f at +6: the function ends by a jump to another one");
        Assembler indirect;
        indirect.raw("ff e1");
        REQUIRE(returns(indirect).has_value());
        CHECK(returns(indirect)->front().cost == CostClass::stepped);
        Assembler conditional;
        conditional.far_branch("0f 84", elsewhere).raw("c3");
        check_refused(returns(conditional), "left by a conditional jump");
    }
    SECTION("calls that never return need no site") {
        f.raw("49 3b 66 10").short_branch("76", "grow").raw("90 c3").call(elsewhere).raw("0f 0b").grow();
        const auto points = returns(f);
        REQUIRE(points.has_value());
        REQUIRE(points->size() == 1);
        CHECK(points->front().vaddr == base + 6);
    }
    SECTION("a function that never returns") {
        f.raw("55").call(elsewhere).raw("0f 0b");
        check_refused(returns(f), "never returns");
    }
}

namespace {

// A text section of three functions: F, then two others that refer to it.
struct SmallImage {
    static constexpr std::uint64_t text_vaddr = base;
    std::vector<std::byte> text;
    std::vector<site::Code> functions;
    std::vector<std::byte> data;
    site::Section text_section, data_section;

    explicit SmallImage(std::vector<Assembler*> parts) {
        for (Assembler* const part : parts) {
            const site::Code code = part->code();
            text.resize(code.vaddr - text_vaddr, std::byte{0xcc});
            text.insert(text.end(), code.bytes.begin(), code.bytes.end());
        }
        for (Assembler* const part : parts) {
            const site::Code code = part->code();
            functions.push_back({code.vaddr, std::span(text).subspan(code.vaddr - text_vaddr, code.bytes.size()),
                                 functions.empty() ? "main.f" : "main.g"});
        }
        data.resize(64);
        text_section = {text_vaddr, text};
        data_section = {0x500004, data};
    }
    [[nodiscard]] site::Image image() const {
        site::Image result;
        result.text = {&text_section, 1};
        result.data = {&data_section, 1};
        result.method_tables = {&data_section, 1};
        result.go_text_start = base - 0x1000;
        result.function_at = [this](std::uint64_t vaddr) -> std::optional<site::Code> {
            for (const site::Code& code : functions)
                if (vaddr >= code.vaddr && vaddr - code.vaddr < code.bytes.size()) return code;
            return std::nullopt;
        };
        return result;
    }
    template <class T>
    void put(std::size_t at, T value) {
        std::memcpy(data.data() + at, &value, sizeof(value));
    }
    [[nodiscard]] Result<std::vector<site::CallerSite>> callers() const {
        return site::callers_of(Arch::x86_64, functions[0], image());
    }
    [[nodiscard]] Result<std::vector<site::Point>> ends(site::LiveRegisters needed = 0) const {
        return site::end_sites(Arch::x86_64, functions[0], image(), linux_6_18, needed);
    }
};

}  // namespace

TEST_CASE("site: all callers of a function") {
    Assembler f(base);
    f.raw("48 ff c8 c3");
    Assembler g(base + 0x40);
    Assembler h(base + 0x1000);
    g.raw("55").call(base).raw("90 5d c3");
    h.raw("55").call(base).call(base).raw("90 5d c3");

    SECTION("found, far and near") {
        const SmallImage small({&f, &g, &h});
        const auto callers = small.callers();
        REQUIRE(callers.has_value());
        REQUIRE(callers->size() == 2);
        CHECK((*callers)[0].call_vaddrs == std::vector<std::uint64_t>{base + 0x41});
        CHECK((*callers)[1].call_vaddrs == std::vector<std::uint64_t>{base + 0x1001, base + 0x1006});
        const auto ends = small.ends();
        REQUIRE(ends.has_value());
        REQUIRE(ends->size() == 3);
        for (const site::Point& point : *ends) CHECK(point.rule == Rule::after_call);
    }
    SECTION("bytes that only look like a reference") {
        Assembler constant(base + 0x2000);
        // mov $imm64: the immediate holds a rel32 that would lead to F
        constant.raw("48 b8 00 00 00 00 fa df ff ff c3");
        const SmallImage small({&f, &g, &constant});
        REQUIRE(small.callers().has_value());
        CHECK(small.callers()->size() == 1);
    }
    SECTION("no caller") {
        const SmallImage small({&f});
        check_refused(small.callers(), "no function calls it");
    }
    SECTION("another function jumps to it") {
        Assembler near(base + 0x20);
        near.raw("55 5d eb dc");
        Assembler far(base + 0x2000);
        far.far_branch("e9", base);
        for (Assembler* const other : {&near, &far}) {
            const SmallImage small(other == &near ? std::vector{&f, other, &h} : std::vector{&f, &h, other});
            check_refused(small.callers(), "main.g jumps to it");
        }
    }
    SECTION("code takes its address") {
        Assembler lea(base + 0x2000);
        lea.far_branch("48 8d 0d", base).raw("c3");
        check_refused(SmallImage({&f, &h, &lea}).callers(), "takes its address");
        Assembler absolute(base + 0x2000);
        absolute.raw("b8 00 10 40 00 c3");
        check_refused(SmallImage({&f, &h, &absolute}).callers(), "takes its address");
    }
    SECTION("its address is in data") {
        SmallImage small({&f, &h});
        small.put(12, base);  // 0x500010
        check_refused(small.callers(), "in data at 0x500010");
        SmallImage unaligned({&f, &h});
        unaligned.put(13, base);
        CHECK(unaligned.callers().has_value());
    }
    SECTION("a method table names it") {
        SmallImage small({&f, &h});
        small.put<std::uint32_t>(8, 0x1000);  // 0x50000c
        check_refused(small.callers(), "in data at 0x50000c");
    }
    SECTION("text that belongs to no function") {
        SmallImage small({&f, &h});
        small.functions.pop_back();
        check_refused(small.callers(), "outside of every known function");
    }
    SECTION("a caller that can't be decoded") {
        Assembler bad(base + 0x2000);
        bad.call(base).raw("06");
        const auto callers = SmallImage({&f, &bad}).callers();
        REQUIRE_FALSE(callers.has_value());
        CHECK(callers.error().what.find("starts no known instruction") != std::string::npos);
    }
    SECTION("its own jump back after morestack is no caller") {
        Assembler growing(base);
        growing.raw("49 3b 66 10").short_branch("76", "grow").raw(body).grow();
        CHECK(SmallImage({&growing, &h}).callers().has_value());
    }
}

TEST_CASE("site: end sites fall back in order") {
    Assembler f(base);
    Assembler caller(base + 0x1000);
    SECTION("in the function when a caller has none") {
        f.raw("90 c3");
        caller.call(base).raw("c3");
        const auto ends = SmallImage({&f, &caller}).ends();
        REQUIRE(ends.has_value());
        CHECK(ends->front().rule == Rule::tail);
    }
    SECTION("each return, saying why") {
        f.raw("31 c0 c3");
        caller.call(base).raw("c3");
        const auto ends = SmallImage({&f, &caller}).ends();
        REQUIRE(ends.has_value());
        CHECK(ends->front().rule == Rule::every_return);
        CHECK(ends->front().why.find("main.g at +0") != std::string::npos);
    }
    SECTION("none") {
        f.raw("55 0f 0b");
        caller.call(base).raw("c3");
        check_refused(SmallImage({&f, &caller}).ends(), "the operation has no end site");
    }
}

TEST_CASE("site: other architectures are refused clearly") {
    CHECK(site::arch_of_elf_machine(62) == Arch::x86_64);
    CHECK(site::arch_of_elf_machine(183) == Arch::aarch64);
    CHECK(site::arch_of_elf_machine(8) == Arch::other);
    Assembler f;
    f.raw(body);
    const auto point = site::entry(Arch::other, f.code(), linux_6_18, 0, is_morestack);
    REQUIRE_FALSE(point.has_value());
    CHECK(point.error().where == otel_ebpf::Stage::unsupported);
    CHECK(point.error().what.find("for other, sites are known for x86-64 and arm64") != std::string::npos);
    CHECK_FALSE(site::returns(Arch::other, f.code(), linux_6_18, 0).has_value());
    CHECK_FALSE(site::after_call(Arch::other, f.code(), callee, linux_6_18, 0).has_value());
    CHECK_FALSE(site::end_sites(Arch::other, f.code(), {}, linux_6_18, 0).has_value());
}
