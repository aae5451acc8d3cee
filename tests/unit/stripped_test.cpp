// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Go executables that lost their symbols, section headers, build info or more: the same functions, or a refusal.
#include <otel_ebpf/executable.hpp>

#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <otel_ebpf/plan.hpp>

#include "../test.hpp"
#include "elf_image.hpp"
#include "go_targets.hpp"

namespace {

using namespace otel_ebpf;

using Functions = std::map<std::uint64_t, std::pair<std::string, std::uint64_t>>;

std::shared_ptr<const Executable> open(const std::string& path) {
    auto executable = Executable::open(path);
    if (!executable) FAIL(executable.error().what);
    return *executable;
}

Result<std::shared_ptr<const Executable>> inspect(const std::string& bytes) {
    return Executable::from_memory(as_bytes(bytes));
}

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

// By the function table, whether there are symbols or not.
Functions table_functions(const Executable& executable) {
    REQUIRE(executable.go_functions() != nullptr);
    const auto table = go::Pclntab::open(executable.elf(), executable.go_functions()->header());
    REQUIRE(table);
    Functions functions;
    for (std::size_t i = 0; i < table->size(); ++i)
        functions[executable.go_text_start() + table->entry(i)] = {std::string(table->name(i)), table->code_size(i)};
    return functions;
}

// Every Go program among the test targets, whatever its build.
std::vector<std::string> go_programs() {
    std::vector<std::string> programs;
    const char* folder = std::getenv("OTEL_EBPF_TEST_TARGETS");
    if (folder == nullptr) return programs;
    for (const auto& file : std::filesystem::directory_iterator(folder)) {
        const std::string name = file.path().filename();
        if (name.starts_with("burn-go") || name.starts_with("server-go")) programs.push_back(file.path());
    }
    std::ranges::sort(programs);
    return programs;
}

class ChangedFile {
public:
    explicit ChangedFile(const std::string& path) : bytes_(read_file(path)), original_(open(path)) {}

    std::string& bytes() { return bytes_; }
    [[nodiscard]] const Executable& original() const { return *original_; }

