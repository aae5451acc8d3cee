// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
#include <set>
#include <string>
#include <vector>

#include <otel_ebpf/site/select.hpp>

#include "arm64_assembler.hpp"
#include "test.hpp"

namespace site = otel_ebpf::site;
namespace aarch64 = otel_ebpf::site::aarch64;
using arm64_assembler::Arm64Assembler;
using arm64_assembler::base;
using arm64_assembler::morestack;
using otel_ebpf::Abi;
using otel_ebpf::Result;
using site::Arch;
using site::bit;
using site::CostClass;
using site::FlagsFilter;
using site::Flow;
using site::KernelRelease;
using site::Registers;
using site::Rule;
using site::Treatment;

namespace {

constexpr KernelRelease linux_6_1{6, 1}, linux_6_13{6, 13};
constexpr std::uint64_t callee = 0x450000;
constexpr std::uint32_t ret = 0xd65f03c0, nop = 0xd503201f, mov_x0_x1 = 0xaa0103e0, push_frame = 0xf81f0ffe;

bool is_morestack(std::uint64_t target) {
    return target == morestack;
}

Result<site::Point> entry(Arm64Assembler& f, site::LiveRegisters needed = site::all_registers,
                          KernelRelease kernel = linux_6_1) {
    return site::entry(Arch::aarch64, f.code(), kernel, needed, is_morestack);
}
Result<std::vector<site::Point>> returns(Arm64Assembler& f, site::LiveRegisters needed = 1) {
    return site::returns(Arch::aarch64, f.code(), linux_6_1, needed);
}
Result<std::vector<site::Point>> after_call(Arm64Assembler& f, site::LiveRegisters needed,
                                            KernelRelease kernel = linux_6_1) {
    return site::after_call(Arch::aarch64, f.code(), callee, kernel, needed);
}

void check_point(const Result<site::Point>& point, std::uint64_t offset, Rule rule, CostClass cost) {
    if (!point) UNSCOPED_INFO(point.error().what);
    REQUIRE(point.has_value());
    INFO(point->why);
    CHECK(point->vaddr == base + offset);
    CHECK(point->rule == rule);
    CHECK(point->cost == cost);
    CHECK((point->filter == FlagsFilter::stack_check) == (rule == Rule::stack_check_jump));
}
template <class T>
void check_refused(const Result<T>& result, const std::string& reason) {
    REQUIRE_FALSE(result.has_value());
    INFO(result.error().what);
    CHECK(result.error().what.find(reason) != std::string::npos);
}
std::set<std::uint64_t> offsets(const Result<std::vector<site::Point>>& points) {
    if (!points) UNSCOPED_INFO(points.error().what);
    REQUIRE(points.has_value());
    std::set<std::uint64_t> found;
    for (const site::Point& point : *points) {
        CHECK(point.cost == CostClass::emulated);
        found.insert(point.vaddr - base);
    }
    return found;
}

}  // namespace

