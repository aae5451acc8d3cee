// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// x86-64 machine code of one function -> instructions with control flow, written registers and branch targets.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <Zydis/Zydis.h>

#include <otel_ebpf/site/emulation.hpp>
#include <otel_ebpf/site/function.hpp>

namespace otel_ebpf::site::x86_64 {

// Hardware numbers.
inline constexpr unsigned rax = 0, rcx = 1, rdx = 2, rbx = 3, rsp = 4, rbp = 5, rsi = 6, rdi = 7, r8 = 8, r9 = 9,
                          r10 = 10, r11 = 11, r12 = 12, r13 = 13, r14 = 14, r15 = 15;

// go.googlesource.com/go, src/cmd/compile/abi-internal.md, "amd64 architecture"
inline constexpr unsigned go_integer_registers[] = {rax, rbx, rcx, rdi, rsi, r8, r9, r10, r11};
inline constexpr unsigned go_g = r14;
inline constexpr unsigned go_closure_context = rdx;
// System V ABI, AMD64 supplement, 3.2.3
inline constexpr unsigned native_arguments[] = {rdi, rsi, rdx, rcx, r8, r9};
inline constexpr unsigned native_results[] = {rax, rdx};

// What must be intact at an entry, and where a call has just returned.
constexpr Registers kept_at_entry(LiveRegisters arguments, Abi abi) {
    if (abi == Abi::native) return registers_of(arguments, native_arguments) | bit(rsp);
    return registers_of(arguments, go_integer_registers) | bit(go_closure_context) | bit(rsp);
}
constexpr Registers kept_results(LiveRegisters results, Abi abi) {
    return abi == Abi::native ? registers_of(results, native_results) : registers_of(results, go_integer_registers);
}
constexpr Registers kept_after_call(LiveRegisters results, Abi abi) {
    return kept_results(results, abi) | bit(rsp) | (abi == Abi::go ? bit(go_g) : Registers{0});
}

using Instruction = BasicInstruction<Encoding>;
using Function = BasicFunction<Encoding>;

namespace detail {

inline Encoding encoding_of(const ZydisDecodedInstruction& raw) {
    Encoding encoding;
    encoding.opcode = raw.opcode;
    encoding.length = raw.length;
    if (raw.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) encoding.map = OpcodeMap::other;
    else if (raw.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) encoding.map = OpcodeMap::one_byte;
    else if (raw.opcode_map == ZYDIS_OPCODE_MAP_0F) encoding.map = OpcodeMap::two_byte;
    else encoding.map = OpcodeMap::other;
    if ((raw.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0) encoding.modrm_reg = raw.raw.modrm.reg;
    for (unsigned i = 0; i < raw.raw.prefix_count; ++i) {
        const std::uint8_t prefix = raw.raw.prefixes[i].value;
        switch (prefix) {
            case 0x66: encoding.prefixes |= prefix_operand_size; break;
            case 0x67: encoding.prefixes |= prefix_address_size; break;
            case 0xf3: encoding.prefixes |= prefix_rep; break;
            case 0xf2: encoding.prefixes |= prefix_repne; break;
            case 0xf0: encoding.prefixes |= prefix_lock; break;
            case 0x64:
            case 0x65: encoding.prefixes |= prefix_fs_gs; break;
            case 0x26:
            case 0x2e:
            case 0x36:
            case 0x3e: encoding.prefixes |= prefix_segment; break;
            default:
                if ((prefix & 0xf0) == 0x40) encoding.rex = prefix;
        }
    }
    return encoding;
}

inline Flow flow_of(const ZydisDecodedInstruction& raw, const ZydisDecodedOperand* operands) {
    const bool direct =
        raw.operand_count > 0 && operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operands[0].imm.is_relative != 0;
    switch (raw.meta.category) {
        case ZYDIS_CATEGORY_CALL: return direct ? Flow::call : Flow::indirect_call;
        case ZYDIS_CATEGORY_COND_BR: return Flow::conditional;
        case ZYDIS_CATEGORY_RET:
        case ZYDIS_CATEGORY_SYSRET: return Flow::ret;
        case ZYDIS_CATEGORY_UNCOND_BR:
            if (direct) return Flow::jump;
            return operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY && operands[0].mem.index != ZYDIS_REGISTER_NONE
                       ? Flow::jump_table
                       : Flow::indirect_jump;
        default: break;
    }
    switch (raw.mnemonic) {
        case ZYDIS_MNEMONIC_UD0:
        case ZYDIS_MNEMONIC_UD1:
        case ZYDIS_MNEMONIC_UD2:
        case ZYDIS_MNEMONIC_INT3:
        case ZYDIS_MNEMONIC_HLT: return Flow::trap;
        case ZYDIS_MNEMONIC_INT: return operands[0].imm.value.u == 3 ? Flow::trap : Flow::next;
        default: return Flow::next;
    }
}

inline Registers written_register(ZydisRegister name) {
    const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, name);
    if (whole < ZYDIS_REGISTER_RAX || whole > ZYDIS_REGISTER_R15) return 0;
    return bit(static_cast<unsigned>(whole - ZYDIS_REGISTER_RAX));
}

inline Instruction describe(const ZydisDecodedInstruction& raw, const ZydisDecodedOperand* operands,
                            std::uint64_t function_vaddr, std::uint32_t offset) {
    Instruction instruction;
    instruction.offset = offset;
    instruction.encoding = encoding_of(raw);
    instruction.flow = flow_of(raw, operands);
    instruction.makes_case_address =
        raw.mnemonic == ZYDIS_MNEMONIC_ADD && operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
        operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
    if (instruction.flow == Flow::indirect_jump && operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER)
        instruction.jumps_to = written_register(operands[0].reg.value);
    const std::uint64_t next_vaddr = function_vaddr + offset + raw.length;
    for (unsigned i = 0; i < raw.operand_count; ++i) {
        const ZydisDecodedOperand& operand = operands[i];
        const bool written = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
        if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER && written) {
            instruction.writes |= written_register(operand.reg.value);
        } else if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operand.imm.is_relative != 0) {
            instruction.has_target = true;
            instruction.target = next_vaddr + static_cast<std::uint64_t>(operand.imm.value.s);
        } else if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operand.size >= 32) {
            instruction.has_reference = true;
            instruction.reference = operand.imm.value.u;
        } else if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.base == ZYDIS_REGISTER_RIP) {
            instruction.has_reference = true;
            instruction.reference = next_vaddr + static_cast<std::uint64_t>(operand.mem.disp.value);
        }
    }
    return instruction;
}