    // As sstrip and `strip --strip-section-headers` leave it.
    void remove_section_headers() {
        Elf64_Ehdr header;
        std::memcpy(&header, bytes_.data(), sizeof(header));
        std::memset(bytes_.data() + header.e_shoff, 0, std::size_t{header.e_shnum} * sizeof(Elf64_Shdr));
        header.e_shoff = 0;
        header.e_shnum = header.e_shstrndx = 0;
        std::memcpy(bytes_.data(), &header, sizeof(header));
    }
    void remove_build_info() {
        const std::string magic = "\xff Go buildinf:";
        std::size_t count = 0;
        for (std::size_t at = 0; (at = bytes_.find(magic, at)) != std::string::npos; ++count)
            bytes_.replace(at, magic.size(), std::string(magic.size(), 'x'));
        REQUIRE(count > 0);
        // The note by which the Go linker marks its files; what says so must be the function table itself.
        for (std::size_t at = 0; (at = bytes_.find(std::string("Go\0\0", 4), at)) != std::string::npos;)
            bytes_.replace(at, 2, "xx");
    }
    [[nodiscard]] std::size_t offset_of(std::uint64_t vaddr) const {
        const auto offset = original_->elf().offset_of(vaddr, 1);
        REQUIRE(offset);
        return static_cast<std::size_t>(*offset);
    }
    void add_to_word(std::uint64_t vaddr, std::uint64_t change) {
        std::uint64_t value;
        std::memcpy(&value, bytes_.data() + offset_of(vaddr), sizeof(value));
        value += change;
        std::memcpy(bytes_.data() + offset_of(vaddr), &value, sizeof(value));
    }

private:
    std::string bytes_;
    std::shared_ptr<const Executable> original_;
};

TEST_CASE("stripped: without section headers, all functions, the release and the modules are found") {
    const auto programs = go_programs();
    if (programs.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const std::string& path : programs) {
        CAPTURE(path);
        ChangedFile file(path);
        file.remove_section_headers();
        const auto executable = inspect(file.bytes());
        if (!executable) FAIL_CHECK(executable.error().what);
        if (!executable) continue;
        CHECK((*executable)->elf().sections().empty());
        CHECK((*executable)->is_go());
        CHECK((*executable)->is_stripped());
        CHECK((*executable)->go_version_text() == file.original().go_version_text());
        CHECK((*executable)->modules().size() == file.original().modules().size());
        CHECK((*executable)->go_text_start() == file.original().go_text_start());
        CHECK(table_functions(**executable) == table_functions(file.original()));
        constexpr std::array<std::string_view, 2> names{"runtime.newproc1", "main.main"};
        CHECK((*executable)->find_functions(names).size() == 2);
    }
}

TEST_CASE("stripped: without build info, the release is that of runtime.buildVersion") {
    const auto programs = go_programs();
    if (programs.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const std::string& path : programs) {
        CAPTURE(path);
        ChangedFile file(path);
        file.remove_build_info();
        file.remove_section_headers();
        const auto executable = inspect(file.bytes());
        REQUIRE(executable);
        REQUIRE((*executable)->is_go());
        CHECK((*executable)->go_version_text() == file.original().go_version_text());
        CHECK((*executable)->go_text_start() == file.original().go_text_start());
        CHECK((*executable)->fact(offset_of("std", "net/http", "Request", "URL")));
        const auto module = (*executable)->fact(version_in("example.com/none", from_version(1, 0)));
        REQUIRE_FALSE(module);
        CHECK_FALSE(is_absent(module.error()));
        CHECK(contains(module.error().what, "has no Go build info: the version of example.com/none in it is unknown"));
    }
}

TEST_CASE("stripped: a release that nothing or too much says is unknown, not guessed") {
    const std::string path = test_target("server-go1.26-stripped");
    if (path.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    ChangedFile file(path);
    file.remove_build_info();
    file.remove_section_headers();
    const std::string release(file.original().go_version_text());
    const auto unknown = [](const std::string& bytes) {
        const auto executable = inspect(bytes);
        REQUIRE(executable);
        CHECK((*executable)->is_go());
        CHECK((*executable)->go_version_text() == "an unknown Go release");
        CHECK_FALSE((*executable)->go_version());
        const auto fact = (*executable)->fact(offset_of("std", "net/http", "Request", "URL"));
        REQUIRE_FALSE(fact);
        CHECK(contains(fact.error().what, "was built with an unknown Go release"));
    };
    const auto with_release = [&](std::string text) {
        std::string bytes = file.bytes();
        text.resize(release.size(), '\0');
        for (std::size_t at = 0; (at = bytes.find(release + '\0', at)) != std::string::npos; at += release.size())
            bytes.replace(at, release.size(), text);
        return bytes;
    };
    unknown(with_release("no such"));
    unknown(with_release("go1.19.1"));  // of another layout of the function table
    unknown(with_release("go1.25.1"));
    const auto other = inspect(with_release("go1.27.1"));  // of the same layout
    REQUIRE(other);
    CHECK((*other)->go_version_text() == "go1.27.1");
}

TEST_CASE("stripped: what strip and objcopy make of a plain executable") {
    if (std::system("strip --version >/dev/null 2>&1 && objcopy --version >/dev/null 2>&1") != 0)
        SKIP_TEST("no strip and objcopy (apt-get install binutils)");
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    constexpr std::array<std::string_view, 4> names{"net/http.serverHandler.ServeHTTP",
                                                    "net/http.(*response).finishRequest", "runtime.newproc1",
                                                    "golang.org/x/net/http2/hpack.(*Decoder).Write"};
    const std::filesystem::path copy =
        std::filesystem::temp_directory_path() / ("otel_ebpf_stripped_test_" + std::to_string(::getpid()));
    for (const GoTarget& target : targets) {
        const auto plain = open(target.plain);
        const auto expected = plain->find_functions(names);
        REQUIRE(expected.size() == 4);
        struct Tool {
            std::string command;
            bool is_stripped;
        };
        for (const Tool& tool : {Tool{"strip -o", true}, Tool{"strip --strip-debug -o", false},
                                 Tool{"strip --strip-unneeded -o", true},
                                 Tool{"strip --keep-symbol=runtime.text --keep-symbol=runtime.newproc1 -o", true}}) {
            CAPTURE(target.release, tool.command);
            REQUIRE(std::system((tool.command + " " + copy.string() + " " + target.plain).c_str()) == 0);
            const auto executable = open(copy);
            CHECK(executable->is_stripped() == tool.is_stripped);
            CHECK(executable->find_functions(names) == expected);
            CHECK(executable->go_text_start() == plain->go_text_start());
            CHECK(executable->go_version() == plain->go_version());
            for (const Function& function : expected) CHECK(executable->function_at(function.vaddr + 1) == function);
        }
        // Half of the symbols: many enough to look whole.
        REQUIRE(std::system(("objcopy --wildcard --strip-symbol='net/http.*' " + target.plain + " " + copy.string())
                                .c_str()) == 0);
        const auto partial = open(copy);
        CHECK(partial->find_functions(names) == expected);
    }
    std::filesystem::remove(copy);
}

// The words of moduledata that say where the text is: minpc, maxpc, text, etext (runtime/symtab.go).
constexpr std::array<std::uint64_t, 4> text_words{20, 21, 22, 23};

TEST_CASE("stripped: a text start that all tables agree on is refused where the code is not theirs") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const GoTarget& target : targets) {
        const auto good = open(target.stripped);
        const auto header = go::read_pclntab_header(good->elf());
        REQUIRE(header);
        const auto moduledata = go::find_moduledata(good->elf(), *header);
        REQUIRE(moduledata);
        REQUIRE(*moduledata);
        // Also by the distance of two functions, so that one of them lands on the other.
        std::vector<std::int64_t> shifts{-4096, -64, -32, -16, -1, 1, 16, 32, 64, 128, 4096, 65536};
        for (const std::size_t index : {1ul, 100ul, 1000ul})
            shifts.push_back(good->go_functions()->entry(index)->offset);
        for (const std::int64_t shift : shifts) {
            CAPTURE(target.release, shift);
            ChangedFile file(target.stripped);
            for (const std::uint64_t word : text_words)
                file.add_to_word((*moduledata)->vaddr + word * 8, static_cast<std::uint64_t>(shift));
            if (header->text_start != 0) file.add_to_word(header->vaddr + 24, static_cast<std::uint64_t>(shift));
            const auto shifted = inspect(file.bytes());
            REQUIRE_FALSE(shifted);
            INFO(shifted.error().what);
            CHECK((contains(shifted.error().what, "has no Go code where its function table says") ||
                   contains(shifted.error().what, "no moduledata that agrees") ||
                   contains(shifted.error().what, "reaches outside its code")));
        }
    }
}

