// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The arm64 site selector over every function of real Go programs, judged by what objdump reads in them.
#include <cstdio>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "go_program.hpp"

namespace site = otel_ebpf::site;
using go_program::Program;
using go_program::Symbol;
using site::Arch;
using site::CostClass;
using site::FlagsFilter;
using site::KernelRelease;
using site::Rule;

namespace {

constexpr const char* releases[] = {"1.19", "1.24", "1.26", "1.27"};
constexpr KernelRelease kernels[] = {{6, 1}, {6, 13}};

struct Line {
    std::uint64_t vaddr;
    std::string mnemonic;
    std::string operands;
    std::optional<std::uint64_t> target;  // of a branch or call, or an address
};

// Every instruction of a program, as objdump prints it.
class Listing {
public:
    explicit Listing(const std::string& path) {
        const std::string command = "aarch64-linux-gnu-objdump -d -z --no-show-raw-insn '" + path + "' 2>/dev/null";
        const std::unique_ptr<FILE, int (*)(FILE*)> output(popen(command.c_str(), "r"), pclose);
        REQUIRE(output != nullptr);
        char text[512];
        while (std::fgets(text, sizeof(text), output.get()) != nullptr) add(text);
    }
    [[nodiscard]] bool empty() const { return lines_.empty(); }
    // The lines of [vaddr, vaddr + size).
    [[nodiscard]] std::span<const Line> of(const site::Code& code) const {
        const auto before = [](const Line& line, std::uint64_t vaddr) { return line.vaddr < vaddr; };
        const auto first = std::lower_bound(lines_.begin(), lines_.end(), code.vaddr, before);
        const auto last = std::lower_bound(first, lines_.end(), code.vaddr + code.bytes.size(), before);
        return {first, last};
    }

private:
    // "  217358:\tb.ls\t21740c <net/http.serverHandler.ServeHTTP+0xbc>  // b.plast"
    void add(const std::string& text) {
        const std::size_t colon = text.find(":\t");
        if (text.front() != ' ' || colon == std::string::npos) return;
        Line line{std::stoull(text, nullptr, 16), {}, {}, {}};
        const std::string rest = text.substr(colon + 2, text.find('\n') - colon - 2);
        const std::size_t tab = rest.find('\t');
        line.mnemonic = rest.substr(0, tab);
        if (tab != std::string::npos) line.operands = rest.substr(tab + 1, rest.find("  //", tab) - tab - 1);
        static const std::regex address("(^|, )([0-9a-f]+) <");
        std::smatch found;
        if (std::regex_search(line.operands, found, address)) line.target = std::stoull(found[2], nullptr, 16);
        lines_.push_back(std::move(line));
    }

    std::vector<Line> lines_;
};

bool starts(const std::string& text, const std::string& prefix) {
    return text.rfind(prefix, 0) == 0;
}

bool is_branch(const Line& line) {
    static const std::set<std::string> names = {"b", "cbz", "cbnz", "tbz", "tbnz"};
    return names.count(line.mnemonic) != 0 || starts(line.mnemonic, "b.");
}

bool is_emulated(const Line& line, KernelRelease kernel) {
    static const std::set<std::string> names = {"bl", "br", "blr", "ret", "adr", "adrp"};
    if (line.mnemonic == "nop") return kernel >= KernelRelease{6, 13};
    return is_branch(line) || names.count(line.mnemonic) != 0;
}

// 64-bit names of the general registers that the instruction writes, as far as a prologue can hold it.
std::set<std::string> written(const Line& line) {
    static const std::set<std::string> none = {"cmp", "cmn", "tst", "ccmp", "nop", "dmb"};
    static const std::regex registers("^\\{?(sp|[wx][0-9]+)(, ([wx][0-9]+))?"),
        back("\\[(sp|x[0-9]+)(, #-?[0-9]+)?\\](!|, #)");
    std::set<std::string> names;
    std::smatch found;
    const auto add = [&](std::string name) {
        if (name.front() == 'w') name.front() = 'x';
        names.insert(name);
    };
    if (std::regex_search(line.operands, found, back)) add(found[1]);
    if (starts(line.mnemonic, "st") || is_branch(line) || none.count(line.mnemonic) != 0) return names;
    if (std::regex_search(line.operands, found, registers)) {
        add(found[1]);
        if (starts(line.mnemonic, "ldp")) add(found[3]);
    }
    return names;
}

const std::set<std::string> kept_registers = {"x0",  "x1",  "x2",  "x3",  "x4",  "x5",  "x6",  "x7",  "x8",  "x9",
                                              "x10", "x11", "x12", "x13", "x14", "x15", "x26", "x28", "x30", "sp"};

// What is wrong with an entry site, or nothing.
std::string entry_fault(const Program& program, std::span<const Line> lines, const site::Point& point,
                        KernelRelease kernel) {
    const std::size_t index = (point.vaddr - lines.front().vaddr) / 4;
    if (point.vaddr % 4 != 0 || index >= lines.size()) return "no instruction starts there";
    const Line& line = lines[index];
    if ((point.cost == CostClass::emulated) != is_emulated(line, kernel)) return "wrong cost class: " + line.mnemonic;
    for (const Line& before : lines.first(index)) {
        const bool overflow = before.mnemonic == "b.cc" && point.filter == FlagsFilter::stack_check;
        if (before.mnemonic == "ret" || before.mnemonic == "bl" || before.mnemonic == "blr" ||
            before.mnemonic == "br" || (is_branch(before) && !overflow))
            return "not dominated: " + before.mnemonic;
        for (const std::string& name : written(before))
            if (kept_registers.count(name) != 0) return "overwrites " + name + ": " + before.mnemonic;
    }
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (!lines[i].target) continue;
        if (*lines[i].target > lines.front().vaddr && *lines[i].target <= point.vaddr)
            return "referred to by " + lines[i].mnemonic;
        if (*lines[i].target != lines.front().vaddr || !is_branch(lines[i])) continue;
        if (point.filter == FlagsFilter::none) return "hit again by " + lines[i].mnemonic;
        std::size_t call = i;
        while (call > 0 && i - call < 36 && lines[call].mnemonic != "bl") --call;
        if (!lines[call].target || !program.is_morestack(*lines[call].target)) return "hit again without morestack";
    }
    if (point.filter == FlagsFilter::stack_check) {
        const std::string& guard = lines.front().operands;
        const std::string compare = index == 0 ? "" : lines[index - 1].mnemonic + " " + lines[index - 1].operands;
        if (line.mnemonic != "b.ls" || (compare != "cmp sp, x16" && compare != "cmp x17, x16") ||
            (guard != "x16, [x28, #16]" && guard != "x16, [x28, #24]"))
            return "no stack check: " + guard + "; " + compare;
    }
    return {};
}