TEST_CASE("arm64: what a kernel does with each kind of instruction") {
    struct Case {
        const char* text;
        std::uint32_t word;
        Treatment on_6_1, on_6_13;
    };
    constexpr Treatment emulated = Treatment::emulated, stepped = Treatment::stepped, refused = Treatment::refused;
    const Case cases[] = {
        {"b .+8", 0x14000002, emulated, emulated},
        {"bl .-4", 0x97ffffff, emulated, emulated},
        {"b.ls", 0x54000049, emulated, emulated},
        {"bc.eq", 0x54000050, refused, refused},
        {"cbz w0", 0x34000040, emulated, emulated},
        {"cbnz x3", 0xb5000043, emulated, emulated},
        {"tbz w0,#3", 0x36180040, emulated, emulated},
        {"tbnz x0,#35", 0xb7180040, emulated, emulated},
        {"br x27", 0xd61f0360, emulated, emulated},
        {"blr x2", 0xd63f0040, emulated, emulated},
        {"ret", ret, emulated, emulated},
        {"ret x5", 0xd65f00a0, emulated, emulated},
        {"retaa", 0xd65f0bff, refused, refused},
        {"braa x0,x1", 0xd71f0801, refused, refused},
        {"adr x0,.+8", 0x10000040, emulated, emulated},
        {"adrp x27", 0xb000001b, emulated, emulated},
        {"nop", nop, stepped, emulated},
        {"bti c", 0xd503245f, stepped, stepped},
        {"paciasp", 0xd503233f, stepped, stepped},
        {"autibsp", 0xd50323ff, stepped, stepped},
        {"xpaclri", 0xd50320ff, stepped, stepped},
        {"pacia1716", 0xd503211f, stepped, stepped},
        {"yield", 0xd503203f, refused, refused},
        {"wfe", 0xd503205f, refused, refused},
        {"mrs x0,tpidr_el0", 0xd53bd040, stepped, stepped},
        {"mrs x0,daif", 0xd53b4220, refused, refused},
        {"msr tpidr_el0,x0", 0xd51bd040, refused, refused},
        {"msr daifset,#2", 0xd50342df, refused, refused},
        {"dmb ish", 0xd5033bbf, stepped, stepped},
        {"svc #0", 0xd4000001, refused, refused},
        {"brk #0", 0xd4200000, refused, refused},
        {"udf #0", 0x00000000, refused, refused},
        {"ldr x0,literal", 0x58000040, refused, refused},
        {"ldrsw x0,literal", 0x98000040, refused, refused},
        {"ldr q0,literal", 0x9c000040, refused, refused},
        {"prfm literal", 0xd8000040, refused, refused},
        {"ldaxr x0,[x1]", 0xc85ffc20, refused, refused},
        {"stlxr w2,x0,[x1]", 0xc802fc20, refused, refused},
        {"ldar x0,[x1]", 0xc8dffc20, refused, refused},
        {"cpyfp", 0x19010440, refused, refused},
        {"ldaddal x0,x1,[x2]", 0xf8e00041, stepped, stepped},
        {"stp x29,x30,[sp,#-16]!", 0xa9bf7bfd, stepped, stepped},
        {"mov x0,x1", mov_x0_x1, stepped, stepped},
        {"cmp sp,x16", 0xeb3063ff, stepped, stepped},
        {"cbeq, of 2024", 0x74c00000, refused, refused},
    };
    for (const Case& one : cases) {
        INFO(one.text);
        CHECK(aarch64::treatment({one.word}, linux_6_1) == one.on_6_1);
        CHECK(aarch64::treatment({one.word}, linux_6_13) == one.on_6_13);
    }
    CHECK(aarch64::treatment({ret}, {4, 9}) != Treatment::emulated);
}

