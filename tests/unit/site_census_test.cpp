// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The site selector over every function of real Go programs, judged by a checker that shares no code with it.
#include "go_program.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <map>
#include <optional>
#include <set>

#include <otel_ebpf/site/select.hpp>

namespace site = otel_ebpf::site;
using site::Arch;
using site::CostClass;
using site::FlagsFilter;
using site::KernelRelease;
using site::Rule;
using go_program::Program;
using go_program::Symbol;

namespace {

constexpr const char* releases[] = {"1.19", "1.22", "1.23", "1.24", "1.26", "1.27"};
constexpr KernelRelease kernels[] = {{6, 1}, {6, 18}};

// The checker's own view of a function: every instruction as text, every place that code of the function refers to.
struct Listing {
    struct Line {
        std::uint64_t vaddr;
        unsigned length;
        std::string mnemonic;
        std::string text;
        std::optional<std::uint64_t> target;
        std::set<std::string> written;  // 64-bit register names
    };
    std::vector<Line> lines;
    std::multimap<std::uint64_t, std::size_t> references;  // place -> line

    explicit Listing(const site::Code& code) {
        ZydisDecoder decoder;
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        ZydisFormatter formatter;
        ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
        std::size_t offset = 0;
        ZydisDecodedInstruction insn;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        while (offset < code.bytes.size() &&
               ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code.bytes.data() + offset, code.bytes.size() - offset,
                                                   &insn, operands))) {
            char text[128];
            ZydisFormatterFormatInstruction(&formatter, &insn, operands, insn.operand_count_visible, text, sizeof(text),
                                            ZYDIS_RUNTIME_ADDRESS_NONE, nullptr);
            Line line{code.vaddr + offset, insn.length, ZydisMnemonicGetString(insn.mnemonic), text, {}, {}};
            for (unsigned i = 0; i < insn.operand_count; ++i) {
                ZyanU64 place = 0;
                if (i < insn.operand_count_visible &&
                    ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&insn, &operands[i], line.vaddr, &place))) {
                    references.emplace(place, lines.size());
                    if (operands[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) line.target = place;
                }
                if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                    (operands[i].actions & (ZYDIS_OPERAND_ACTION_WRITE | ZYDIS_OPERAND_ACTION_CONDWRITE)) != 0) {
                    const ZydisRegister whole =
                        ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operands[i].reg.value);
                    if (const char* const name = ZydisRegisterGetString(whole)) line.written.insert(name);
                }
            }
            lines.push_back(std::move(line));
            offset += insn.length;
        }
    }

    [[nodiscard]] std::optional<std::size_t> line_at(std::uint64_t vaddr) const {
        for (std::size_t i = 0; i < lines.size(); ++i)
            if (lines[i].vaddr == vaddr) return i;
        return std::nullopt;
    }
};

bool starts(const std::string& text, const std::string& prefix) {
    return text.rfind(prefix, 0) == 0;
}

bool is_emulated(const Listing::Line& line, KernelRelease kernel) {
    if (line.mnemonic == "nop") return line.length <= 2 || kernel >= KernelRelease{6, 18};
    if (starts(line.mnemonic, "j")) return line.target.has_value();
    if (line.mnemonic == "call") return line.target.has_value();
    return line.mnemonic == "push" && line.length <= 2;
}

const std::set<std::string> argument_registers = {"rax", "rbx", "rcx", "rdi", "rsi", "r8",
                                                  "r9",  "r10", "r11", "rdx", "rsp"};

// What is wrong with an entry site, or nothing.
std::string entry_fault(const Program& program, const site::Code& code, const Listing& listing,
                        const site::Point& point, KernelRelease kernel) {
    const auto index = listing.line_at(point.vaddr);
    if (!index) return "no instruction starts there";
    const Listing::Line& line = listing.lines[*index];
    if ((point.cost == CostClass::emulated) != is_emulated(line, kernel)) return "wrong cost class: " + line.text;

    for (std::size_t i = 0; i < *index; ++i) {
        const Listing::Line& before = listing.lines[i];
        const bool overflow = before.mnemonic == "jb" && before.target;
        if (before.mnemonic == "ret" || before.mnemonic == "call" || (starts(before.mnemonic, "j") && !overflow))
            return "not dominated: " + before.text;
        for (const std::string& name : before.written)
            if (argument_registers.count(name) != 0) return "overwrites " + name + ": " + before.text;
    }
    for (const auto& [place, from] : listing.references)
        if (place > code.vaddr && place <= point.vaddr) return "referred to by " + listing.lines[from].text;

    const auto [first, last] = listing.references.equal_range(code.vaddr);
    for (auto reference = first; reference != last; ++reference) {
        std::size_t i = reference->second;
        if (!starts(listing.lines[i].mnemonic, "j")) continue;
        if (point.filter == FlagsFilter::none) return "hit again by " + listing.lines[i].text;
        for (unsigned steps = 0; i > 0 && listing.lines[i].mnemonic != "call" && steps < 30; ++steps) --i;
        if (!listing.lines[i].target || !program.is_morestack(*listing.lines[i].target))
            return "hit again without morestack";
    }
    if (point.filter == FlagsFilter::stack_check) {
        if (line.mnemonic != "jbe" || *index == 0) return "no stack check jump: " + line.text;
        const std::string& compare = listing.lines[*index - 1].text;
        const bool known = compare == "cmp rsp, [r14+0x10]" || compare == "cmp rsp, [r14+0x18]" ||
                           compare == "cmp r12, [r14+0x10]" || compare == "cmp r12, [r14+0x18]";
        if (!known) return "no stack check: " + compare;
    }
    return {};
}

