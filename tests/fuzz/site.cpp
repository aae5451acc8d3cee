// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Any bytes as the code of one function: each site that is chosen in it is an instruction of it, that the kernel treats
// as the site says, and that is reached as often as it promises.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include <Zydis/Zydis.h>

#include <otel_ebpf/site/select.hpp>

#include "../hostile/promise.hpp"
#include "../unit/elf_image.hpp"
#include "input.hpp"
#include "site_input.hpp"

namespace site = otel_ebpf::site;
using hostile::promise;

namespace {

struct Step {
    std::uint64_t vaddr;
    std::uint8_t opcode[2];
    bool is_legacy;
    bool falls_through;
    std::optional<std::uint64_t> target;
};

// The instructions from the start on, up to the first byte that is none.
std::vector<Step> steps_of(site::Arch arch, const site::Code& code) {
    std::vector<Step> steps;
    if (arch != site::Arch::x86_64) {
        for (std::size_t at = 0; at + 4 <= code.bytes.size(); at += 4)
            steps.push_back({code.vaddr + at, {}, {}, {}, {}});
        return steps;
    }
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisDecodedInstruction raw;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    for (std::size_t at = 0; at < code.bytes.size(); at += raw.length) {
        if (!ZYAN_SUCCESS(
                ZydisDecoderDecodeFull(&decoder, code.bytes.data() + at, code.bytes.size() - at, &raw, operands)))
            break;
        const auto category = raw.meta.category;
        Step step{code.vaddr + at, {}, raw.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY, true, {}};
        const unsigned skipped = raw.raw.prefix_count;
        for (unsigned i = 0; i < 2 && skipped + i < raw.length; ++i)
            step.opcode[i] = std::to_integer<std::uint8_t>(code.bytes[at + skipped + i]);
        step.falls_through = category != ZYDIS_CATEGORY_UNCOND_BR && category != ZYDIS_CATEGORY_RET &&
                             category != ZYDIS_CATEGORY_CALL;
        ZyanU64 target = 0;
        if (raw.operand_count != 0 && operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operands[0].imm.is_relative &&
            ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&raw, &operands[0], step.vaddr, &target)))
            step.target = target;
        steps.push_back(step);
    }
    return steps;
}

// The opcodes of instructions that some kernel emulates: nops, branches, push.
bool may_be_emulated(const Step& step) {
    const unsigned first = step.opcode[0], second = step.opcode[1];
    if (!step.is_legacy) return false;
    return first == 0x90 || (first & 0xf0) == 0x70 || (first & 0xf8) == 0x50 || first == 0xe8 || first == 0xe9 ||
           first == 0xeb || (first == 0x0f && ((second & 0xf0) == 0x80 || second == 0x1f));
}

const Step& check_point(site::Arch arch, const site::Code& code, const std::vector<Step>& steps,
                        const site::Point& point) {
    promise(point.vaddr >= code.vaddr && point.vaddr - code.vaddr < code.bytes.size(), "a site lies in its function");
    promise(!point.why.empty(), "a site says why");
    for (const Step& step : steps) {
        if (step.vaddr != point.vaddr) continue;
        if (arch == site::Arch::x86_64)
            promise(point.cost == site::CostClass::stepped || may_be_emulated(step),
                    "an emulated site can be emulated");
        return step;
    }
    promise(false, "a site is an instruction");
    return steps.front();
}

// Nothing leads around an entry site or to it from elsewhere, other than the check of the stack.
void check_entry(site::Arch arch, const site::Code& code, const std::vector<Step>& steps, const site::Point& point) {
    check_point(arch, code, steps, point);
    promise((point.filter == site::FlagsFilter::stack_check) == (point.rule == site::Rule::stack_check_jump),
            "the jump of the stack check, and nothing else, is filtered");
    if (arch != site::Arch::x86_64) return;
    for (const Step& step : steps) {
        if (step.vaddr < point.vaddr)
            promise(step.falls_through && (!step.target || point.filter == site::FlagsFilter::stack_check),
                    "each call passes its entry site");
        promise(!step.target || *step.target <= code.vaddr || *step.target > point.vaddr,
                "no branch leads to the entry site");
        promise(!step.target || *step.target != code.vaddr || point.filter == site::FlagsFilter::stack_check ||
                    step.vaddr == code.vaddr || !step.falls_through,
                "no conditional branch runs the entry site again");
    }
}

void check_all(site::Arch arch, const site::Code& code, const std::vector<Step>& steps,
               const otel_ebpf::Result<std::vector<site::Point>>& points) {
    if (!hostile::worked(points)) return;
    promise(!points->empty(), "end sites are some");
    std::set<std::uint64_t> seen;
    for (const site::Point& point : *points) {
        check_point(arch, code, steps, point);
        promise(point.filter == site::FlagsFilter::none, "end sites are not filtered");
        promise(seen.insert(point.vaddr).second, "no site is chosen twice");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    const SiteInput question = SiteInput::read(input);
    const std::string_view bytes = input.rest();
    constexpr std::uint64_t vaddr = SiteInput::vaddr;
    // A function that the bytes' first half calls, and the other way round.
    const std::size_t half = question.is_split() ? bytes.size() / 2 : bytes.size();
    const std::vector<std::uint64_t> entered_at = {vaddr + question.entered_at};
    const site::Arch arch = question.arch();
    site::Code code{vaddr, as_bytes(bytes.substr(0, half)), "main.f", question.abi(), {}};
    if (question.abi() == otel_ebpf::Abi::native && question.entered_at != 0) code.entered_at = entered_at;
    const site::Code other{vaddr + half, as_bytes(bytes.substr(half)), "main.f.cold", question.abi(), {}};
    const std::uint64_t callee = vaddr + static_cast<std::uint64_t>(question.callee);
    const site::MorestackQuery is_morestack = [&](std::uint64_t target) {
        return target == vaddr + static_cast<std::uint64_t>(question.morestack);
    };
    const std::vector<Step> steps = steps_of(arch, code);

    if (const auto point = site::entry(arch, code, question.kernel(), question.live, is_morestack);
        hostile::worked(point))
        check_entry(arch, code, steps, *point);
    check_all(arch, code, steps, site::returns(arch, code, question.kernel(), question.live));
    for (const bool joins : {false, true})
        check_all(arch, code, steps,
                  site::after_call(arch, code, callee, question.kernel(), question.live, {joins, joins}));

    const site::Section text{vaddr, as_bytes(bytes)};
    site::Image image;
    image.text = {&text, 1};
    image.function_at = [&](std::uint64_t at) -> std::optional<site::Code> {
        if (at >= code.vaddr && at - code.vaddr < code.bytes.size()) return code;
        if (at >= other.vaddr && at - other.vaddr < other.bytes.size()) return other;
        return std::nullopt;
    };
    const auto ends = site::end_sites(arch, code, image, question.kernel(), question.live);
    if (!hostile::worked(ends)) return 0;
    for (const site::Point& point : *ends)
        promise(point.vaddr >= vaddr && point.vaddr - vaddr < bytes.size(), "end sites lie in a function");
    return 0;
}