TEST_CASE("arm64: which registers an instruction writes, and where control goes") {
    struct Case {
        const char* text;
        std::uint32_t word;
        Registers writes;
        Flow flow = Flow::next;
    };
    constexpr Registers x0 = bit(0), x1 = bit(1), sp = bit(31), every = aarch64::every_register;
    const Case cases[] = {
        {"mov x0,x1", mov_x0_x1, x0},
        {"cmp x0,x1", 0xeb01001f, 0},
        {"cmp sp,x16", 0xeb3063ff, 0},
        {"cmp x0,#1", 0xf100041f, 0},
        {"add x0,x1,#1", 0x91000420, x0},
        {"sub sp,sp,#16", 0xd10043ff, sp},
        {"sub sp,sp,x27", 0xcb3b63ff, sp},
        {"sub x17,sp,#0x80", 0xd10203f1, bit(17)},
        {"subs x17,sp,x27", 0xeb3b63f1, bit(17)},
        {"and sp,x0,#-16", 0x927cec1f, sp},
        {"tst x0,#1", 0xf240001f, 0},
        {"movz x27,#16", 0xd280021b, bit(27)},
        {"ubfx x2,x2,#5,#6", 0xd3452842, bit(2)},
        {"adrp x1", 0xb0001881, x1},
        {"ccmp x0,#0,#0,eq", 0xfa400800, 0},
        {"madd x0,x1,x2,x3", 0x9b020c20, x0},
        {"ldr x0,[x1]", 0xf9400020, x0},
        {"ldr x0,[x1],#8", 0xf8408420, x0 | x1},
        {"str x30,[sp,#-16]!", push_frame, sp},
        {"str x0,[x1]", 0xf9000020, 0},
        {"stur x29,[sp,#-8]", 0xf81f83fd, 0},
        {"ldrsb x0,[x1]", 0x39800020, x0},
        {"ldr x27,[x1,x3,lsl #3]", 0xf863783b, bit(27)},
        {"ldp x0,x1,[x2]", 0xa9400440, x0 | x1},
        {"ldp x29,x30,[sp],#16", 0xa8c17bfd, bit(29) | bit(30) | sp},
        {"stp x29,x30,[sp,#-16]!", 0xa9bf7bfd, sp},
        {"ldp q0,q1,[x2]", 0xad400440, 0},
        {"ldr d0,[x1],#8", 0xfc408420, x1},
        {"ldr q0,[x1]", 0x3dc00020, 0},
        {"ldaddal x0,x1,[x2]", 0xf8e00041, x1},
        {"swpal x0,x1,[x2]", 0xf8e08041, x1},
        {"ldaxr x0,[x1]", 0xc85ffc20, every},
        {"fmov x0,d0", 0x9e660000, x0},
        {"mrs x0,tpidr_el0", 0xd53bd040, x0},
        {"svc #0", 0xd4000001, every},
        {"ld1 of vectors", 0x4c407000, every},
        {"cntb x0 (SVE)", 0x0420e3e0, every},
        {"b", 0x14000001, 0, Flow::jump},
        {"bl", 0x94000001, bit(30), Flow::call},
        {"blr x2", 0xd63f0040, bit(30), Flow::indirect_call},
        {"br x27", 0xd61f0360, 0, Flow::indirect_jump},
        {"ret", ret, 0, Flow::ret},
        {"retaa", 0xd65f0bff, 0, Flow::ret},
        {"b.ls", 0x54000049, 0, Flow::conditional},
        {"tbnz", 0xb7180040, 0, Flow::conditional},
        {"brk", 0xd4200000, every, Flow::trap},
        {"udf", 0, every, Flow::trap},
    };
    for (const Case& one : cases) {
        INFO(one.text);
        if (one.flow != Flow::conditional && one.flow != Flow::ret)
            CHECK(aarch64::written_registers(one.word) == one.writes);
        CHECK(aarch64::flow_of(one.word) == one.flow);
    }
    CHECK(aarch64::target_of(0x17ffffff, 0x1000) == 0xffcU);          // b .-4
    CHECK(aarch64::target_of(0x54ffffe9, 0x1000) == 0xffcU);          // b.ls .-4
    CHECK(aarch64::target_of(0x36180040, 0x1000) == 0x1008U);         // tbz
    CHECK(aarch64::target_of(0x3607ffe0, 0x1000) == 0xffcU);          // tbz .-4
    CHECK(aarch64::target_of(0x96000000, 0x10000000) == 0x8000000U);  // bl .-128M
    CHECK_FALSE(aarch64::target_of(ret, 0x1000).has_value());
    CHECK_FALSE(aarch64::flow_of(0x74c00000).has_value());
}

TEST_CASE("arm64: entries at the stack check") {
    SECTION("small frame") {
        Arm64Assembler f;
        check_point(entry(f.small_check().words({push_frame, ret}).grow()), 8, Rule::stack_check_jump,
                    CostClass::emulated);
    }
    SECTION("large frame") {
        Arm64Assembler f;
        f.words({0xf9400b90, 0xd10203f1, 0xeb10023f}).b_ls("grow").words({ret}).grow();
        check_point(entry(f), 12, Rule::stack_check_jump, CostClass::emulated);
    }
    SECTION("large frame, its size in x27") {
        Arm64Assembler f;
        f.words({0xf9400b90, 0xd280021b, 0xcb3b63f1, 0xeb10023f}).b_ls("grow").words({ret}).grow();
        check_point(entry(f), 16, Rule::stack_check_jump, CostClass::emulated);
    }
    SECTION("huge frame") {
        Arm64Assembler f;
        f.words({0xf9400b90, 0xd280021b, 0xf2a0003b, 0xeb3b63f1}).branch(0x54000003, "grow");
        f.words({0xeb10023f}).b_ls("grow").words({ret}).grow();
        check_point(entry(f), 24, Rule::stack_check_jump, CostClass::emulated);
    }
    SECTION("on a system stack") {
        Arm64Assembler f;
        f.words({0xf9400f90, 0xeb3063ff}).b_ls("grow").words({ret}).grow();
        check_point(entry(f), 8, Rule::stack_check_jump, CostClass::emulated);
    }
    SECTION("that leads elsewhere: no call is to be counted twice") {
        Arm64Assembler f;
        f.small_check().words({ret}).grow(callee);
        check_refused(entry(f), "branches back to its first instruction");
    }
    SECTION("of another form") {
        Arm64Assembler f;
        f.words({0xf9400b90, 0xeb3063ff}).branch(0x54000003, "grow").words({ret}).grow();
        check_refused(entry(f), "a check of unknown form");
    }
    SECTION("with a branch into it") {
        Arm64Assembler f;
        f.words({0xf9400b90}).label("inside").words({0xeb3063ff}).b_ls("grow");
        f.branch(0xb5000000, "inside").words({ret}).grow();
        check_refused(entry(f), "a branch leads to +4");
    }
}

