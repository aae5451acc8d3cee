// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Where an Executable finds offsets, by Go release, module version, pre-release, experiment and replacement.
#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/plan.hpp>

#include <string>
#include <string_view>

#include "../test.hpp"
#include "elf_image.hpp"

namespace {

using namespace otel_ebpf;

// An executable without DWARF of which only its build info counts.
struct Built {
    std::string bytes;
    std::shared_ptr<const Executable> executable;

    explicit Built(const std::string& go_version, const std::string& modules = "") {
        const std::string frame(16, '#');
        const std::string text = frame + "path\texample.com/a\nmod\texample.com/a\t(devel)\t\n" + modules + frame;
        const auto with_size = [](const std::string& part) {
            std::string size;
            for (std::size_t rest = part.size();; rest >>= 7) {
                size += static_cast<char>(rest < 0x80 ? rest : (rest & 0x7f) | 0x80);
                if (rest < 0x80) return size + part;
            }
        };
        ElfImage image;
        image.data = std::string("\xff Go buildinf:\x08\x02") + std::string(16, '\0') + with_size(go_version) +
                     with_size(text);
        image.sections.push_back({".go.buildinfo", image.data, ElfImage::data_vaddr});
        image.sections.push_back({".symtab", std::string(2 * sizeof(Elf64_Sym), '\0'), 0, SHT_SYMTAB});
        bytes = image.bytes();
        auto opened = Executable::from_memory(as_bytes(bytes));
        REQUIRE(opened);
        executable = *opened;
        REQUIRE(executable->is_go());
    }

