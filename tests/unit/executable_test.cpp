// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Executable: names, functions, code, facts and the cache, on real Go programs.
#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/executable_cache.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>
#include <thread>
#include <utility>

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

std::string error_of(const auto& result) {
    return result ? std::string("no error") : result.error().what;
}

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

TEST_CASE("executable: Go version, modules and build id") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const GoTarget& target : targets) {
        CAPTURE(target.release);
        for (const std::string& path : {target.plain, target.stripped}) {
            const auto executable = open(path);
            CHECK(executable->is_go());
            CHECK(executable->arch() == Arch::x86_64);
            REQUIRE(executable->go_version());
            CHECK(executable->go_version()->to_string().starts_with(target.release + "."));
            CHECK_FALSE(executable->main_module().empty());
            CHECK_FALSE(executable->elf().go_build_id().empty());
            CHECK(executable->build_id().empty() == (*executable->go_version() < Version{1, 24, 0}));
            CHECK(executable->identity().size == std::filesystem::file_size(path));
        }
    }
}

TEST_CASE("executable: functions by name, by address and as code") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    constexpr std::array<std::string_view, 4> names{"net/http.serverHandler.ServeHTTP",
                                                    "net/http.(*response).finishRequest", "runtime.newproc1",
                                                    "net/http.noSuchFunction"};
    for (const GoTarget& target : targets) {
        CAPTURE(target.release);
        const auto plain = open(target.plain);
        const auto functions = plain->find_functions(names);
        REQUIRE(functions.size() == 3);
        CHECK(functions == open(target.stripped)->find_functions(names));
        for (const Function& function : functions) {
            const auto code = plain->code(function);
            REQUIRE(code);
            CHECK(code->size() == function.size);
            for (const auto& executable : {plain, open(target.stripped)}) {
                CHECK(executable->function_at(function.vaddr) == function);
                CHECK(executable->function_at(function.vaddr + function.size - 1) == function);
                CHECK(executable->function_at(function.vaddr - 1) != function);
            }
            const auto offset = plain->file_offset(function.vaddr);
            REQUIRE(offset);
            std::ifstream file(target.plain, std::ios::binary);
            file.seekg(static_cast<std::streamoff>(*offset));
            std::string bytes(function.size, '\0');
            file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
            CHECK(std::memcmp(bytes.data(), code->data(), bytes.size()) == 0);
        }
        CHECK_FALSE(plain->code({"outside", 0x10, 16}));
        CHECK_FALSE(plain->code({"absurd", functions[0].vaddr, UINT64_MAX}));
        CHECK_FALSE(plain->function_at(0));
        CHECK_FALSE(plain->file_offset(0));
    }
}

TEST_CASE("executable: vendored copies are found under their own names") {
    using go::is_name_or_vendored;
    CHECK(is_name_or_vendored("golang.org/x/net/http2.(*Framer).ReadFrame",
                              "golang.org/x/net/http2.(*Framer).ReadFrame"));
    CHECK(is_name_or_vendored("vendor/golang.org/x/net/dns.New", "golang.org/x/net/dns.New"));
    CHECK(is_name_or_vendored("example.com/a/vendor/golang.org/x/net/dns.New", "golang.org/x/net/dns.New"));
    CHECK_FALSE(is_name_or_vendored("example.com/golang.org/x/net/dns.New", "golang.org/x/net/dns.New"));
    CHECK_FALSE(is_name_or_vendored("example.com/myvendor/golang.org/x/net/dns.New", "golang.org/x/net/dns.New"));
    constexpr std::array<std::string_view, 2> names{"golang.org/x/net/dns.New", "a.b"};
    const go::NameSet set(names);
    CHECK(set.contains("vendor/golang.org/x/net/dns.New"));
    CHECK(set.contains("a.b"));
    CHECK_FALSE(set.contains("b"));
    CHECK_FALSE(set.contains(""));
    CHECK(go::escape_path("gopkg.in/yaml.v3") == "gopkg.in/yaml%2ev3");
    CHECK(go::escape_path("net/http") == "net/http");

    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    constexpr std::array<std::string_view, 1> hpack{"golang.org/x/net/http2/hpack.(*Decoder).Write"};
    for (const GoTarget& target : targets) {
        CAPTURE(target.release);
        const auto found = open(target.stripped)->find_functions(hpack);
        REQUIRE(found.size() >= 1);
        CHECK(found[0].name == "vendor/golang.org/x/net/http2/hpack.(*Decoder).Write");
    }
}