TEST_CASE("arm64: other entries") {
    SECTION("the first emulated instruction on the straight line") {
        Arm64Assembler f;
        f.words({0xf9400011}).branch(0xb5000011, "out").words({ret}).label("out").words({ret});
        check_point(entry(f), 4, Rule::straight_line_scan, CostClass::emulated);
    }
    SECTION("not behind the overwriting of an argument") {
        Arm64Assembler f;
        f.words({0xf9400000}).branch(0xb5000000, "out").words({ret}).label("out").words({ret});
        check_point(entry(f), 0, Rule::slow_entry, CostClass::stepped);
        Arm64Assembler same;
        same.words({0xf9400000}).branch(0xb5000000, "out").words({ret}).label("out").words({ret});
        check_point(entry(same, site::no_registers), 4, Rule::straight_line_scan, CostClass::emulated);
    }
    SECTION("not behind a frame, a write of g or of the closure context") {
        for (const std::uint32_t first : {push_frame, 0xaa0103fcU, 0xaa0103faU, 0xaa0103feU}) {
            Arm64Assembler f;
            check_point(entry(f.words({first, ret}), 0), 0, Rule::slow_entry, CostClass::stepped);
        }
    }
    SECTION("not between the halves of an exclusive access") {
        Arm64Assembler f;
        f.words({mov_x0_x1, 0xc85ffc31}).branch(0xb5000011, "out").words({0xc811fc20});
        f.label("out").words({ret});
        check_point(entry(f, 0), 0, Rule::slow_entry, CostClass::stepped);
    }
    SECTION("not at a nop that the kernel steps") {
        Arm64Assembler f, newer;
        f.words({0xf9000020, nop, mov_x0_x1, ret});
        newer.words({0xf9000020, nop, mov_x0_x1, ret});
        check_point(entry(f), 0, Rule::slow_entry, CostClass::stepped);
        check_point(entry(newer, site::all_registers, linux_6_13), 4, Rule::straight_line_scan, CostClass::emulated);
    }
    SECTION("none where the kernel can't probe the first instruction") {
        Arm64Assembler f;
        check_refused(entry(f.words({0xc8dffc00, mov_x0_x1, ret})), "can't probe its first instruction");
    }
    SECTION("R1") {
        Arm64Assembler f;
        f.small_check().words({ret}).grow();
        const auto point = site::next_call(Arch::aarch64, f.code(), linux_6_1, 0, is_morestack);
        REQUIRE(point.has_value());
        CHECK(point->rule == Rule::next_call);
        CHECK(point->filter == FlagsFilter::stack_check);
    }
}

