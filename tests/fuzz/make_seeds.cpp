// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// First inputs of the fuzzers, cut out of real programs: make_seeds TARGETS OUTDIR writes OUTDIR/FUZZER/NAME.
#include <zlib.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/go/line_table.hpp>

#include "../hostile/inspect.hpp"
#include "../unit/elf_image.hpp"
#include "cut_dwarf.hpp"
#include "cut_tables.hpp"
#include "go_image.hpp"
#include "input.hpp"
#include "site_input.hpp"

namespace oe = otel_ebpf;

namespace {

constexpr const char* releases[] = {"1.19", "1.24", "1.26", "1.27"};

class Seeds {
public:
    Seeds(std::filesystem::path targets, std::filesystem::path out)
        : targets_(std::move(targets)), out_(std::move(out)) {}

    void make() {
        for (std::uint8_t i = 0; i < std::size(releases); ++i) {
            const std::string release = releases[i];
            if (const auto server = open("server-go" + release)) {
                build_info(*server, release);
                sites(*server, oe::Abi::go, release, 150);
            }
            if (const auto stripped = open("burn-go" + release + "-stripped")) tables(*stripped, release, i);
            dwarf("labels-go" + release);
        }
        if (const auto native = open("burn-cpp")) {
            sites(*native, oe::Abi::native, "cpp", 1);
            write("executable", "burn-cpp", read_file(path("burn-cpp")));
        }
        moduledata();
    }

    // What was made for each fuzzer.
    [[nodiscard]] const std::map<std::string, int>& counts() const { return counts_; }
    [[nodiscard]] bool has_programs() const { return has_programs_; }

private:
    [[nodiscard]] std::string path(const std::string& name) const { return (targets_ / name).string(); }

    std::shared_ptr<const oe::Executable> open(const std::string& name) {
        if (!std::filesystem::exists(path(name))) return nullptr;
        has_programs_ = true;
        auto executable = oe::Executable::open(path(name));
        if (!executable) std::fprintf(stderr, "make_seeds: %s\n", executable.error().what.c_str());
        return executable ? *executable : nullptr;
    }

    void write(const std::string& fuzzer, const std::string& name, const std::string& bytes) {
        std::filesystem::create_directories(out_ / fuzzer);
        std::ofstream(out_ / fuzzer / name, std::ios::binary) << bytes;
        ++counts_[fuzzer];
    }

    void build_info(const oe::Executable& executable, const std::string& name) {
        const oe::ElfSection* const section = executable.elf().section(".go.buildinfo");
        if (section == nullptr) return;
        const auto bytes = executable.elf().bytes_of(*section);
        if (!bytes) return;
        const std::string_view text(reinterpret_cast<const char*>(bytes->bytes().data()), bytes->size());
        for (std::uint8_t flags = 0; flags < 2; ++flags)
            write("buildinfo", name + "-" + std::to_string(flags), Seed().number(flags).part(text).bytes());
    }

    // The first functions in a row whose cut table is accepted as that of an executable.
    void tables(const oe::Executable& executable, const std::string& name, std::uint8_t version) {
        const auto header = oe::go::read_pclntab_header(executable.elf());
        if (!header) return;
        const auto table = oe::go::Pclntab::open(executable.elf(), *header);
        if (!table) return;
        PclntabCut cut(*header, *table);
        // Those of hostile::inspect(), so that a plan has sites in them.
        constexpr std::string_view names[] = {
            "net/http.serverHandler.ServeHTTP", "net/http.(*response).finishRequest", "runtime.newproc1",
            "runtime.mallocgc", "main.main", "runtime.gopark", "runtime.main", "net/http.(*ServeMux).ServeHTTP"};
        constexpr std::size_t count = std::size(names);
        for (std::size_t first = 0; first + count < table->size(); first += count) {
            GoImage image;
            image.build_info = GoImage::build_info_of(executable.go_version_text(), {});
            image.pclntab = cut.of(first, names);
            const auto text = executable.elf().bytes_at(executable.go_text_start() + table->entry(first),
                                                        table->entry(first + count) - table->entry(first));
            if (!text || text->size() > 4096) continue;
            image.text.assign(reinterpret_cast<const char*>(text->bytes().data()), text->size());
            image.derive_moduledata();
            const std::string file = image.bytes();
            const hostile::Depth depth = hostile::inspect(as_bytes(file));
            if (depth.functions != count || depth.places == 0 || depth.attached < count) continue;
            write("pclntab", name, Seed().number(version).part(image.pclntab).rest(image.text).bytes());
            write("executable", "stripped-go" + name, file);
            image.has_symbols = true;
            const DwarfCut layouts = DwarfCut::of(path("labels-go" + name), structs());
            image.abbreviations = layouts.abbreviations;
            image.debug_info = layouts.info;
            image.debug_strings = layouts.strings;
            const std::string plain = image.bytes();
            if (hostile::inspect(as_bytes(plain)).layouts != 0) write("executable", "plain-go" + name, plain);
            return;
        }
    }