TEST_CASE("executable: offsets come from the table, else from DWARF, else the error says what is missing") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const GoTarget& target : targets) {
        CAPTURE(target.release);
        const auto plain = open(target.plain);
        const auto stripped = open(target.stripped);
        const Version version = *plain->go_version();
        for (const auto& executable : {plain, stripped}) {
            const auto url = executable->fact(offset_of("std", "net/http", "Request", "URL"));
            REQUIRE(url);
            CHECK(url->value == 16);
            CHECK(url->source == FactValue::Source::table);
            CHECK_FALSE(url->is_assumed());
            const auto status = executable->fact(offset_of("std", "net/http", "response", "status"));
            REQUIRE(status);
            CHECK(status->source == FactValue::Source::table);
            CHECK(executable->fact(size_of("std", "net/http", "Request")));

            const auto pattern = executable->fact(offset_of("std", "net/http", "Request", "Pattern"));
            if (version < Version{1, 23, 0}) {
                REQUIRE_FALSE(pattern);
                CHECK(is_absent(pattern.error()));
                CHECK(contains(pattern.error().what, "was built with Go " + target.release));
                CHECK(contains(pattern.error().what, "in which net/http.Request has no such field: Pattern"));
            } else {
                CHECK(pattern);
            }
            const auto typo = executable->fact(offset_of("std", "net/http", "NoSuchType", "x"));
            REQUIRE_FALSE(typo);
            CHECK_FALSE(is_absent(typo.error()));
            CHECK(contains(typo.error().what, "net/http.NoSuchType.x"));
            CHECK(contains(typo.error().what, "Go " + target.release));

            const auto flag = executable->fact(version_in("std", from_version(1, 24)));
            REQUIRE(flag);
            CHECK(flag->value == (version >= Version{1, 24, 0} ? 1 : 0));
            const auto module = executable->fact(version_in("example.com/none", from_version(1, 0)));
            REQUIRE_FALSE(module);
            CHECK(contains(module.error().what, "does not contain the module example.com/none"));
            CHECK_FALSE(executable->fact(address_of_type("net/http", "response")));
        }
        // a field that the table does not list
        const auto close = offset_of("std", "net/http", "response", "closeAfterReply");
        REQUIRE(plain->fact(close));
        CHECK(plain->fact(close)->source == FactValue::Source::dwarf);
        const auto nested = plain->fact(offset_of("std", "net/http", "response", "cw.res"));
        REQUIRE(nested);
        CHECK(nested->value == plain->fact(offset_of("std", "net/http", "response", "cw"))->value);
        CHECK_FALSE(plain->fact(offset_of("std", "net/http", "response", "req.Method")));  // through a pointer
        const auto unknown = stripped->fact(close);
        REQUIRE_FALSE(unknown);
        CHECK_FALSE(is_absent(unknown.error()));
        CHECK(contains(unknown.error().what, "has no DWARF"));

        const auto symbol = plain->fact(address_of_symbol("runtime.firstmoduledata"));
        REQUIRE(symbol);
        const auto header = go::read_pclntab_header(plain->elf());
        const auto moduledata = go::find_moduledata(plain->elf(), *header);
        REQUIRE(moduledata);
        REQUIRE(*moduledata);
        CHECK((*moduledata)->text == plain->fact(address_of_symbol("runtime.text"))->value);
        CHECK(contains(error_of(stripped->fact(address_of_symbol("runtime.firstmoduledata"))), "stripped"));
        CHECK(stripped->fact(address_of_symbol("runtime.newproc1")));
    }
}

TEST_CASE("executable: TLS offset of g of a static pure Go program") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    for (const GoTarget& target : targets)
        for (const std::string& path : {target.plain, target.stripped}) {
            CAPTURE(path);
            const auto offset = open(path)->tls_g_offset();
            REQUIRE(offset);
            CHECK(*offset == -8);
        }
}