// Start of the run of int3 and zero bytes at the end; instructions never start behind it.
inline std::size_t padding_start(std::span<const std::byte> bytes) {
    std::size_t end = bytes.size();
    while (end > 0 && (bytes[end - 1] == std::byte{0xcc} || bytes[end - 1] == std::byte{0})) --end;
    return end;
}

// A function can't continue behind its last instruction. A call that never returns may come last, with a nop that
// keeps its return address inside the function.
inline bool ends_here(const std::vector<Instruction>& instructions) {
    for (auto last = instructions.rbegin(); last != instructions.rend(); ++last) {
        if (!last->falls_through()) return true;
        const bool nop = last->flow == Flow::next && last->encoding.map != OpcodeMap::other &&
                         last->encoding.opcode == (last->encoding.map == OpcodeMap::one_byte ? 0x90 : 0x1f);
        if (!nop) return false;
    }
    return false;
}

}  // namespace detail

// Decodes a whole function; WHAT names the purpose in errors ("entry site"). Refuses bytes that are no instruction, an
// end inside an instruction or on one that continues, and branches into the middle of an instruction.
inline Result<Function> decode(const Code& code, std::string_view what) {
    using site::detail::refuse;
    if (auto checked = site::detail::check_bounds(code, what); !checked) return tl::unexpected(checked.error());

    ZydisDecoder decoder;
    if (!ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)))
        return fail(Stage::unsupported, "start the x86-64 decoder: Zydis was built without it; use a full build");

    Function function;
    function.code = code;
    function.instructions.reserve(code.bytes.size() / 4);
    std::vector<bool> starts(code.bytes.size(), false);
    const std::size_t padding = detail::padding_start(code.bytes);
    std::size_t offset = 0;
    while (offset < code.bytes.size()) {
        if (offset >= padding && detail::ends_here(function.instructions)) break;
        ZydisDecodedInstruction raw;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        const ZyanStatus status =
            ZydisDecoderDecodeFull(&decoder, code.bytes.data() + offset, code.bytes.size() - offset, &raw, operands);
        if (status == ZYDIS_STATUS_NO_MORE_DATA)
            return refuse(what, code, offset, "the function ends inside an instruction; its bounds are wrong");
        if (!ZYAN_SUCCESS(status))
            return refuse(what, code, offset,
                          "byte " + site::detail::hex(std::to_integer<unsigned>(code.bytes[offset])) +
                              " starts no known instruction; the text is damaged, or newer than the decoder");
        starts[offset] = true;
        function.instructions.push_back(
            detail::describe(raw, operands, code.vaddr, static_cast<std::uint32_t>(offset)));
        offset += raw.length;
    }
    if (!detail::ends_here(function.instructions))
        return refuse(what, code, offset, "the last instruction continues behind the function; its bounds are wrong");

    // In position-independent native code a jump is a switch when its address was added up, of a table's address and an
    // entry; no call does that.
    if (code.abi == Abi::native) site::detail::find_switches(function.instructions);
    site::detail::mark_targets(function);
    if (auto checked = site::detail::check_targets(function, starts, what); !checked)
        return tl::unexpected(checked.error());
    return function;
}

}  // namespace otel_ebpf::site::x86_64