    static std::set<std::string_view> structs() { return {"runtime.g", "runtime.stack", "runtime.gobuf"}; }

    void dwarf(const std::string& target) {
        const DwarfCut cut = DwarfCut::of(path(target), structs());
        if (cut.info.empty()) return;
        const auto seed = [&](std::uint8_t flags, const std::string& info) {
            return Seed().number(flags).part(cut.abbreviations).part(info).part(cut.strings).bytes();
        };
        write("dwarf", target, seed(0, cut.info));
        uLongf size = compressBound(cut.info.size());
        std::string packed(size, '\0');
        if (compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(cut.info.data()),
                     cut.info.size()) != Z_OK)
            return;
        packed.resize(size);
        Elf64_Chdr header{};
        header.ch_type = ELFCOMPRESS_ZLIB;
        header.ch_size = cut.info.size();
        header.ch_addralign = 1;
        write("dwarf", target + "-compressed", seed(1, ElfImage::raw_bytes(header) + packed));
    }

    // One in `step` of the functions of moderate size, with the morestack and the first function that they call.
    void sites(const oe::Executable& executable, oe::Abi abi, const std::string& name, std::size_t step) {
        std::set<std::uint64_t> starts, morestack;
        std::vector<oe::Function> functions;
        executable.for_each_function([&](std::string_view symbol, std::uint64_t vaddr, std::uint64_t size) {
            starts.insert(vaddr);
            if (symbol.starts_with("runtime.morestack")) morestack.insert(vaddr);
            if (size >= 4 && size <= 600) functions.push_back({std::string(symbol), vaddr, size});
            return true;
        });
        for (std::size_t i = 0; i < functions.size(); i += step) {
            const oe::Function& function = functions[i];
            const auto code = executable.code(function);
            if (!code) continue;
            SiteInput question;
            question.flags = static_cast<std::uint8_t>((i / step % 2) | (abi == oe::Abi::native ? 2 : 0) |
                                                       (executable.arch() == oe::Arch::aarch64 ? 4 : 0));
            question.live = 3;
            for (std::size_t at = 0; at + 5 <= code->size(); ++at) {
                if ((*code)[at] != std::byte{0xe8}) continue;
                const std::int32_t callee = oe::load<std::int32_t>(*code, at + 1) + static_cast<std::int32_t>(at + 5);
                const std::uint64_t target = function.vaddr + static_cast<std::uint64_t>(std::int64_t{callee});
                if (morestack.contains(target)) question.morestack = callee;
                else if (question.callee == 0 && starts.contains(target)) question.callee = callee;
            }
            Seed seed;
            question.write(seed);
            seed.rest({reinterpret_cast<const char*>(code->data()), code->size()});
            write("site", name + "-" + std::to_string(i), seed.bytes());
        }
    }

    // Right tables with no change, and with one of each kind; there is nothing to cut out.
    void moduledata() {
        for (std::uint8_t flags = 0; flags < 8; ++flags)
            for (std::uint8_t kind = 0; kind < 4; ++kind)
                write("moduledata", std::to_string(flags) + "-" + std::to_string(kind),
                      Seed().number(flags).number(static_cast<std::uint8_t>(kind << 5 | 22)).number(32).bytes());
    }

    std::filesystem::path targets_, out_;
    std::map<std::string, int> counts_;
    bool has_programs_ = false;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s TARGETS OUTDIR\n", argv[0]);
        return 2;
    }
    Seeds seeds(argv[1], argv[2]);
    seeds.make();
    bool complete = true;
    for (const char* const fuzzer : {"buildinfo", "dwarf", "executable", "moduledata", "pclntab", "site"}) {
        const auto found = seeds.counts().find(fuzzer);
        const int count = found == seeds.counts().end() ? 0 : found->second;
        std::printf("%s: %d seeds\n", fuzzer, count);
        complete = complete && count != 0;
    }
    if (!seeds.has_programs())
        std::printf("SKIPPED: fuzz: seeds: no programs to cut in %s (scripts/build-targets.sh)\n", argv[1]);
    else if (!complete)
        std::printf("some fuzzer has no seeds: its part can't be cut out of these programs any more\n");
    return complete ? 0 : 1;
}