// What is wrong with a set of return sites, or nothing.
std::string returns_fault(std::span<const Line> lines, const std::vector<site::Point>& points) {
    std::set<std::uint64_t> left;
    for (const site::Point& point : points) {
        left.insert(point.vaddr);
        if (point.cost != CostClass::emulated) return "a slow site";
    }
    if (left.size() != points.size()) return "a site twice";
    for (std::size_t i = 0; i < lines.size(); ++i) {
        const Line& line = lines[i];
        const bool outside = line.target && (*line.target < lines.front().vaddr || *line.target > lines.back().vaddr);
        const bool table = i > 0 && lines[i - 1].operands.find(", lsl #3]") != std::string::npos;
        const bool leaves =
            line.mnemonic == "ret" || (line.mnemonic == "b" && outside) || (line.mnemonic == "br" && !table);
        if (leaves && left.erase(line.vaddr) == 0) return "no site for " + line.mnemonic;
    }
    return left.empty() ? std::string() : "a site that belongs to no exit";
}

struct Census {
    std::size_t functions = 0, fast = 0, refused = 0, with_ends = 0, faults = 0;
    std::map<Rule, std::size_t> rules;             // of entries
    std::map<std::uint64_t, std::size_t> offsets;  // of stack check jumps
};

std::string count_function(Census& census, const Program& program, const site::Code& code, std::span<const Line> lines,
                           KernelRelease kernel) {
    ++census.functions;
    std::string fault;
    const auto point = site::entry(Arch::aarch64, code, kernel, site::all_registers, program.morestack_query());
    if (point) {
        ++census.rules[point->rule];
        if (point->rule == Rule::stack_check_jump) ++census.offsets[point->vaddr - code.vaddr];
        census.fast += point->cost == CostClass::emulated;
        fault = entry_fault(program, lines, *point, kernel);
    } else {
        ++census.refused;
    }
    if (const auto ends = site::returns(Arch::aarch64, code, kernel, site::no_registers)) {
        ++census.with_ends;
        if (fault.empty()) fault = returns_fault(lines, *ends);
    }
    census.faults += !fault.empty();
    return fault;
}

double percent(std::size_t part, std::size_t whole) {
    return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

std::vector<std::string> programs() {
    std::vector<std::string> paths;
    for (const char* const release : releases)
        if (std::string path = test_target(std::string("server-arm64-go") + release); !path.empty())
            paths.push_back(std::move(path));
    return paths;
}

std::string release_of(const std::string& path) {
    return path.substr(path.rfind("-go") + 3);
}

}  // namespace

