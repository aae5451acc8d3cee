// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Writes profiles of every kind as NAME.pb, NAME.json (OTLP) and NAME.pb.gz (pprof): write_profiles FOLDER
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <otel_ebpf/profile/otlp.hpp>
#include <otel_ebpf/profile/pprof.hpp>

namespace oe = otel_ebpf;
namespace profile = otel_ebpf::profile;

namespace {

// Bytes that mean something to somebody, that are no UTF-8, and that are nothing at all.
const std::vector<std::string> hostile_texts = {
    "", "\xff", "\xfe", "\xc3\x28", std::string("a\0b", 3), "\"\\/\n\r\t", "</script><b>&amp;", "\xe2\x80\xae" "evil",
    "caf\xc3\xa9", "\xf0\x9f\x94\xa5", "%s%n", "thread.id", "trace_id", "span_id", "process", "pid", "thread",
    "process.context.label.thread.id", "__proto__", std::string(5'000, 'x')};

profile::Sample sample(std::uint32_t process, std::uint32_t stack, std::uint32_t span, std::uint64_t time) {
    profile::Sample out;
    out.process = process;
    out.tid = 40 + span % 8;
    out.stack = stack;
    if (span != 0) {
        for (std::uint32_t i = 0; i < 4; ++i) out.span_id.bytes[i] = static_cast<std::uint8_t>(span >> (8 * i));
        out.trace_id.bytes[0] = static_cast<std::uint8_t>(span % 100 + 1);
        out.source = profile::ContextSource::ebpf;
    }
    out.times_unix_ns = {time, time + 1'000};
    return out;
}

profile::Profile empty() {
    profile::Profile out;
    out.start_unix_ns = 1'760'000'000'123'456'789;
    out.duration_ns = 10'000'000'000;
    out.period_ns = 10'309'278;
    return out;
}

// A Go and a C program, with what each kind of frame looks like; the third process was never on a CPU.
profile::Profile ordinary() {
    profile::Profile out = empty();
    out.processes = {{7, "shop", {}}, {8, "db", {}}, {9, "idle", {}}};
    out.processes[0].resource.attributes = {{"service.name", std::string("shop")},
                                            {"process.pid", std::int64_t{7}},
                                            {"load", 0.5},
                                            {"cgo", false}};
    out.processes[1].resource.attributes = {{"service.name", std::string("db")}};
    out.mappings.push_back({"/bin/shop", 0x400000, 0x500000, 0, "", "go-id", "0123456789abcdef0123456789abcdef"});
    out.mappings.push_back({"/bin/db", 0x7fff00000000, 0x7fff00100000, 0x1000, "beef", "", ""});
    out.mappings.push_back({"[anon]", 0x800000, 0x900000, 0, "", "", ""});
    out.locations.push_back({1, 0x400100, "main.burn", "/src/main.go", 12, false});
    out.locations.push_back({1, 0x400200, "main.handle", "/src/main.go", 40, false});
    out.locations.push_back({2, 0x7fff00000100, "", "", 0, false});
    out.locations.push_back({0, 0xffffffff81000000, "do_syscall_64", "", 0, true});
    out.locations.push_back({3, 0x800010, "", "", 0, false});
    out.locations.push_back({1, 0x400300, "main.unused", "/src/main.go", 50, false});
    out.stacks.insert(out.stacks.end(), {{1, 2}, {4, 3}, {5}, {0, 1}, {1, 2}});
    const std::uint64_t begin = out.start_unix_ns;
    out.samples = {sample(0, 1, 1, begin), sample(0, 1, 0, begin + 5), sample(0, 5, 1, begin + 9),
                   sample(0, 4, 2, begin + 7), sample(1, 2, 3, begin + 9), sample(1, 3, 0, begin + out.duration_ns),
                   sample(1, 0, 0, begin - 50)};
    out.samples[0].labels = {{"tenant", "blue"}, {"tenant", "green"}};
    out.samples[3].labels = {{"tenant", ""}};
    return out;
}

profile::Profile hostile() {
    profile::Profile out = ordinary();
    out.processes[0].name = "\xff\n;";
    out.processes[1].resource.attributes = {{"service.name", hostile_texts[3]}};
    for (const std::string& text : hostile_texts) {
        const auto mapping = static_cast<std::uint32_t>(out.mappings.size());
        const std::uint64_t start = std::uint64_t{0x1000} * mapping;
        out.mappings.push_back({text, start, start + 0x1000, 0, "", text, "00"});
        out.locations.push_back({mapping, start, text, text, 1, false});
        out.stacks.push_back({static_cast<std::uint32_t>(out.locations.size() - 1)});
        out.samples.push_back(sample(0, static_cast<std::uint32_t>(out.stacks.size() - 1), 9, out.start_unix_ns + 1));
        for (const std::string& key : hostile_texts) out.samples.back().labels.emplace_back(key, text);
    }
    return out;
}

profile::Profile large() {
    profile::Profile out = ordinary();
    for (std::uint32_t i = 0; i < 2'000; ++i)
        out.locations.push_back({1, 0x410000 + i, "main.f" + std::to_string(i), "/src/main.go", i, false});
    const auto first = static_cast<std::uint32_t>(out.locations.size() - 2'000);
    for (std::uint32_t i = 0; i < 100'000; ++i) {
        out.stacks.push_back({first + i % 2'000, first + i / 50 % 2'000, first + i / 1'000});
        out.samples.push_back(sample(i % 2, static_cast<std::uint32_t>(out.stacks.size() - 1), i % 5'000,
                                     out.start_unix_ns + i));
    }
    return out;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    for (const auto& [name, made] : {std::pair<std::string, profile::Profile>{"empty", empty()},
                                     {"ordinary", ordinary()},
                                     {"hostile", hostile()},
                                     {"large", large()}}) {
        const std::string path = std::string(argv[1]) + "/" + name;
        std::ofstream(path + ".pb", std::ios::binary) << profile::to_otlp_protobuf(made);
        std::ofstream(path + ".json", std::ios::binary) << profile::to_otlp_json(made);
        std::ofstream(path + ".pb.gz", std::ios::binary) << profile::to_pprof(made);
        std::printf("%s %lu\n", name.c_str(), static_cast<unsigned long>(made.sample_count()));
    }
    return 0;
}