TEST_CASE("arm64: every return is a cheap end site") {
    SECTION("all of them") {
        Arm64Assembler f;
        f.small_check().branch(0xb4000000, "other").words({mov_x0_x1, ret}).label("other").words({ret}).grow();
        const auto points = returns(f);
        CHECK(offsets(points) == std::set<std::uint64_t>{20, 24});
        CHECK(points->front().rule == Rule::every_return);
    }
    SECTION("a jump out of the function ends it, before its results exist") {
        Arm64Assembler f, g;
        f.words({mov_x0_x1}).b_to(callee);
        g.words({mov_x0_x1}).b_to(callee);
        check_refused(returns(f), "before its results exist");
        CHECK(offsets(returns(g, 0)) == std::set<std::uint64_t>{4});
    }
    SECTION("a jump through a table stays inside, another leaves") {
        Arm64Assembler table, out;
        table.words({0xf863783b, 0xd61f0360, ret});
        out.words({0xf9400f5b, 0xd61f0360, ret});
        CHECK(offsets(returns(table)) == std::set<std::uint64_t>{8});
        CHECK(offsets(returns(out, 0)) == std::set<std::uint64_t>{4, 8});
    }
    SECTION("an authenticated return can't be probed") {
        Arm64Assembler f;
        check_refused(returns(f.words({mov_x0_x1, 0xd65f0bff})), "can't probe this exit");
    }
    SECTION("constants behind the code are none, whatever they look like") {
        Arm64Assembler f;
        f.branch(0x5800001b, "constant").words({ret}).label("constant").words({ret, ret});
        CHECK(offsets(returns(f)) == std::set<std::uint64_t>{4});
    }
    SECTION("nor are those behind them that nothing loads, but for what may be code") {
        Arm64Assembler f, code;
        f.branch(0x1800001b, "constant").words({ret}).label("constant").words({1, mov_x0_x1});
        CHECK(offsets(returns(f)) == std::set<std::uint64_t>{4});
        code.branch(0x1800001b, "constant").b("on").label("constant").words({1}).label("on").words({mov_x0_x1});
        check_refused(returns(code), "continues behind the function");
        Arm64Assembler after_call, with_table;
        check_refused(returns(after_call.words({ret}).bl(callee).words({mov_x0_x1})), "continues behind the function");
        with_table.words({0xf863783b, 0xd61f0360, ret, mov_x0_x1});  // a case may be there
        check_refused(returns(with_table), "continues behind the function");
    }
    SECTION("none: the function never returns") {
        Arm64Assembler f;
        check_refused(returns(f.bl(callee).words({nop})), "never returns");
    }
}

TEST_CASE("arm64: sites after a call") {
    constexpr site::LiveRegisters second = 1 << 1;
    SECTION("at the branch on a result") {
        Arm64Assembler f;
        f.bl(callee).words({0xf9000be0}).branch(0xb5000001, "bad").words({ret}).label("bad").words({ret});
        CHECK(offsets(after_call(f, second)) == std::set<std::uint64_t>{8});
    }
    SECTION("not behind the overwriting of a result, or of g") {
        for (const std::uint32_t word : {0xaa0203e1U, 0xaa0203fcU, 0x910043ffU}) {
            Arm64Assembler f;
            f.bl(callee).words({word}).branch(0xb5000001, "bad").words({ret}).label("bad").words({ret});
            check_refused(after_call(f, second), "overwrites a result or moves the stack pointer");
        }
    }
    SECTION("not where another branch leads") {
        Arm64Assembler f;
        f.branch(0xb4000000, "join").bl(callee).label("join").branch(0xb5000001, "bad").words({ret}).label("bad");
        f.words({ret});
        check_refused(after_call(f, second), "a branch leads to +8");
    }
    SECTION("not in a function with a jump through a table") {
        Arm64Assembler f;
        f.bl(callee).branch(0xb5000001, "bad").words({0xf863783b, 0xd61f0360}).label("bad").words({ret});
        check_refused(after_call(f, second), "jump table");
    }
}

TEST_CASE("arm64: code that can't be followed is refused") {
    const auto refused = [](Arm64Assembler& f, const std::string& reason) { check_refused(entry(f), reason); };
    Arm64Assembler runs_on, unknown, into_constant, from_constant, behind;
    refused(runs_on.words({mov_x0_x1}), "continues behind the function");
    refused(unknown.words({0x74c00000, ret}), "branch of an unknown kind");
    refused(into_constant.branch(0x1800001b, "c").b("c").label("c").words({ret}), "middle of an instruction");
    refused(from_constant.branch(0x1800001b, "c").label("c").words({ret, ret}), "control runs into a constant");
    refused(behind.words({ret}).label("c").words({nop}).branch(0x1800001b, "entry").words({ret}), "loads a constant");

    Arm64Assembler f;
    site::Code code = f.words({mov_x0_x1, ret}).code();
    code.bytes = code.bytes.first(6);
    check_refused(site::entry(Arch::aarch64, code, linux_6_1, 0, is_morestack), "whole instructions");
    code = f.code();
    code.vaddr += 2;
    check_refused(site::entry(Arch::aarch64, code, linux_6_1, 0, is_morestack), "whole instructions");
}

