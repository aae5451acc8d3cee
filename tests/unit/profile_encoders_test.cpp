// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Profiles as pprof, OTLP and flame graphs: what is in them, for ordinary, empty, large and hostile profiles.
#include "test.hpp"

#include <zlib.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>
#include <protozero/pbf_reader.hpp>

#include <otel_ebpf/profile/flame_graph.hpp>
#include <otel_ebpf/profile/otlp.hpp>
#include <otel_ebpf/profile/pprof.hpp>

namespace {

namespace oe = otel_ebpf;
namespace profile = otel_ebpf::profile;
using nlohmann::json;

profile::Sample sample(std::uint32_t process, std::uint32_t stack, std::uint8_t span,
                       std::vector<std::uint64_t> times) {
    profile::Sample out;
    out.process = process;
    out.tid = 100 + process;
    out.stack = stack;
    out.times_unix_ns = std::move(times);
    if (span != 0) {
        out.trace_id.bytes[0] = 0xaa;
        out.span_id.bytes[0] = span;
        out.source = profile::ContextSource::ebpf;
    }
    return out;
}

// Two processes: one with two spans and the same function in both, one that is C without a span.
profile::Profile shop() {
    profile::Profile out;
    out.start_unix_ns = 1'000;
    out.duration_ns = 1'000;
    out.period_ns = 10'000'000;
    out.processes = {{7, "shop", {}}, {8, "db", {}}};
    out.processes[0].resource.attributes.emplace_back("service.name", std::string("shop"));
    out.processes[0].resource.attributes.emplace_back("process.pid", std::int64_t{7});
    out.mappings.push_back({"/bin/shop", 0x400000, 0x500000, 0, "", "go-id", "0123"});
    out.mappings.push_back({"/bin/db", 0x600000, 0x700000, 0, "beef", "", "4567"});
    out.mappings.push_back({"", 0x800000, 0x900000, 0, "", "", ""});
    out.locations.push_back({1, 0x400100, "main.burn", "/src/main.go", 12, false});
    out.locations.push_back({1, 0x400200, "main.handle", "/src/main.go", 40, false});
    out.locations.push_back({2, 0x600100, "", "", 0, false});
    out.locations.push_back({0, 0xffffffff81000000, "do_syscall_64", "", 0, true});
    out.locations.push_back({3, 0x800010, "", "", 0, false});
    out.locations.push_back({1, 0x400300, "main.unused", "/src/main.go", 50, false});
    out.stacks.push_back({1, 2});
    out.stacks.push_back({4, 3});
    out.stacks.push_back({5});
    out.samples = {sample(0, 1, 1, {1'100, 1'200}), sample(0, 1, 2, {1'300}), sample(1, 2, 0, {1'400}),
                   sample(1, 3, 0, {1'500})};
    out.samples[0].labels.emplace_back("tenant", "blue");
    return out;
}

std::string gunzip(const std::string& bytes) {
    std::string out(1 << 24, '\0');
    z_stream stream{};
    REQUIRE(::inflateInit2(&stream, 15 + 16) == Z_OK);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(bytes.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    REQUIRE(::inflate(&stream, Z_FINISH) == Z_STREAM_END);
    out.resize(stream.total_out);
    ::inflateEnd(&stream);
    return out;
}

std::size_t count(std::string_view text, std::string_view part) {
    std::size_t found = 0;
    for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++found;
    return found;
}

// What the OTLP profiles data model asks of a dictionary: element 0 is zero, nothing is there twice, nothing is unused.
void check_dictionary(const json& request) {
    const json& dictionary = request.at("dictionary");
    const json zero_link = {{"traceId", std::string(32, '0')}, {"spanId", std::string(16, '0')}};
    for (const char* table : {"mappingTable", "locationTable", "functionTable", "attributeTable", "stackTable"}) {
        CAPTURE(table);
        CHECK(dictionary.at(table).at(0) == json::object());
    }
    CHECK(dictionary.at("linkTable").at(0) == zero_link);
    CHECK(dictionary.at("stringTable").at(0) == "");
    for (const auto& [name, table] : dictionary.items()) {
        CAPTURE(name);
        std::set<std::string> seen;
        for (const json& entry : table) CHECK(seen.insert(entry.dump()).second);
    }
    std::map<std::string, std::set<std::size_t>> used;
    const auto use = [&used](const std::string& table, const json& holder, const char* member) {
        if (holder.contains(member) && holder.at(member).is_array())
            for (const json& index : holder.at(member)) used[table].insert(index.get<std::size_t>());
        else used[table].insert(holder.value(member, std::size_t{0}));
    };
    for (const json& resource : request.value("resourceProfiles", json::array()))
        for (const json& scope : resource.at("scopeProfiles"))
            for (const json& one : scope.at("profiles")) {
                const auto start = std::stoull(one.at("timeUnixNano").get<std::string>());
                const auto end = start + std::stoull(one.at("durationNano").get<std::string>());
                for (const char* type : {"sampleType", "periodType"}) {
                    use("stringTable", one.at(type), "typeStrindex");
                    use("stringTable", one.at(type), "unitStrindex");
                }
                std::set<std::string> identities;
                for (const json& entry : one.at("samples")) {
                    use("stackTable", entry, "stackIndex");
                    use("linkTable", entry, "linkIndex");
                    use("attributeTable", entry, "attributeIndices");
                    json identity = entry;
                    identity.erase("timestampsUnixNano");
                    CHECK(identities.insert(identity.dump()).second);
                    for (const json& time : entry.at("timestampsUnixNano")) {
                        const auto value = std::stoull(time.get<std::string>());
                        CHECK((value >= start && value < end));
                    }
                }
            }
    for (const json& stack : dictionary.at("stackTable")) use("locationTable", stack, "locationIndices");
    for (const json& location : dictionary.at("locationTable")) {
        use("mappingTable", location, "mappingIndex");
        use("attributeTable", location, "attributeIndices");
        for (const json& line : location.value("lines", json::array())) use("functionTable", line, "functionIndex");
    }
    for (const json& function : dictionary.at("functionTable"))
        for (const char* member : {"nameStrindex", "filenameStrindex"}) use("stringTable", function, member);
    for (std::size_t i = 0; i < dictionary.at("mappingTable").size(); ++i) {
        const json& mapping = dictionary.at("mappingTable").at(i);
        use("stringTable", mapping, "filenameStrindex");
        use("attributeTable", mapping, "attributeIndices");
        if (i != 0) CHECK(mapping.contains("attributeIndices"));  // a build id
    }
    for (const json& attribute : dictionary.at("attributeTable")) use("stringTable", attribute, "keyStrindex");
    for (const auto& [name, table] : dictionary.items()) {
        CAPTURE(name);
        std::set<std::size_t> all;
        for (std::size_t i = 0; i < table.size(); ++i) all.insert(i);
        auto& of_table = used[name];
        of_table.insert(0);
        CHECK(of_table == all);
    }
}

}  // namespace

TEST_CASE("otlp profiles: dictionary, links and resources of two processes") {
    const profile::Profile input = shop();
    const json request = json::parse(profile::to_otlp_json(input));
    check_dictionary(request);
    const json& dictionary = request.at("dictionary");
    REQUIRE(request.at("resourceProfiles").size() == 2);
    CHECK(request.at("resourceProfiles").at(0).at("resource").at("attributes").at(0).at("value").at("stringValue") ==
          "shop");
    CHECK(dictionary.at("linkTable").size() == 3);
    CHECK(dictionary.at("mappingTable").size() == 3);  // memory without a build id is no mapping
    CHECK(dictionary.dump().find("main.unused") == std::string::npos);
    CHECK(dictionary.dump().find("\"kernel\"") != std::string::npos);
    const json::json_pointer path("/scopeProfiles/0/profiles/0/samples");
    const json& samples = request.at("resourceProfiles").at(0).at(path);
    REQUIRE(samples.size() == 2);
    CHECK(samples.at(0).at("timestampsUnixNano").size() == 2);
    CHECK(samples.at(0).at("linkIndex") != samples.at(1).at("linkIndex"));
    const json& other = request.at("resourceProfiles").at(1).at(path);
    for (const json& one : other) CHECK_FALSE(one.contains("linkIndex"));
}

TEST_CASE("otlp profiles: protobuf says what JSON says") {
    const profile::Profile input = shop();
    const json request = json::parse(profile::to_otlp_json(input));
    const std::string bytes = profile::to_otlp_protobuf(input);
    std::map<std::uint32_t, std::size_t> entries;
    std::vector<std::string> strings;
    std::size_t resources = 0;
    protozero::pbf_reader message(bytes);
    while (message.next()) {
        if (message.tag() == 1) {
            ++resources;
            message.skip();
            continue;
        }
        REQUIRE(message.tag() == 2);
        protozero::pbf_reader dictionary = message.get_message();
        while (dictionary.next()) {
            ++entries[dictionary.tag()];
            if (dictionary.tag() == 5) strings.push_back(dictionary.get_string());
            else dictionary.skip();
        }
    }
    CHECK(resources == request.at("resourceProfiles").size());
    const char* const tables[] = {"mappingTable", "locationTable",  "functionTable", "linkTable",
                                  "stringTable",  "attributeTable", "stackTable"};
    for (std::uint32_t i = 0; i < 7; ++i) CHECK(entries[i + 1] == request.at("dictionary").at(tables[i]).size());
    CHECK(json(strings) == request.at("dictionary").at("stringTable"));
}

TEST_CASE("otlp profiles: samples that differ in nothing are one, and late ones stretch the profile") {
    profile::Profile input = shop();
    input.samples = {sample(0, 1, 1, {1'500}), sample(0, 1, 1, {1'200}), sample(0, 1, 1, {9'000})};
    const json request = json::parse(profile::to_otlp_json(input));
    check_dictionary(request);
    const json& one = request.at("resourceProfiles").at(0).at("scopeProfiles").at(0).at("profiles").at(0);
    REQUIRE(one.at("samples").size() == 1);
    CHECK(one.at("samples").at(0).at("timestampsUnixNano") == json({"1200", "1500", "9000"}));
}

TEST_CASE("otlp profiles: empty and hostile profiles are valid") {
    const json empty = json::parse(profile::to_otlp_json(profile::Profile()));
    CHECK_FALSE(empty.contains("resourceProfiles"));
    profile::Profile hostile = shop();
    hostile.locations[1].function = std::string("\"}\xff\x00<script>\n", 13);
    hostile.samples[0].labels = {{"same", "1"}, {"same", "2"}, {"\xc3\x28", "\xff"}};
    check_dictionary(json::parse(profile::to_otlp_json(hostile)));
    CHECK_FALSE(profile::to_otlp_protobuf(hostile).empty());
}

TEST_CASE("pprof: types, labels and times") {
    const std::string bytes = gunzip(profile::to_pprof(shop()));
    std::vector<std::string> strings;
    std::size_t samples = 0, mappings = 0, locations = 0;
    std::int64_t cpu = 0;
    protozero::pbf_reader message(bytes);
    while (message.next()) {
        switch (message.tag()) {
            case 2: {
                ++samples;
                protozero::pbf_reader one = message.get_message();
                while (one.next()) {
                    if (one.tag() != 2) {
                        one.skip();
                        continue;
                    }
                    const auto values = one.get_packed_int64();
                    REQUIRE(values.size() == 2);
                    cpu += *std::next(values.begin());
                }
                break;
            }
            case 3: ++mappings; message.skip(); break;
            case 4: ++locations; message.skip(); break;
            case 6: strings.push_back(message.get_string()); break;
            default: message.skip();
        }
    }
    CHECK(samples == 4);
    CHECK(mappings == 3);
    CHECK(locations == 7);
    CHECK(cpu == 5 * 10'000'000);
    REQUIRE_FALSE(strings.empty());
    CHECK(strings[0].empty());
    const std::set<std::string> texts(strings.begin(), strings.end());
    CHECK(texts.size() == strings.size());
    for (const char* text : {"trace_id", "span_id", "aa000000000000000000000000000000", "0100000000000000", "tenant",
                             "blue", "main.burn", "[db+0x100]", "do_syscall_64_[k]"}) {
        CAPTURE(text);
        CHECK(texts.contains(text));
    }
}

TEST_CASE("a hundred thousand samples are all there in every form") {
    profile::Profile input = shop();
    input.samples.clear();
    for (std::uint32_t i = 0; i < 2'000; ++i) {
        input.locations.push_back({1, 0x400400 + i, "main.f" + std::to_string(i), "/src/main.go", i, false});
        input.stacks.push_back({static_cast<std::uint32_t>(input.locations.size() - 1), 2});
    }
    for (std::uint32_t i = 0; i < 100'000; ++i) {
        input.samples.push_back(sample(0, 4 + i % 2'000, static_cast<std::uint8_t>(i % 251), {1'000 + i % 999}));
        input.samples.back().tid = 1 + i / 25'000;
    }
    const json request = json::parse(profile::to_otlp_json(input));
    check_dictionary(request);
    const json::json_pointer path("/resourceProfiles/0/scopeProfiles/0/profiles/0/samples");
    std::size_t times = 0, linked = 0;
    for (const json& one : request.at(path)) {
        times += one.at("timestampsUnixNano").size();
        if (one.contains("linkIndex")) linked += one.at("timestampsUnixNano").size();
    }
    CHECK(times == 100'000);
    CHECK(linked == 100'000 - 399);  // every 251st is outside
    CHECK(profile::to_flame_graph_svg(input).find("<title>all, 100000 samples") != std::string::npos);
    const std::string bytes = gunzip(profile::to_pprof(input));
    std::int64_t counted = 0;
    protozero::pbf_reader message(bytes);
    while (message.next(2)) {
        protozero::pbf_reader one = message.get_message();
        while (one.next(2)) counted += *one.get_packed_int64().begin();
    }
    CHECK(counted == 100'000);
}

TEST_CASE("flame graph: boxes by process, span and function, as wide as their samples") {
    const std::string svg = profile::to_flame_graph_svg(
        shop(), {.title = "shop & db", .span_names = {{"0100000000000000", "GET /cart"}}});
    CHECK(svg.find("shop &amp; db") != std::string::npos);
    CHECK(svg.find("<title>all, 5 samples, 50 ms, 100.00 %</title>") != std::string::npos);
    CHECK(svg.find("<title>shop (7), 3 samples, 30 ms, 60.00 %</title>") != std::string::npos);
    CHECK(svg.find("<title>GET /cart, 2 samples, 20 ms, 40.00 %</title>") != std::string::npos);
    CHECK(svg.find("<title>(spans), 1 samples") != std::string::npos);
    CHECK(svg.find("<title>span 0200000000000000, 1 samples") != std::string::npos);
    CHECK(svg.find("<title>(no span), 2 samples") != std::string::npos);
    CHECK(count(svg, "<title>main.burn") == 2);
    CHECK(svg.find("width=\"480.00\"") != std::string::npos);  // 40 % of 1,200
}

TEST_CASE("flame graph: of one trace or span only") {
    profile::Profile input = shop();
    oe::SpanId span;
    span.bytes[0] = 2;
    const std::string one = profile::to_flame_graph_svg(input, {.span = span});
    CHECK(one.find("<title>all, 1 samples") != std::string::npos);
    CHECK(one.find("0100000000000000") == std::string::npos);
    const std::string trace = profile::to_flame_graph_svg(
        input, {.trace = input.samples[0].trace_id, .span_names = {{"0100000000000000", "GET /cart"}}});
    CHECK(trace.find("<title>GET /cart · 0100000000000000, 2 samples") != std::string::npos);
    CHECK(trace.find("<title>all, 3 samples") != std::string::npos);
    const std::string none = profile::to_flame_graph_svg(input, {.trace = oe::TraceId()});
    CHECK(none.find("<title>all, 2 samples") != std::string::npos);
    CHECK(one.find("1 samples, 10 ms of CPU; only span 0200000000000000<") != std::string::npos);
    CHECK(trace.find("only trace aa000000000000000000000000000000<") != std::string::npos);
    oe::SpanId unknown;
    unknown.bytes[7] = 9;
    const std::string nothing = profile::to_flame_graph_svg(input, {.span = unknown});
    CHECK(nothing.find("no samples; only span 0000000000000009<") != std::string::npos);
    CHECK(profile::to_flame_graph_svg(profile::Profile()).find("no samples") != std::string::npos);
}

TEST_CASE("flame graph: names can't leave their boxes") {
    profile::Profile input = shop();
    input.locations[1].function = std::string("</text><script>alert(1)</script>\x01\xff]]>\"", 39);
    const std::string svg = profile::to_flame_graph_svg(input);
    CHECK(count(svg, "<script>") == 1);
    CHECK(svg.find('\x01') == std::string::npos);
    CHECK(svg.find("&lt;script&gt;alert(1)") != std::string::npos);
}

TEST_CASE("flame graph: characters that XML doesn't allow, or that hide what a name is") {
    profile::Profile input = shop();
    input.locations[1].function = "non\xef\xbf\xbe\xef\xbf\xbf order\xe2\x80\xae line\n\xc2\x85 caf\xc3\xa9";
    const std::string svg = profile::to_flame_graph_svg(input);
    constexpr auto mark = "\xef\xbf\xbd";
    CHECK(svg.find(fmt::format("<title>non{0}{0} order{0} line{0}{0} caf\xc3\xa9, ", mark)) != std::string::npos);
    for (const char* bytes : {"\xef\xbf\xbe", "\xef\xbf\xbf", "\xe2\x80\xae", "\xc2\x85"})
        CHECK(count(svg, bytes) == 0);
}

TEST_CASE("flame graph: what is too narrow is counted, not drawn") {
    profile::Profile input = shop();
    input.samples.clear();
    for (std::uint32_t i = 0; i < 20'000; ++i) {
        input.locations.push_back({1, 0x400400 + i, "main.f" + std::to_string(i), "", 0, false});
        input.stacks.push_back({static_cast<std::uint32_t>(input.locations.size() - 1)});
        input.samples.push_back(sample(0, static_cast<std::uint32_t>(input.stacks.size() - 1), 1, {1'100}));
    }
    const std::string svg = profile::to_flame_graph_svg(input);
    CHECK(svg.find("20000 boxes are too narrow to be drawn") != std::string::npos);
    CHECK(count(svg, "<rect") == 1 + 4);
}
