// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Addresses of processes and of the kernel to functions; build ids; lists of CPUs.
#include <dlfcn.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include <otel_ebpf/profile/build_ids.hpp>
#include <otel_ebpf/profile/kernel_symbols.hpp>
#include <otel_ebpf/profile/memory_map.hpp>
#include <otel_ebpf/profile/online_cpus.hpp>
#include <otel_ebpf/profile/process_image.hpp>

#include "../test.hpp"

namespace {

using namespace otel_ebpf;
using namespace otel_ebpf::profile;

[[gnu::noinline]] int callee_of_the_test(int n) {
    return n * 3;
}

std::uint64_t address_of(const void* place) {
    return reinterpret_cast<std::uint64_t>(place);
}

TEST_CASE("memory map: executable mappings with their file, others passed over") {
    const auto map = MemoryMap::parse("55d0c6a00000-55d0c6a01000 r--p 00000000 fd:01 77         /usr/bin/a b\n"
                                      "55d0c6a01000-55d0c6a29000 r-xp 00001000 fd:01 77         /usr/bin/a b\n"
                                      "7f0000000000-7f0000001000 r-xp 00000000 00:00 0 \n"
                                      "7f0000002000-7f0000003000 rwxp 00000000 00:05 9      /memfd:j\\012it (deleted)\n"
                                      "7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0          [vdso]\n"
                                      "nonsense\n"
                                      "1-0 r-xp 0 0:0 0\n"
                                      "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]");
    REQUIRE(map.ranges().size() == 5);
    const MappedRange& file = map.ranges()[0];
    CHECK(file.path == "/usr/bin/a b");
    CHECK((file.start == 0x55d0c6a01000 && file.limit == 0x55d0c6a29000 && file.file_offset == 0x1000));
    CHECK((file.inode == 77 && !file.is_deleted));
    CHECK(map.ranges()[1].path.empty());
    CHECK(map.ranges()[2].path == "/memfd:j\nit");
    CHECK(map.ranges()[2].is_deleted);
    CHECK(map.index_at(0x55d0c6a01000) == 0);
    CHECK(map.index_at(0x55d0c6a28fff) == 0);
    CHECK(map.index_at(0x55d0c6a29000) == 5);
    CHECK(map.index_at(0) == 5);
    CHECK(map.index_at(0x7ffd00001fff) == 3);
    CHECK(map.index_at(UINT64_MAX) == 5);
    CHECK(MemoryMap::parse("").index_at(1) == 0);
}

TEST_CASE("process image: functions of this process, of a library and of the vdso") {
    CodeFiles files;
    ProcessImage image(static_cast<std::uint32_t>(::getpid()), files);
    REQUIRE(image.has_maps());

    const auto own = image.resolve(address_of(reinterpret_cast<const void*>(&callee_of_the_test)) + 1, false);
    REQUIRE(own.frames.size() == 1);
    CHECK(own.frames[0].function.find("callee_of_the_test(int)") != std::string::npos);
    REQUIRE(own.range != nullptr);
    char path[4096] = {};
    REQUIRE(::readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
    CHECK(own.range->path == path);
    CHECK(own.file->build_ids().htlhash.size() == 32);

    // A return address at the very start of a function belongs to the one before it.
    const auto before = image.resolve(address_of(reinterpret_cast<const void*>(&callee_of_the_test)), true);
    CHECK((before.frames.empty() || before.frames[0].function.find("callee_of_the_test") == std::string::npos));

    const auto library = image.resolve(address_of(::dlsym(RTLD_DEFAULT, "getpid")), false);
    REQUIRE(library.frames.size() == 1);
    CHECK(library.frames[0].function.find("getpid") != std::string::npos);

    const std::uint64_t vdso = ::getauxval(AT_SYSINFO_EHDR);
    if (vdso != 0) {
        const auto elf = ElfFile::open(ByteSource::from_memory({reinterpret_cast<const std::byte*>(vdso), 4096}));
        const auto resolved = image.resolve(vdso + 1, false);
        CHECK(resolved.range != nullptr);
        REQUIRE(resolved.file);
        CHECK_FALSE(resolved.file->build_ids().gnu.empty());
    }
    int on_the_stack = 0;
    CHECK(image.resolve(address_of(&on_the_stack), false).range == nullptr);
    CHECK_FALSE(image.is_code(address_of(&on_the_stack)));
    CHECK(files.size() >= 2);
}

TEST_CASE("process image: of a process that is not there, nothing") {
    CodeFiles files;
    ProcessImage image(0x7ffffffe, files);
    CHECK_FALSE(image.has_maps());
    CHECK(image.resolve(0x401000, false).range == nullptr);
    const __u64 top[2] = {0x401000, 0x401000};
    CHECK_FALSE(image.hidden_caller(0x401000, top, 0));
}

TEST_CASE("symbols: C++ names are those of the source, others stay") {
    CHECK(demangled("_ZN4burn6Worker6middleEm") == "burn::Worker::middle(unsigned long)");
    CHECK(demangled("_ZN4burn6Worker6middleEm.cold") == "burn::Worker::middle(unsigned long) [clone .cold]");
    CHECK(demangled("main") == "main");
    CHECK(demangled("_Z") == "_Z");
    CHECK(demangled("") == "");
}

TEST_CASE("symbols: the functions of a program from .symtab, or from .dynsym alone") {
    for (const std::string name : {"burn-cpp", "burn-cpp-pie", "burn-cpp-dynsym"}) {
        const std::string path = test_target(name);
        if (path.empty()) SKIP_TEST("no test programs (OTEL_EBPF_TEST_TARGETS)");
        CAPTURE(name);
        CodeFiles files;
        const auto file = files.open(path, path);
        REQUIRE(file);
        CHECK((*file)->build_ids().gnu.size() == 40);
        CHECK_FALSE((*file)->is_go());
        bool found = false;
        for (std::uint64_t offset = 0; offset < 0x3000; ++offset) {
            const auto vaddr = (*file)->vaddr_of(offset);
            if (!vaddr) continue;
            const auto frames = (*file)->frames_at(*vaddr);
            found = found || (!frames.empty() && frames[0].function == "burn::Worker::middle(unsigned long)");
        }
        CHECK(found);
        CHECK((*file)->frames_at(0).empty());
        CHECK((*file)->frames_at(UINT64_MAX).empty());
        CHECK_FALSE((*file)->vaddr_of(UINT64_MAX));
        CHECK(*files.open("/proc/self/root" + path, path) == *file);  // one file, one reading
    }
}

TEST_CASE("code files: what is no program has an id and no frames") {
    CodeFiles files;
    const auto text = files.open(OTEL_EBPF_SOURCE_DIR "/README.md", "README.md");
    REQUIRE(text);
    CHECK((*text)->build_ids().htlhash.size() == 32);
    CHECK((*text)->frames_at(0).empty());
    CHECK_FALSE((*text)->vaddr_of(0));
    CHECK_FALSE(files.open("/nowhere/at/all", ""));
    CHECK_FALSE(files.open("/dev/null", ""));
}

TEST_CASE("build ids: SHA-256 as in FIPS 180-4, htlhash of the ends and the length") {
    const auto hex = [](auto bytes) {
        std::string out;
        for (const std::byte byte : bytes) out += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
        return out;
    };
    const auto sha256 = [&hex](const std::string& text) {
        otel_ebpf::detail::Sha256 hash;
        hash.add(std::as_bytes(std::span(text)));
        return hex(hash.finish());
    };
    CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(sha256(std::string(1'000'000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");

    const std::string file = std::string(4096, 'x') + std::string(100, 'y') + std::string(4096, 'z');
    const auto hash = htlhash_of(ByteSource::from_memory(std::as_bytes(std::span(file))));
    REQUIRE(hash);
    const std::string length{0, 0, 0, 0, 0, 0, 0x20, 0x64};
    CHECK(*hash == sha256(std::string(4096, 'x') + std::string(4096, 'z') + length).substr(0, 32));
    const auto small = htlhash_of(ByteSource::from_memory(std::as_bytes(std::span(file).first(3))));
    REQUIRE(small);
    CHECK(*small == sha256(std::string("xxxxxx") + std::string{0, 0, 0, 0, 0, 0, 0, 3}).substr(0, 32));
}

TEST_CASE("kernel symbols: the function at or below an address, modules by name") {
    const auto symbols = KernelSymbols::parse("ffffffff81000000 T _text\n"
                                              "ffffffff81000000 T _stext\n"
                                              "ffffffff81000100 t first\n"
                                              "ffffffff81000180 D some_data\n"
                                              "ffffffffc0000000 t nft_do_chain\t[nf_tables]\n"
                                              "ffffffff81000200 W weak_one\n"
                                              "broken\n"
                                              "0000000000000000 T hidden\n");
    CHECK_FALSE(symbols.find(0xffffffff80ffffff));
    CHECK(symbols.find(0xffffffff81000000) == "_text");
    CHECK(symbols.find(0xffffffff810001ff) == "first");
    CHECK(symbols.find(0xffffffff81000200) == "weak_one");
    CHECK(symbols.find(0xffffffffc0000010) == "nft_do_chain [nf_tables]");
    CHECK_FALSE(KernelSymbols::parse("").find(1));
}

TEST_CASE("online CPUs: the kernel's list format") {
    CHECK(parse_cpu_list("0") == std::vector<unsigned>{0});
    CHECK(parse_cpu_list("0-2,5,7-8") == std::vector<unsigned>{0, 1, 2, 5, 7, 8});
    CHECK(parse_cpu_list("")->empty());
    for (const char* text : {"x", "1-", "3-1", "1,,2", "1;2", "-1", "99999999999", "0-65536"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_cpu_list(text));
    }
    CHECK_FALSE(online_cpus()->empty());
}

}  // namespace