TEST_CASE("arm64: callers are known when nothing else can refer to the function") {
    Arm64Assembler target, caller(base + 0x1000);
    target.words({mov_x0_x1}).b_to(callee);
    const auto callers = [&](Arm64Assembler& from, std::vector<std::uint64_t> data = {}) {
        const site::Code codes[] = {target.code(), from.code()};
        const site::Section text[] = {{codes[0].vaddr, codes[0].bytes}, {codes[1].vaddr, codes[1].bytes}};
        const site::Section words{0x600000, std::as_bytes(std::span(data))};
        site::Image image;
        image.text = text;
        image.data = {&words, 1};
        image.function_at = [&](std::uint64_t vaddr) -> std::optional<site::Code> {
            for (const site::Code& code : codes)
                if (vaddr >= code.vaddr && vaddr - code.vaddr < code.bytes.size()) return code;
            return std::nullopt;
        };
        auto points = site::end_sites(Arch::aarch64, codes[0], image, linux_6_1, 1);
        if (points) CHECK(points->size() == 1);
        return points;
    };
    SECTION("a call") {
        caller.bl(base).branch(0xb5000001, "bad").words({ret}).label("bad").words({ret});
        const auto points = callers(caller);
        REQUIRE(points.has_value());
        CHECK(points->front().vaddr == base + 0x1004);
        CHECK(points->front().rule == Rule::after_call);
        check_refused(callers(caller, {1, base, 2}), "its address is in data");
    }
    SECTION("a jump") {
        check_refused(callers(caller.b_to(base)), "jumps to it");
    }
    SECTION("its address, of a page and a place") {
        // adrp x1, base & ~0xfff; add x1, x1, #0
        check_refused(callers(caller.words({0xf0ffffe1, 0x91000021, ret})), "takes its address");
    }
    SECTION("its address, as a constant") {
        caller.branch(0x58000001, "c").words({ret}).label("c").words({base, 0});
        check_refused(callers(caller), "takes its address");
    }
    SECTION("a page alone, with another place on it") {
        check_refused(callers(caller.words({0xf0ffffe1, 0x91001021, ret})), "no function calls it");
    }
}

TEST_CASE("arm64: functions of C and C++") {
    const auto native = [](Arm64Assembler& f) {
        site::Code code = f.code();
        code.abi = Abi::native;
        return code;
    };
    Arm64Assembler leaf, framed, switching;
    leaf.branch(0xb4000000, "out").words({ret}).label("out").words({ret});
    check_point(site::entry(Arch::aarch64, native(leaf), linux_6_1, 1, nullptr), 0, Rule::straight_line_scan,
                CostClass::emulated);
    framed.words({0xa9bf7bfd}).bl(callee).words({0xa8c17bfd, ret});
    check_point(site::entry(Arch::aarch64, native(framed), linux_6_1, 1, nullptr), 0, Rule::slow_entry,
                CostClass::stepped);
    CHECK(offsets(site::end_sites(Arch::aarch64, native(framed), {}, linux_6_1, 1)) == std::set<std::uint64_t>{12});
    // ldrh w1,[x1,w0,uxtw #1]; adr x0; add x1,x0,w1,sxth #2; br x1
    switching.words({0x78605821, 0x10000060, 0x8b21a801, 0xd61f0020, ret});
    CHECK(offsets(site::end_sites(Arch::aarch64, native(switching), {}, linux_6_1, 1)) == std::set<std::uint64_t>{16});

    Arm64Assembler outside(base + 0x100);
    outside.b_to(base + 8).b_to(base).b_to(base + 4).bl(base + 400);
    const site::Code code = outside.code();
    const site::Section text{code.vaddr, code.bytes};
    CHECK(site::entered_from_outside(Arch::aarch64, {&text, 1}, base, 16) ==
          std::vector<std::uint64_t>{base + 4, base + 8});
}
