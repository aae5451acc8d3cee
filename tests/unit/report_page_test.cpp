// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The data of a report's page: spans as trees, samples at their spans, names of any bytes; and the log of spans.
#include "test.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include <otel_ebpf/profile/report.hpp>
#include <otel_ebpf/profile/span_log.hpp>

namespace oe = otel_ebpf;
namespace profile = otel_ebpf::profile;
using nlohmann::json;

namespace {

template <class Id>
Id id_of(std::uint64_t number) {
    Id id;
    for (std::size_t i = 0; i < 8; ++i) id.bytes[id.bytes.size() - 1 - i] = static_cast<std::uint8_t>(number >> 8 * i);
    return id;
}

profile::SpanRecord record(std::uint64_t trace, std::uint64_t span, std::uint64_t parent, std::uint64_t start_ns,
                           std::uint64_t end_ns) {
    profile::SpanRecord record;
    record.trace_id = id_of<oe::TraceId>(trace);
    record.span_id = id_of<oe::SpanId>(span);
    record.parent = id_of<oe::SpanId>(parent);
    record.name = "span " + std::to_string(span);
    record.service = "store";
    record.start_unix_ns = start_ns;
    record.end_unix_ns = end_ns;
    return record;
}

constexpr std::uint64_t begin_ns = 1'790'000'000'000'000'000;

profile::Profile empty_profile() {
    profile::Profile made;
    made.start_unix_ns = begin_ns;
    made.duration_ns = 1'000'000'000;
    made.period_ns = 10'000'000;
    made.processes.push_back({42, "store", {{{"service.name", std::string("store")}}}});
    return made;
}

void add_samples(profile::Profile& made, std::uint64_t trace, std::uint64_t span, std::uint32_t stack,
                 std::vector<std::uint64_t> times) {
    profile::Sample sample;
    sample.trace_id = id_of<oe::TraceId>(trace);
    sample.span_id = id_of<oe::SpanId>(span);
    sample.stack = stack;
    sample.times_unix_ns = std::move(times);
    made.samples.push_back(std::move(sample));
}

json data_of(const std::string& html) {
    const std::string opening = "id=\"data\">";
    const std::size_t begin = html.find(opening) + opening.size();
    return json::parse(html.substr(begin, html.find("</script>", begin) - begin));
}

json data_of(const profile::Profile& made, const std::vector<profile::SpanRecord>& spans,
             const profile::ReportOptions& options = {}) {
    return data_of(profile::to_report_html(made, spans, options));
}

std::size_t count(const std::string& text, std::string_view what) {
    std::size_t found = 0;
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
    return found;
}

using Numbers = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("report page: nothing was recorded") {
    const json data = data_of(profile::Profile{}, {});
    CHECK(data["spans"]["id"].empty());
    CHECK(data["samples"]["times"].empty());
    CHECK(data["title"] == "");
}

TEST_CASE("report page: spans come as trees, parents first, siblings and traces by start") {
    const std::uint64_t t = begin_ns;
    const json data = data_of(empty_profile(), {record(2, 9, 0, t + 50, t + 60),           // the later trace
                                                record(1, 3, 1, t + 30, t + 35), record(1, 4, 2, t + 12, t + 14),
                                                record(1, 2, 1, t + 10, t + 20), record(1, 1, 0, t, t + 40)});
    CHECK(data["traces"] == json({id_of<oe::TraceId>(1).to_hex(), id_of<oe::TraceId>(2).to_hex()}));
    std::vector<std::string> ids;
    for (const int id : {1, 2, 4, 3, 9}) ids.push_back(id_of<oe::SpanId>(id).to_hex());
    CHECK(data["spans"]["id"] == json(ids));
    CHECK(data["spans"]["depth"] == json(Numbers{0, 1, 2, 1, 0}));
    CHECK(data["spans"]["trace"] == json(Numbers{0, 0, 0, 0, 1}));
    CHECK(data["spans"]["start"] == json(Numbers{0, 10, 12, 30, 50}));
    CHECK(data["spans"]["duration"] == json(Numbers{40, 10, 2, 5, 10}));
}

TEST_CASE("report page: parents that are missing, remote or in a circle") {
    std::vector<profile::SpanRecord> spans{record(1, 1, 77, begin_ns, begin_ns + 9),
                                           record(2, 2, 78, begin_ns + 1, begin_ns + 9),
                                           record(3, 5, 6, begin_ns + 2, begin_ns + 9),
                                           record(3, 6, 5, begin_ns + 2, begin_ns + 9),
                                           record(4, 7, 7, begin_ns + 3, begin_ns + 9)};
    spans[1].parent_is_remote = true;
    const json data = data_of(empty_profile(), spans);
    REQUIRE(data["spans"]["id"].size() == 5);
    CHECK(data["spans"]["flags"][0] == 2);
    CHECK(data["spans"]["flags"][1] == 4);
    CHECK(data["spans"]["parent"][1] == id_of<oe::SpanId>(78).to_hex());
    CHECK(data["spans"]["depth"][2] == 0);
    CHECK(data["spans"]["depth"][4] == 0);
}

TEST_CASE("report page: 10,000 spans, each the child of the one before") {
    std::vector<profile::SpanRecord> spans;
    for (std::uint64_t i = 1; i <= 10'000; ++i)
        spans.push_back(record(1, i, i - 1, begin_ns + i, begin_ns + 90'000 - i));
    const json data = data_of(empty_profile(), spans);
    CHECK(data["spans"]["depth"].back() == 9'999);
    CHECK(data["traces"].size() == 1);
}

TEST_CASE("report page: samples are at their spans; what nobody exported has a place of its own") {
    profile::Profile made = empty_profile();
    add_samples(made, 1, 1, 0, {begin_ns + 20'000'000, begin_ns + 30'000'000});
    add_samples(made, 0, 0, 0, {begin_ns + 5'000'000});
    add_samples(made, 1, 8, 0, {begin_ns + 60'000'000, begin_ns + 40'000'000});
    add_samples(made, 6, 6, 0, {begin_ns + 70'000'000});
    add_samples(made, 7, 7, 0, {});
    const json data = data_of(made, {record(1, 1, 0, begin_ns, begin_ns + 90'000'000)});
    CHECK(data["samples_linked"] == 2);
    CHECK(data["samples_outside"] == 1);
    CHECK(data["samples_dangling"] == 3);
    CHECK(data["spans"]["flags"] == json(Numbers{0, 1, 1}));
    CHECK(data["traces"].size() == 2);
    CHECK(data["samples"]["span"] == json(Numbers{0, -1, 1, 2}));
    CHECK(data["samples"]["count"] == json(Numbers{2, 1, 2, 1}));
    // Distances in microseconds.
    CHECK(data["samples"]["times"] == json(Numbers{20'000, 10'000, -25'000, 55'000, -20'000, 30'000}));
    // From the period before its first sample to its last.
    CHECK(data["spans"]["start"][1] == 30'000'000);
    CHECK(data["spans"]["duration"][1] == 30'000'000);
}

TEST_CASE("report page: stacks are one tree of functions") {
    profile::Profile made = empty_profile();
    const auto location = [&made](const std::string& function, std::uint64_t address, bool is_kernel = false) {
        made.locations.push_back({0, address, function, "a.go", 3, is_kernel});
        return static_cast<std::uint32_t>(made.locations.size() - 1);
    };
    const auto main_a = location("main.main", 1), main_b = location("main.main", 2), leaf = location("main.leaf", 3);
    const auto runtime = location("runtime.mallocgc", 4), kernel = location("do_syscall_64", 5, true);
    made.stacks.push_back({leaf, main_a});
    made.stacks.push_back({runtime, main_b});
    made.stacks.push_back({kernel, runtime, main_a});
    made.stacks.push_back({99'999});  // no such location
    for (std::uint32_t stack = 0; stack < 7; ++stack) add_samples(made, 0, 0, stack, {begin_ns + 1});
    const json data = data_of(made, {});
    CHECK(data["nodes"]["parent"] == json(Numbers{-1, 0, 0, 2, -1}));
    // Stack 0 is "none", stack 6 does not exist, locations 1 and 2 are one function.
    CHECK(data["samples"]["node"] == json(Numbers{-1, 1, 2, 3, 4, -1, -1}));
    CHECK(data["frames"]["kind"] == json(Numbers{0, 0, 1, 2, 3}));
    CHECK(data["strings"][data["frames"]["function"][1].get<std::size_t>()] == "main.leaf");
}

TEST_CASE("report page: names of any bytes neither leave the data nor change the page") {
    const std::string hostile = "</script><script>alert(1)</script><!-- \" \\ \x1b[31m \xff \u202e x";
    auto span = record(1, 1, 0, begin_ns, begin_ns + 10);
    span.name = hostile;
    span.attributes = {{hostile, hostile}, {"number", std::int64_t{-7}}, {"yes", true}, {"half", 0.5}};
    profile::Profile made = empty_profile();
    made.processes[0].name = hostile;
    made.processes[0].resource = {};
    made.locations.push_back({0, 1, hostile, hostile, 1, false});
    made.stacks.push_back({1});
    add_samples(made, 1, 1, 1, {begin_ns + 1});
    profile::ReportOptions options;
    options.notes = {hostile};
    const std::string html = profile::to_report_html(made, std::vector{span}, options);
    CHECK(count(html, "<script") == 2);
    CHECK(count(html, "</script") == 2);
    CHECK(count(html, "<!--") == 0);
    CHECK(html.find('\x1b') == std::string::npos);
    const json data = data_of(html);
    const std::string shown = "</script><script>alert(1)</script><!-- \" \\ \\x1b[31m \ufffd \ufffd x";
    CHECK(data["strings"][data["spans"]["name"][0].get<std::size_t>()] == shown);
    CHECK(data["notes"][0] == shown);
    CHECK(data["title"] == shown);
    std::vector<std::string> set;
    for (const json& text : data["attribute_sets"][0]) set.push_back(data["strings"][text.get<std::size_t>()]);
    CHECK(set == std::vector<std::string>{shown, shown, "number", "-7", "yes", "true", "half", "0.5"});
}

TEST_CASE("report page: a text and a set of attributes is held once") {
    std::vector<profile::SpanRecord> spans;
    for (std::uint64_t i = 1; i <= 100; ++i) {
        spans.push_back(record(i, i, 0, begin_ns + i, begin_ns + i + 5));
        spans.back().name = "GET /only-once";
        spans.back().attributes = {{"http.request.method", "GET"}};
    }
    const std::string html = profile::to_report_html(empty_profile(), spans);
    CHECK(count(html, "GET /only-once") == 1);
    CHECK(data_of(html)["attribute_sets"].size() == 1);
}

TEST_CASE("report page: the page fetches nothing") {
    const std::string html = profile::to_report_html(empty_profile(), {});
    CHECK(html.find("default-src 'none'") != std::string::npos);
    CHECK(count(html, "src=") == 0);
    CHECK(count(html, "url(") == 0);
    CHECK(count(html, "@import") == 0);
    CHECK(count(html, "http://") == 1);  // the namespace of SVG
}

TEST_CASE("span log: keeps what a batch holds, and counts what does not fit") {
    const oe::Resource resource{{{"service.name", std::string("bank")}, {"process.pid", std::int64_t{77}}}};
    oe::TextArena arena;
    std::vector<oe::Span> spans(3, oe::Span(arena));
    for (std::uint64_t i = 0; i < 3; ++i) {
        spans[i].context = {id_of<oe::TraceId>(1), id_of<oe::SpanId>(i + 1), 1};
        spans[i].name = arena.copy("settle");
        spans[i].set("ledger.amount", std::int64_t{5});
        spans[i].set("ledger.account", arena.copy("alice"));
    }
    profile::SpanLog log({.spans = 2});
    log.write({resource, spans});
    arena.clear();
    REQUIRE(log.spans().size() == 2);
    CHECK(log.stats().spans_written == 2);
    CHECK(log.stats().spans_dropped == 1);
    const profile::SpanRecord& kept = log.spans()[1];
    CHECK(kept.name == "settle");
    CHECK(kept.service == "bank");
    CHECK(kept.tgid == 77);
    CHECK(kept.span_id == id_of<oe::SpanId>(2));
    REQUIRE(kept.attributes.size() == 2);
    CHECK(std::get<std::int64_t>(kept.attributes[0].second) == 5);
    CHECK(std::get<std::string>(kept.attributes[1].second) == "alice");

    profile::SpanLog small({.text_bytes = 60});
    small.write({resource, spans});
    CHECK(small.spans().size() == 1);
    CHECK(small.stats().spans_dropped == 2);
}