    [[nodiscard]] Result<FactValue> fact(const FactQuery& query) const { return executable->fact(query); }
    [[nodiscard]] std::string refusal(const FactQuery& query) const {
        const auto answer = fact(query);
        if (answer || is_absent(answer.error())) return answer ? "not refused" : "absent";
        return answer.error().what;
    }
};

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

constexpr FactQuery goid = offset_of("std", "runtime", "g", "goid");         // has moved
constexpr FactQuery method = offset_of("std", "net/http", "Request", "Method");  // never did
constexpr FactQuery stream = offset_of("google.golang.org/grpc", "google.golang.org/grpc/internal/transport", "Stream",
                                       "method");

std::string grpc(const std::string& version, const std::string& replacement = "") {
    return "dep\tgoogle.golang.org/grpc\t" + version + "\th1:x=\n" +
           (replacement.empty() ? "" : "=>\t" + replacement + "\n");
}

TEST_CASE("offset_lookup: a newer patch release takes the last of its minor, and says so") {
    const auto known = Built("go1.26.8").fact(goid);
    REQUIRE(known);
    CHECK_FALSE(known->is_assumed());
    const auto newer = Built("go1.26.99").fact(goid);
    REQUIRE(newer);
    CHECK(newer->value == known->value);
    CHECK(newer->source == FactValue::Source::table);
    CHECK(newer->assumption == "from an earlier patch release");
}

TEST_CASE("offset_lookup: a new minor is refused, but for what never moved and a Probe that says so") {
    const Built next("go1.99.0");
    const std::string refusal = next.refusal(goid);
    CHECK(contains(refusal, "Go 1.99.0"));
    CHECK(contains(refusal, "the offset of runtime.g.goid is not in the offset table"));
    CHECK(contains(refusal, "has no DWARF"));
    CHECK(contains(next.refusal(method), "net/http.Request.Method"));
    CHECK(contains(next.refusal(assume_unmoved(goid)), "runtime.g.goid"));
    const auto assumed = next.fact(assume_unmoved(method));
    REQUIRE(assumed);
    CHECK(assumed->value == 0);
    CHECK(assumed->assumption == "from earlier minor releases, in all of which it is the same");
    CHECK(contains(Built("go1.18.0").refusal(assume_unmoved(method)), "Go 1.18.0"));  // older than the table
}

TEST_CASE("offset_lookup: pre-releases, development builds and experiments") {
    const auto candidate = Built("go1.26rc1").fact(method);
    REQUIRE(candidate);
    CHECK(candidate->assumption == "from the releases before and after this pre-release");
    CHECK(contains(Built("go1.25rc1").refusal(goid), "runtime.g.goid"));  // moved in 1.25
    CHECK(contains(Built("devel go1.29-abcdef").refusal(method), "net/http.Request.Method"));
    for (const char* version : {"go1.26.3-X:boringcrypto", "go1.26.3 X:boringcrypto"}) {
        const auto experiment = Built(version).fact(goid);
        REQUIRE(experiment);
        CHECK(experiment->assumption == "from a build without GOEXPERIMENT");
    }
    const auto setting = Built("go1.26.3", "build\tGOEXPERIMENT=jsonv2\n").fact(goid);
    REQUIRE(setting);
    CHECK(setting->is_assumed());
}

TEST_CASE("offset_lookup: versions of modules") {
    const auto method_in = [](const std::string& version) { return Built("go1.26.8", grpc(version)).fact(stream); };
    REQUIRE(method_in("v1.60.1"));
    CHECK(method_in("v1.60.1")->value == 80);
    CHECK_FALSE(method_in("v1.60.1")->is_assumed());
    REQUIRE(method_in("v1.69.0"));  // the release that brought the new layout, not the one after it
    CHECK(method_in("v1.69.0")->value == 24);
    REQUIRE(method_in("v1.68.1"));
    CHECK(method_in("v1.68.1")->value == 88);
    REQUIRE(method_in("v1.60.99"));
    CHECK(method_in("v1.60.99")->assumption == "from an earlier patch release");
    REQUIRE(method_in("v1.61.0-dev"));
    CHECK(method_in("v1.61.0-dev")->is_assumed());
    const auto refusal_in = [](const std::string& version, const std::string& replacement = "") {
        return Built("go1.26.8", grpc(version, replacement)).refusal(stream);
    };
    CHECK(contains(refusal_in("v1.69.0-dev"), "google.golang.org/grpc v1.69.0-dev"));  // moved in 1.69
    CHECK(contains(refusal_in("v1.999.0"), "google.golang.org/grpc v1.999.0"));
    CHECK(contains(refusal_in("v1.60.1-0.20231201000000-0123456789ab"), "v1.60.1-0.20231201000000-0123456789ab"));
    CHECK(contains(refusal_in("(devel)"), "google.golang.org/grpc (devel)"));
    CHECK(contains(refusal_in("v1.60.1+dirty"), "google.golang.org/grpc v1.60.1+dirty"));
    CHECK(contains(Built("go1.26.8").refusal(stream), "absent"));  // not linked in
}

TEST_CASE("offset_lookup: of a replaced module, what replaces it counts") {
    const auto replaced = [](const std::string& replacement) {
        return Built("go1.26.8", grpc("v1.60.1", replacement));
    };
    const auto other_version = replaced("google.golang.org/grpc\tv1.69.0\th1:y=").fact(stream);
    REQUIRE(other_version);
    CHECK(other_version->value == 24);
    CHECK(contains(replaced("example.com/fork/grpc\tv1.60.1\th1:y=").refusal(stream), "example.com/fork/grpc v1.60.1"));
    CHECK(contains(replaced("../grpc").refusal(stream), "../grpc (a local folder)"));
}

TEST_CASE("offset_lookup: a stripped program's modules are in the table, which says what its plain twin's DWARF says") {
    const std::string plain = test_target("xnet-go1.26"), stripped = test_target("xnet-go1.26-stripped");
    if (plain.empty() || stripped.empty()) SKIP_TEST("no xnet-go1.26 (OTEL_EBPF_TEST_TARGETS)");
    const auto with_dwarf = Executable::open(plain), without = Executable::open(stripped);
    REQUIRE(with_dwarf);
    REQUIRE(without);
    const auto dwarf = go::DwarfTypes::open((*with_dwarf)->elf());
    REQUIRE(dwarf);
    REQUIRE_FALSE(go::DwarfTypes::open((*without)->elf()));
    const std::string package = "golang.org/x/net/http2";
    for (const std::string member : {"status", "wroteBytes"}) {
        const auto found = (*without)->fact(offset_of("golang.org/x/net", package, "responseWriterState", member));
        REQUIRE(found);
        CHECK(found->source == FactValue::Source::table);
        CHECK_FALSE(found->is_assumed());
        CHECK(found->value == dwarf->member_offset(package + ".responseWriterState", member).value);
    }
}

TEST_CASE("offset_lookup: the range of a flag is closed below and open above") {
    const auto flag = [](const std::string& version) {
        const auto found = Built("go1.26.8", grpc(version))
                               .fact(version_in("google.golang.org/grpc", version_between({1, 69, 0}, {1, 77, 0})));
        REQUIRE(found);
        return found->value;
    };
    CHECK(flag("v1.68.9") == 0);
    CHECK(flag("v1.69.0-dev") == 0);
    CHECK(flag("v1.69.0") == 1);
    CHECK(flag("v1.76.9") == 1);
    CHECK(flag("v1.77.0-dev") == 1);
    CHECK(flag("v1.77.0") == 0);
}

TEST_CASE("offset_lookup: of several sources of one slot, the first that is known counts, and assumptions are shown") {
    ProbeSpec probe;
    probe.name = "test";
    probe.event_kind = {"kind", 0, 2};
    const auto add = [&](std::size_t slot, FactQuery what) {
        FactSpec fact;
        fact.slot = {"slot_" + std::to_string(slot), slot, 2};
        fact.what = what;
        fact.required = false;
        probe.facts.push_back(fact);
    };
    add(2, offset_of("example.com/none", "example.com/none", "T", "m"));
    add(2, stream);
    add(4, offset_of("example.com/none", "example.com/none", "T", "m"));
    add(6, goid);
    Assignment assignment;
    const std::vector<ProbeSpec> probes = {probe};
    REQUIRE(assignment.add(probes, {}));
    const Built built("go1.26.99", grpc("v1.60.1"));
    const AttachPlan planned = plan(*built.executable, probes, assignment, {}, {6, 18});
    REQUIRE(planned.facts.size() >= 3);
    CHECK(planned.facts[0].known);
    CHECK(planned.facts[0].value == 80);
    CHECK(planned.facts[0].reason.empty());
    CHECK_FALSE(planned.facts[1].known);
    CHECK(planned.facts[1].absent);
    const std::string note = assumed_facts(planned);
    CHECK(contains(note, "(go1.26.99): assumed runtime.g.goid = 152 (from an earlier patch release)"));
    CHECK_FALSE(contains(note, "grpc"));
    CHECK(assumed_facts(plan(*Built("go1.26.8").executable, probes, assignment, {}, {6, 18})).empty());
}

}  // namespace