TEST_CASE("executable: static pure Go programs for arm64 keep g in no TLS, and every function of theirs is found") {
    unsigned programs = 0;
    for (const std::string release : {"1.19", "1.24", "1.26", "1.27"})
        for (const std::string variant : {"", "-stripped"}) {
            const std::string path = test_target("server-arm64-go" + release + variant);
            if (path.empty()) continue;
            ++programs;
            CAPTURE(path);
            const auto executable = open(path);
            CHECK(executable->arch() == Arch::aarch64);
            const auto offset = executable->tls_g_offset();
            REQUIRE(offset);
            CHECK(*offset == 0);
            // Where symbols are gone, code is checked against the function table; some assembly changes stacks unsaid.
            std::size_t functions = 0, refused = 0;
            executable->for_each_function([&](std::string_view name, std::uint64_t vaddr, std::uint64_t size) {
                ++functions;
                if (executable->code({std::string(name), vaddr, size})) return true;
                ++refused;
                CAPTURE(name);
                CHECK((name.starts_with("runtime.") || name == "gogo" || name.starts_with("debugCall") ||
                       name.starts_with("go:")));
                return true;
            });
            CHECK(functions > 4000);
            CHECK(refused < 20);
        }
    if (programs == 0) SKIP_TEST("no arm64 Go programs (OTEL_EBPF_TEST_TARGETS)");
}

namespace {

Result<go::TlsG> tls_g_of(const ElfImage& image) {
    const std::string bytes = image.bytes();
    const auto elf = ElfFile::open(ByteSource::from_memory(as_bytes(bytes)));
    REQUIRE(elf);
    return go::find_tls_g(*elf, ElfImage::text_vaddr, ElfImage::text_vaddr + image.text.size());
}

Elf64_Phdr tls_segment_of_g_only() {
    Elf64_Phdr tls{};
    tls.p_type = PT_TLS;
    tls.p_memsz = 8;
    tls.p_align = 8;
    return tls;
}

}  // namespace

TEST_CASE("executable: a TLS offset that its two sources do not agree on is refused") {
    ElfImage image;
    image.text.replace(16, 9, std::string("\x64\x4c\x8b\x34\x25\xd0\xff\xff\xff", 9));  // mov %fs:-0x30,%r14
    REQUIRE(tls_g_of(image));
    CHECK(tls_g_of(image)->offset == -0x30);
    image.segments.push_back(tls_segment_of_g_only());
    CHECK(contains(error_of(tls_g_of(image)), "gives two TLS offsets of g: -48 in its code, -8 by its TLS segment"));
    ElfImage only_segment;
    only_segment.segments.push_back(tls_segment_of_g_only());
    REQUIRE(tls_g_of(only_segment));
    CHECK(tls_g_of(only_segment)->offset == -8);
    CHECK(contains(error_of(tls_g_of(ElfImage())), "loads g neither"));
}

TEST_CASE("executable: the TLS offset of g in the code of position-independent executables") {
    ElfImage image;
    const std::string load_g("\x64\x4d\x8b\x36", 4);                             // mov %fs:(%r14),%r14
    image.text.replace(8, 4, load_g);                                           // after something else: passed over
    image.text.replace(16, 7, std::string("\x49\xc7\xc6\xf0\xff\xff\xff", 7));  // mov $-0x10,%r14
    image.text.replace(23, 4, load_g);
    REQUIRE(tls_g_of(image));
    CHECK(tls_g_of(image)->offset == -16);
    CHECK(tls_g_of(image)->got_vaddr == 0);
    // An executable whose linker left the load of a GOT word as it was: only the segment tells.
    image.text.replace(16, 7, std::string("\x4c\x8b\x35\x10\x00\x00\x00", 7));  // mov 0x10(%rip),%r14
    CHECK(contains(error_of(tls_g_of(image)), "loads g neither"));
    image.segments.push_back(tls_segment_of_g_only());
    REQUIRE(tls_g_of(image));
    CHECK(tls_g_of(image)->offset == -8);
    // An absurd one.
    image.segments.pop_back();
    image.text.replace(16, 7, std::string("\x49\xc7\xc6\x10\x00\x00\x00", 7));
    CHECK(contains(error_of(tls_g_of(image)), "absurd TLS offset of g: 16"));
}