// What is wrong with a set of return sites, or nothing.
std::string returns_fault(const site::Code& code, const Listing& listing, const std::vector<site::Point>& points,
                          KernelRelease kernel) {
    std::set<std::uint64_t> left;
    for (const site::Point& point : points) left.insert(point.vaddr);
    if (left.size() != points.size()) return "a site twice";
    for (std::size_t i = 0; i < listing.lines.size(); ++i) {
        const Listing::Line& line = listing.lines[i];
        const bool outside =
            line.target && (*line.target < code.vaddr || *line.target - code.vaddr >= code.bytes.size());
        const bool table = line.text.find('*') != std::string::npos;
        const bool leaves = line.mnemonic == "ret" || (line.mnemonic == "jmp" && (outside || (!line.target && !table)));
        if (!leaves || left.erase(line.vaddr) != 0) continue;
        // Not the exit itself: an emulated instruction above it, with nothing in between that could pass it by.
        std::size_t j = i;
        while (true) {
            if (j == 0 || listing.references.count(listing.lines[j].vaddr) != 0) return "no site for " + line.text;
            --j;
            if (starts(listing.lines[j].mnemonic, "j") || listing.lines[j].mnemonic == "call" ||
                listing.lines[j].mnemonic == "ret")
                return "no site for " + line.text;
            if (is_emulated(listing.lines[j], kernel) && left.erase(listing.lines[j].vaddr) != 0) break;
        }
    }
    return left.empty() ? std::string() : "a site that belongs to no exit";
}

struct Census {
    std::size_t functions = 0, fast = 0, refused = 0, tails = 0, every_return = 0, faults = 0;
    std::map<Rule, std::size_t> rules;  // of entries
};

// Adds one function and returns what is wrong with its sites, or nothing.
std::string count_function(Census& census, const Program& program, const site::Code& code, const Listing& listing,
                           KernelRelease kernel) {
    ++census.functions;
    std::string fault;
    const auto point = site::entry(Arch::x86_64, code, kernel, site::all_registers, program.morestack_query());
    if (point) {
        ++census.rules[point->rule];
        census.fast += point->cost == CostClass::emulated;
        fault = entry_fault(program, code, listing, *point, kernel);
    } else {
        ++census.refused;
    }
    if (const auto ends = site::returns(Arch::x86_64, code, kernel, site::no_registers)) {
        ++(ends->front().rule == Rule::every_return ? census.every_return : census.tails);
        if (fault.empty()) fault = returns_fault(code, listing, *ends, kernel);
    }
    census.faults += !fault.empty();
    return fault;
}