AttachPlan plan_of(const Executable& executable, const std::string& symbol) {
    UprobeSpec uprobe;
    uprobe.symbol = symbol;
    uprobe.program = "program";
    ProbeSpec probe;
    probe.name = "test";
    probe.event_kind = {"kind", 0, 2};
    probe.uprobes = {uprobe};
    const std::vector<ProbeSpec> probes = {probe};
    const OptionValues options;
    Assignment assignment;
    REQUIRE(assignment.add(probes, options));
    return plan(executable, probes, assignment, options, {6, 18});
}

TEST_CASE("stripped: a function that the table has in a wrong place is never attached to") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    const std::string symbol = "net/http.serverHandler.ServeHTTP";
    for (const GoTarget& target : targets) {
        const auto good = open(target.stripped);
        REQUIRE(plan_of(*good, symbol).attaches_anything());
        const go::FunctionIndex& index = *good->go_functions();
        const std::array<std::string_view, 1> names{symbol};
        const auto function = good->find_functions(names).at(0);
        const auto entry = index.at(function.vaddr - good->go_text_start());
        REQUIRE(entry);
        REQUIRE(*entry);
        const std::uint64_t word = index.header().vaddr + index.header().functions + (*entry)->index * 8;
        for (const std::uint32_t shift : {1u, 4u, 16u, 32u, 64u}) {
            CAPTURE(target.release, shift);
            ChangedFile file(target.stripped);
            file.add_to_word(word, shift);
            const auto executable = inspect(file.bytes());
            REQUIRE(executable);  // one wrong entry among thousands
            const AttachPlan planned = plan_of(**executable, symbol);
            CHECK_FALSE(planned.attaches_anything());
            CHECK(contains(planned.rows.at(0).reason, "has other code where its function table says"));
        }
        // The record of another function under its name, too.
        std::uint32_t record;
        ChangedFile file(target.stripped);
        const auto other = index.entry((*entry)->index + 1);
        REQUIRE(other);
        record = static_cast<std::uint32_t>(other->record - (*entry)->record);
        file.add_to_word(word, std::uint64_t{record} << 32);
        if (const auto executable = inspect(file.bytes()))
            CHECK_FALSE(plan_of(**executable, symbol).attaches_anything());
    }
}

TEST_CASE("stripped: the check knows the code of nearly every function, and hardly any other") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const GoTarget& target : targets) {
        const auto executable = open(target.stripped);
        const go::FunctionIndex& index = *executable->go_functions();
        for (const std::int64_t shift : {0, 1, 16, 32, 64, 4096}) {
            std::size_t accepted = 0, tried = 0;
            for (std::size_t i = 0; i < index.size(); i += 5, ++tried)
                accepted += go::check_function_at(executable->elf(), index, *index.entry(i),
                                                  executable->go_text_start() + static_cast<std::uint64_t>(shift))
                                .has_value();
            CAPTURE(target.release, shift, accepted, tried);
            if (shift == 0) CHECK(accepted * 100 > tried * 99);
            else CHECK(accepted * 30 < tried);
        }
    }
}

}  // namespace