TEST_CASE("arm64: census of every function of real Go programs") {
    const auto paths = programs();
    if (paths.empty()) SKIP_TEST("no arm64 Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const std::string& path : paths) {
        const Program program(path);
        const Listing listing(path);
        if (listing.empty()) SKIP_TEST("no aarch64-linux-gnu-objdump (binutils-aarch64-linux-gnu)");
        Census census[std::size(kernels)];
        for (const Symbol& symbol : program.symbols()) {
            const auto code = program.code(symbol);
            if (!code) continue;
            const auto lines = listing.of(*code);
            REQUIRE(lines.size() == (code->bytes.size() + 3) / 4);  // the linker's marks have one byte
            for (std::size_t i = 0; i < std::size(kernels); ++i) {
                const std::string fault = count_function(census[i], program, *code, lines, kernels[i]);
                if (!fault.empty())
                    UNSCOPED_INFO("go" << release_of(path) << " on Linux " << kernels[i].to_string() << ": "
                                       << symbol.name << ": " << fault);
            }
        }
        for (std::size_t i = 0; i < std::size(kernels); ++i) {
            const Census& seen = census[i];
            std::printf("census: arm64 go%s on Linux %s: %zu functions, entries %.1f %% emulated (",
                        release_of(path).c_str(), kernels[i].to_string().c_str(), seen.functions,
                        percent(seen.fast, seen.functions));
            for (const auto& [rule, number] : seen.rules)
                std::printf("%s %zu, ", std::string(to_string(rule)).c_str(), number);
            for (const auto& [offset, number] : seen.offsets)
                std::printf("+%llu: %zu, ", static_cast<unsigned long long>(offset), number);
            std::printf("refused %zu); with return sites %zu\n", seen.refused, seen.with_ends);
            CHECK(seen.faults == 0);
            CHECK(percent(seen.fast, seen.functions) > 85);
            CHECK(percent(seen.refused, seen.functions) < 1);
        }
    }
}

TEST_CASE("arm64: emulated sites for every point of net/http") {
    const auto paths = programs();
    if (paths.empty()) SKIP_TEST("no arm64 Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const std::string& path : paths) {
        const Program program(path);
        const std::string release = release_of(path);
        const std::string h2 =
            release == "1.27" ? "net/http/internal/http2.(*serverConn)" : "net/http.(*http2serverConn)";
        for (const KernelRelease kernel : kernels) {
            for (const std::string& name :
                 {std::string("net/http.serverHandler.ServeHTTP"), std::string("net/http.(*response).finishRequest"),
                  std::string("net/http.(*conn).serve.func1"), h2 + ".runHandler.func1"}) {
                INFO("go" << release << ": " << name);
                const Symbol* const symbol = program.find(name);
                REQUIRE(symbol != nullptr);
                const auto point = site::entry(Arch::aarch64, program.code(*symbol).value(), kernel,
                                               site::all_registers, program.morestack_query());
                REQUIRE(point.has_value());
                CHECK(point->rule == Rule::stack_check_jump);
                CHECK(point->cost == CostClass::emulated);
                const std::uint64_t offset = point->vaddr - symbol->vaddr;
                CHECK((offset == 8 || offset == 12));
            }
            // The matched pattern is a result of findHandler, in x2 and x3. Patterns came with 1.22.
            const Symbol* const callee = program.find("net/http.(*ServeMux).findHandler");
            if (release == "1.19") continue;
            INFO("go" << release << ": after findHandler");
            const Symbol* const caller = program.find("net/http.(*ServeMux).ServeHTTP");
            REQUIRE(callee != nullptr);
            REQUIRE(caller != nullptr);
            const auto points =
                site::after_call(Arch::aarch64, program.code(*caller).value(), callee->vaddr, kernel, 0b1100);
            if (!points) UNSCOPED_INFO(points.error().what);
            REQUIRE(points.has_value());
            REQUIRE(points->size() == 1);
            CHECK(points->front().cost == CostClass::emulated);
        }
    }
}

TEST_CASE("arm64: callers of net/http functions agree with objdump") {
    const auto paths = programs();
    if (paths.empty()) SKIP_TEST("no arm64 Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const std::string& path : paths) {
        const Program program(path);
        const Listing listing(path);
        if (listing.empty()) SKIP_TEST("no aarch64-linux-gnu-objdump (binutils-aarch64-linux-gnu)");
        std::map<std::uint64_t, std::set<std::uint64_t>> calls;  // callee -> calls
        for (const Symbol& symbol : program.symbols())
            if (const auto code = program.code(symbol))
                for (const Line& line : listing.of(*code))
                    if (line.mnemonic == "bl") calls[line.target.value()].insert(line.vaddr);
        const site::Image image = program.image();
        std::size_t closed = 0, open = 0;
        for (const Symbol& symbol : program.symbols()) {
            const auto code = program.code(symbol);
            if (!starts(symbol.name, "net/http.") || !code) continue;
            const auto callers = site::callers_of(Arch::aarch64, *code, image);
            if (!callers) {
                ++open;
                continue;
            }
            ++closed;
            std::set<std::uint64_t> found;
            for (const site::CallerSite& caller : *callers)
                found.insert(caller.call_vaddrs.begin(), caller.call_vaddrs.end());
            INFO("go" << release_of(path) << ": " << symbol.name);
            CHECK(found == calls[symbol.vaddr]);
        }
        std::printf("callers: arm64 go%s, %zu functions of net/http with a closed caller set, %zu without\n",
                    release_of(path).c_str(), closed, open);
        CHECK(closed > 0);
    }
}