TEST_CASE("executable: g of programs for arm64") {
    constexpr std::uint64_t iscgo = ElfImage::data_vaddr + 8;
    ElfImage image;
    image.header.e_machine = EM_AARCH64;
    image.data = std::string(64, '\0');
    const auto put = [&](std::initializer_list<std::uint32_t> words) {
        std::size_t at = 16;
        for (const std::uint32_t word : words) std::memcpy(image.text.data() + std::exchange(at, at + 4), &word, 4);
    };
    // adrp x27, 0x600000; ldrsb x0,[x27,#8]; cbz x0; mrs x0,tpidr_el0; movz x27,#0x20; ldr x28,[x0,x27]; ret
    const std::initializer_list<std::uint32_t> load_g = {0xf0000ffb, 0x39802360, 0xb4000080, 0xd53bd040,
                                                         0xd280041b, 0xf87b681c, 0xd65f03c0};
    CHECK(contains(error_of(tls_g_of(image)), "no runtime.load_g of a known form"));
    put(load_g);
    REQUIRE(tls_g_of(image));  // runtime.iscgo is false: TLS has nothing
    CHECK(tls_g_of(image)->offset == 0);
    CHECK(tls_g_of(image)->got_vaddr == 0);
    image.data[iscgo - ElfImage::data_vaddr] = 1;
    REQUIRE(tls_g_of(image));
    CHECK(tls_g_of(image)->offset == 0x20);
    SECTION("the block of the executable must agree") {
        image.segments.push_back(tls_segment_of_g_only());
        CHECK(contains(error_of(tls_g_of(image)), "gives two TLS offsets of g: 32 in its code, 16 by its TLS segment"));
    }
    SECTION("position-independent: in two halves") {
        put({0xf0000ffb, 0x39802360, 0xb4000080, 0xd53bd040, 0xd2a0001b, 0xf280061b, 0xf87b681c});
        REQUIRE(tls_g_of(image));
        CHECK(tls_g_of(image)->offset == 0x30);
    }
    SECTION("an offset that the loader chose: the block tells, in an executable") {
        put({0xf0000ffb, 0x39802360, 0xb4000080, 0xd53bd040, 0xf0000ffb, 0xf940077b, 0xf87b681c});
        CHECK(contains(error_of(tls_g_of(image)), "loads g neither"));
        image.segments.push_back(tls_segment_of_g_only());
        REQUIRE(tls_g_of(image));
        CHECK(tls_g_of(image)->offset == 16);
        image.header.e_type = ET_DYN;
        CHECK(contains(error_of(tls_g_of(image)), "is a library for arm64"));
    }
    SECTION("an absurd offset") {
        put({0xf0000ffb, 0x39802360, 0xb4000080, 0xd53bd040, 0xd280001b, 0xf87b681c});
        CHECK(contains(error_of(tls_g_of(image)), "absurd TLS offset of g: 0"));
    }
    SECTION("other code that reads the thread pointer is passed over") {
        put({0xf0000ffb, 0x39802360, 0xb4000080, 0xd53bd040, 0xd280041b, 0xf83b681c});  // save_g: str
        CHECK(contains(error_of(tls_g_of(image)), "no runtime.load_g of a known form"));
    }
}

TEST_CASE("executable: a library keeps the TLS offset of g in a word that the loader fills") {
    ElfImage image;
    image.header.e_type = ET_DYN;
    image.segments.push_back(tls_segment_of_g_only());
    CHECK(contains(error_of(tls_g_of(image)), "does not load g by its GOT"));
    image.text.replace(16, 11, std::string("\x4c\x8b\x35\x10\x00\x00\x00\x64\x4d\x8b\x36", 11));
    const std::uint64_t word = ElfImage::text_vaddr + 16 + 7 + 0x10;  // mov 0x10(%rip),%r14
    CHECK(contains(error_of(tls_g_of(image)), "loads g by " + ElfFile::hex(word)));
    const Elf64_Rela relocation{word, ELF64_R_INFO(0, R_X86_64_TPOFF64), 0};
    const std::string relocations(reinterpret_cast<const char*>(&relocation), sizeof(relocation));
    image.sections.push_back({".rela.dyn", relocations, 0, SHT_RELA});
    REQUIRE(tls_g_of(image));
    CHECK(tls_g_of(image)->got_vaddr == word);
    // The same bytes in a position-independent executable, which names its loader.
    Elf64_Phdr loader{};
    loader.p_type = PT_INTERP;
    image.segments.push_back(loader);
    REQUIRE(tls_g_of(image));
    CHECK(tls_g_of(image)->offset == -8);
}