double percent(std::size_t part, std::size_t whole) {
    return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

TEST_CASE("site: census of every function of real Go programs") {
    unsigned programs = 0;
    for (const char* const release : releases) {
        const std::string path = test_target(std::string("server-go") + release);
        if (path.empty()) continue;
        ++programs;
        const Program program(path);
        Census census[std::size(kernels)];
        for (const Symbol& symbol : program.symbols()) {
            const auto code = program.code(symbol);
            if (!code) continue;
            const Listing listing(*code);
            for (std::size_t i = 0; i < std::size(kernels); ++i) {
                const std::string fault = count_function(census[i], program, *code, listing, kernels[i]);
                if (!fault.empty())
                    UNSCOPED_INFO("go" << release << " on Linux " << kernels[i].to_string() << ": " << symbol.name
                                       << ": " << fault);
            }
        }
        for (std::size_t i = 0; i < std::size(kernels); ++i) {
            const Census& seen = census[i];
            std::printf("census: go%s on Linux %s: %zu functions, entries %.1f %% emulated (", release,
                        kernels[i].to_string().c_str(), seen.functions, percent(seen.fast, seen.functions));
            for (const auto& [rule, number] : seen.rules)
                std::printf("%s %zu, ", std::string(to_string(rule)).c_str(), number);
            std::printf("refused %zu); returns: tail %zu, every return %zu\n", seen.refused, seen.tails,
                        seen.every_return);
            CHECK(seen.faults == 0);
            // Releases up to 1.20 begin functions without a stack check with sub $N,%rsp, which is not emulated.
            CHECK(percent(seen.fast, seen.functions) > (std::string(release) == "1.19" ? 83 : 87.5));
            CHECK(percent(seen.refused, seen.functions) < 1);
        }
    }
    if (programs == 0) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
}

TEST_CASE("site: emulated sites for every point of net/http") {
    unsigned programs = 0;
    for (const std::string release : releases) {
        const std::string path = test_target("server-go" + release);
        if (path.empty()) continue;
        ++programs;
        const Program program(path);
        const std::string h2 =
            release == "1.27" ? "net/http/internal/http2.(*serverConn)" : "net/http.(*http2serverConn)";
        struct Golden {
            std::string symbol;
            std::set<std::uint64_t> offsets;
        };
        const Golden entries[] = {
            {"net/http.serverHandler.ServeHTTP", {4, 9}},
            {"net/http.(*response).finishRequest", {4}},
            {"net/http.(*conn).serve.func1", {4, 9}},
            {h2 + ".runHandler.func1", {4, 9}},
        };
        for (const KernelRelease kernel : kernels) {
            for (const Golden& golden : entries) {
                INFO("go" << release << ": " << golden.symbol);
                const Symbol* const symbol = program.find(golden.symbol);
                REQUIRE(symbol != nullptr);
                const auto point = site::entry(Arch::x86_64, program.code(*symbol).value(), kernel, site::all_registers,
                                               program.morestack_query());
                REQUIRE(point.has_value());
                CHECK(point->rule == Rule::stack_check_jump);
                CHECK(point->cost == CostClass::emulated);
                CHECK(golden.offsets.count(point->vaddr - symbol->vaddr) == 1);
            }
            // The matched pattern is a result of findHandler, in rcx and rdi. Patterns came with 1.22.
            const Symbol* const callee = program.find("net/http.(*ServeMux).findHandler");
            if (release == "1.19") {
                CHECK(callee == nullptr);
                continue;
            }
            INFO("go" << release << ": after findHandler");
            const Symbol* const caller = program.find("net/http.(*ServeMux).ServeHTTP");
            REQUIRE(callee != nullptr);
            REQUIRE(caller != nullptr);
            const auto points =
                site::after_call(Arch::x86_64, program.code(*caller).value(), callee->vaddr, kernel, 0b1100);
            REQUIRE(points.has_value());
            REQUIRE(points->size() == 1);
            CHECK(points->front().cost == CostClass::emulated);
            CHECK(points->front().rule == Rule::after_call);
        }
    }
    if (programs == 0) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
}

TEST_CASE("site: callers of net/http functions agree with a linear search") {
    unsigned programs = 0;
    for (const char* const release : releases) {
        const std::string path = test_target(std::string("server-go") + release);
        if (path.empty()) continue;
        ++programs;
        const Program program(path);
        std::map<std::uint64_t, std::set<std::uint64_t>> calls;  // callee -> calls, the slow way
        for (const Symbol& symbol : program.symbols()) {
            const auto code = program.code(symbol);
            if (!code) continue;
            for (const Listing::Line& line : Listing(*code).lines)
                if (line.mnemonic == "call" && line.target) calls[*line.target].insert(line.vaddr);
        }
        const site::Image image = program.image();
        std::size_t closed = 0, open = 0;
        double slowest_ms = 0;
        for (const Symbol& symbol : program.symbols()) {
            const auto code = program.code(symbol);
            if (!starts(symbol.name, "net/http.") || !code) continue;
            const auto begin = std::chrono::steady_clock::now();
            const auto callers = site::callers_of(Arch::x86_64, *code, image);
            slowest_ms =
                std::max(slowest_ms,
                         std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
            if (!callers) {
                ++open;
                continue;
            }
            ++closed;
            std::set<std::uint64_t> found;
            for (const site::CallerSite& caller : *callers)
                found.insert(caller.call_vaddrs.begin(), caller.call_vaddrs.end());
            INFO("go" << release << ": " << symbol.name);
            CHECK(found == calls[symbol.vaddr]);
        }
        std::printf(
            "callers: go%s, %zu functions of net/http with a closed caller set, %zu without; slowest search "
            "%.1f ms in %.1f MB of text\n",
            release, closed, open, slowest_ms, static_cast<double>(program.text_size()) / 1e6);
        CHECK(closed > 0);
    }
    if (programs == 0) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
}