TEST_CASE("executable: the TLS offset of g in a process that loaded a library") {
    const go::TlsG in_got{0, 0x1000};
    const auto word = [](std::int64_t value) -> ReadMemory {
        return [value](std::uint64_t addr, std::span<std::byte> out) -> Result<void> {
            if (addr != 0x7f0000001000 || out.size() != 8) return fail(Stage::target, "read the wrong place");
            std::memcpy(out.data(), &value, 8);
            return {};
        };
    };
    const auto offset = go::tls_g_offset_in_process(in_got, 0x7f0000000000, word(-0x68));
    REQUIRE(offset);
    CHECK(*offset == -0x68);
    CHECK(contains(error_of(go::tls_g_offset_in_process(in_got, 0x7f0000000000, word(0))), "absurd"));
    CHECK(contains(error_of(go::tls_g_offset_in_process(in_got, 0, word(-8))), "the wrong place"));
    CHECK(go::tls_g_offset_in_process(go::TlsG{-8, 0}, 0, word(0)) == -8);
}

TEST_CASE("executable: what can't be inspected is named with its path") {
    CHECK(
        contains(error_of(Executable::open("/nonexistent/file")), "open /nonexistent/file: No such file or directory"));
    CHECK(error_of(Executable::open("/")) == "/ is not a regular file");
    const std::filesystem::path folder =
        std::filesystem::temp_directory_path() / ("otel_ebpf_executable_test_" + std::to_string(::getpid()));
    std::filesystem::create_directory(folder);
    const std::string fifo = folder / "fifo", text = folder / "text";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    CHECK(contains(error_of(Executable::open(fifo)), "is not a regular file"));
    std::ofstream(text) << "#!/bin/sh\n";
    CHECK(error_of(Executable::open(text)) == text + " is not an ELF file");
    std::filesystem::remove_all(folder);

    const auto native = Executable::open("/bin/true");
    REQUIRE(native);
    CHECK_FALSE((*native)->is_go());
    CHECK(contains(error_of((*native)->tls_g_offset()), "is not a Go executable"));
    CHECK(
        contains(error_of((*native)->fact(offset_of("std", "net/http", "Request", "URL"))), "is not a Go executable"));
}

TEST_CASE("executable: a Go program cut at any length is refused") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    const std::string bytes = read_file(targets.back().stripped);
    for (std::size_t size = 0; size < bytes.size(); size += size < 8192 ? 64 : 65536) {
        CAPTURE(size);
        CHECK_FALSE(Executable::from_memory(as_bytes(std::string_view(bytes).substr(0, size))));
    }
}

TEST_CASE("executable: a file that shrinks under inspection gives errors") {
    const auto targets = go_targets();
    if (targets.empty()) SKIP_TEST("no Go programs (OTEL_EBPF_TEST_TARGETS)");
    const std::filesystem::path copy =
        std::filesystem::temp_directory_path() / ("otel_ebpf_shrink_test_" + std::to_string(::getpid()));
    std::filesystem::copy_file(targets[0].plain, copy, std::filesystem::copy_options::overwrite_existing);
    const auto executable = open(copy);
    constexpr std::array<std::string_view, 1> names{"runtime.newproc1"};
    const auto functions = executable->find_functions(names);
    REQUIRE(functions.size() == 1);
    std::filesystem::resize_file(copy, 4096);
    CHECK(contains(error_of(executable->code(functions[0])), "became shorter while it was read"));
    CHECK(executable->find_functions(names).empty());
    CHECK_FALSE(executable->fact(offset_of("std", "net/http", "response", "closeAfterReply")));
    std::filesystem::remove(copy);
}

TEST_CASE("executable: the cache keeps the last used files and shares them between threads") {
    const auto targets = go_targets();
    if (targets.size() < 3) SKIP_TEST("fewer than three Go programs (OTEL_EBPF_TEST_TARGETS)");
    ExecutableCache cache(2);
    const auto first = cache.open(targets[0].plain);
    REQUIRE(first);
    CHECK(*cache.open(targets[0].plain) == *first);
    REQUIRE(cache.open(targets[1].plain));
    CHECK(*cache.open(targets[0].plain) == *first);
    REQUIRE(cache.open(targets[2].plain));  // the second was used least recently
    CHECK(cache.size() == 2);
    CHECK(*cache.open(targets[0].plain) == *first);
    CHECK_FALSE(cache.open("/nonexistent/file"));

    ExecutableCache shared;
    std::array<std::thread, 4> threads;
    for (std::thread& thread : threads)
        thread = std::thread([&] {
            for (const GoTarget& target : targets) {
                const auto executable = shared.open(target.plain);
                if (executable) (void)(*executable)->fact(offset_of("std", "net/http", "response", "closeAfterReply"));
            }
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(shared.size() == targets.size());
}

}  // namespace
