// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Spans for people: trees, lines, and the Console sink.
#include "test.hpp"

#include <unistd.h>

#include <random>
#include <string>
#include <vector>

#include <otel_ebpf/export/console.hpp>
#include <otel_ebpf/export/trace_tree.hpp>

namespace oe = otel_ebpf;
using namespace std::chrono_literals;

namespace {

using Names = std::vector<std::string>;
using Trees = oe::TraceTrees<std::string>;

oe::SpanId span_id(std::uint8_t number) {
    oe::SpanId id;
    id.bytes[7] = number;
    return id;
}

struct Family {
    oe::TextArena arena;
    oe::TraceId trace = oe::random_trace_id();

    oe::Span span(std::uint8_t id, std::uint8_t parent, std::uint64_t start_ms = 0, bool parent_is_remote = false) {
        oe::Span made(arena);
        made.context = {trace, span_id(id), 1};
        made.parent = span_id(parent);
        made.parent_is_remote = parent_is_remote;
        made.start_unix_ns = 1'700'000'000'000'000'000 + start_ms * 1'000'000;
        made.end_unix_ns = made.start_unix_ns + 1'234'000;
        made.name = "span";
        return made;
    }
};

// "PAYLOAD@DEPTH" per node, trees separated by "|".
Names take(Trees& trees, Trees::Clock::time_point now) {
    Names names;
    trees.take_due(now, [&names](auto tree) {
        for (const auto& node : tree) names.push_back(node.payload + "@" + std::to_string(node.depth));
        names.push_back("|");
    });
    return names;
}

std::string printed_by(const std::vector<oe::Span>& spans, oe::ConsoleOptions options,
                       const oe::Resource& resource = {{{"service.name", "front"}}}) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const oe::Fd reader(ends[0]);
    {
        oe::Console console(oe::detail::Output(oe::Fd(ends[1]), "a pipe"), options);
        console.write({resource, spans});
        CHECK(console.flush(1s));
        CHECK(console.stats().spans_written == spans.size());
    }
    std::string text;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(reader.get(), buffer, sizeof buffer)) > 0;) {
        text.append(buffer, static_cast<std::size_t>(got));
    }
    return text;
}

}  // namespace

TEST_CASE("trace_tree: children that came first are put under their parents, by start time") {
    Family family;
    Trees trees;
    const auto now = Trees::Clock::now();
    trees.add(family.span(4, 2, 3), "grandchild", now);
    trees.add(family.span(3, 1, 5), "second", now);
    trees.add(family.span(2, 1, 1), "first", now);
    CHECK(take(trees, now + 500ms).empty());
    trees.add(family.span(1, 0, 0), "root", now + 500ms);
    CHECK(take(trees, now + 600ms) == Names{"root@0", "first@1", "grandchild@2", "second@1", "|"});
    CHECK(trees.held() == 0);
}

TEST_CASE("trace_tree: a remote parent waits for a while, a missing one longer") {
    Family entry;
    Family orphan;
    Trees trees;
    const auto now = Trees::Clock::now();
    trees.add(entry.span(2, 9, 0, true), "entry", now);
    trees.add(orphan.span(2, 9), "orphan", now);
    CHECK(take(trees, now + 100ms).empty());
    CHECK(take(trees, now + 300ms) == Names{"entry@0", "|"});
    CHECK(take(trees, now + 900ms).empty());
    CHECK(take(trees, now + 1100ms) == Names{"orphan@0", "|"});
}

TEST_CASE("trace_tree: memory is bounded") {
    Trees trees({.spans = 10, .spans_per_trace = 4});
    const auto now = Trees::Clock::now();
    for (int i = 0; i < 25; ++i) {
        Family family;
        trees.add(family.span(2, 1), std::to_string(i), now + std::chrono::milliseconds(i));
    }
    const Names names = take(trees, now);
    CHECK(trees.held() == 10);
    REQUIRE(names.size() == 30);
    CHECK(names.front() == "0@0");

    Family family;
    Trees long_ones({.spans_per_trace = 4});
    for (std::uint8_t id = 2; id < 6; ++id) long_ones.add(family.span(id, 1), "s", now);
    CHECK(take(long_ones, now).size() == 5);
}

TEST_CASE("trace_tree: circles and equal ids lose no span") {
    Family family;
    Trees trees;
    const auto now = Trees::Clock::now();
    trees.add(family.span(1, 2), "a", now);
    trees.add(family.span(2, 1), "b", now);
    trees.add(family.span(2, 1), "c", now);
    trees.add(family.span(3, 3), "self", now);
    trees.add(family.span(4, 2), "d", now);
    std::size_t count = 0;
    trees.take_all([&count](auto tree) { count += tree.size(); });
    CHECK(count == 5);

    std::mt19937 random(3);
    for (int round = 0; round < 200; ++round) {
        const std::size_t size = 1 + random() % 30;
        const auto any_id = [&random] { return static_cast<std::uint8_t>(random() % 12); };
        for (std::size_t i = 0; i < size; ++i) trees.add(family.span(any_id(), any_id()), "x", now);
        count = 0;
        trees.take_all([&count](auto tree) { count += tree.size(); });
        REQUIRE(count == size);
    }
}

TEST_CASE("console: a tree in plain lines") {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
    Family family;
    family.trace = *oe::TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736");
    std::vector<oe::Span> spans = {family.span(4, 2, 2), family.span(2, 1, 1), family.span(3, 1, 7), family.span(1, 0)};
    spans[0].name = "tax";
    spans[1].name = "price";
    spans[1].set("item", "apple");
    spans[2].name = "GET /stock/{item}";
    spans[2].kind = oe::SpanKind::client;
    spans[2].status = oe::StatusCode::error;
    spans[2].set("http.response.status_code", std::int64_t{503});
    spans[2].set("error.type", "503");
    spans[2].set("peer", "stock");
    spans[3].name = "GET /buy";
    spans[3].kind = oe::SpanKind::server;
    spans[3].end_unix_ns = spans[3].start_unix_ns + 12'345'678;
    spans[3].set("http.response.status_code", std::int64_t{200});
    spans[3].set("url.path", "/buy");
    spans[3].set("url.query", "item=7");
    spans[3].set("server.address", "shop");
    CHECK("\n" + printed_by(spans, {}) == R"(
22:13:20.000  4bf92f35   12.3 ms  front        server    GET /buy                                  200  url.query=item=7
22:13:20.001  4bf92f35   1.23 ms  front        internal  ├─ price                                  item=apple
22:13:20.002  4bf92f35   1.23 ms  front        internal  │  └─ tax
22:13:20.007  4bf92f35   1.23 ms  front        client    └─ GET /stock/{item}                      503  peer=stock
)");
    const std::string colored = printed_by(spans, {.colors = true});
    CHECK(colored.find("\x1b[31m503") != std::string::npos);
    CHECK(colored.find("\x1b[32m200") != std::string::npos);
    CHECK(printed_by(spans, {.all_attributes = true}).find("server.address=shop") != std::string::npos);
    ::unsetenv("TZ");
    ::tzset();
}

TEST_CASE("console: hostile text cannot reach the terminal") {
    std::mt19937 random(11);
    Family family;
    const auto bytes = [&] {
        std::string text(random() % 300, '\0');
        for (char& c : text) c = static_cast<char>(random());
        return family.arena.copy(text);
    };
    for (int round = 0; round < 100; ++round) {
        std::vector<oe::Span> spans = {family.span(1, 0)};
        spans[0].name = bytes();
        spans[0].status_message = bytes();
        for (int i = 0; i < 4; ++i) spans[0].set(bytes(), bytes());
        spans[0].set("http.response.status_code", bytes());
        std::string text = printed_by(spans, {.all_attributes = true}, {{{"service.name", std::string(bytes())}}});
        REQUIRE(text.ends_with('\n'));
        text.pop_back();
        for (std::string_view rest = text; !rest.empty();) {
            const auto character = oe::detail::decode_utf8(rest);
            REQUIRE(character.length > 0);
            REQUIRE_FALSE(oe::detail::is_control(character.value));
            rest.remove_prefix(character.length);
        }
    }
}

TEST_CASE("console: durations keep three digits") {
    CHECK(oe::detail::duration_text(0) == "0 ns");
    CHECK(oe::detail::duration_text(999) == "999 ns");
    CHECK(oe::detail::duration_text(1000) == "1.00 µs");
    CHECK(oe::detail::duration_text(12'345) == "12.3 µs");
    CHECK(oe::detail::duration_text(999'999) == "999 µs");
    CHECK(oe::detail::duration_text(1'000'000) == "1.00 ms");
    CHECK(oe::detail::duration_text(2'050'000'000) == "2.05 s");
    CHECK(oe::detail::duration_text(7'200'000'000'000) == "7200 s");
}

TEST_CASE("console: long text is cut between characters") {
    std::string out;
    oe::detail::append_short_text(out, "caf\xc3\xa9s", 4);
    CHECK(out == "caf…");
    out.clear();
    oe::detail::append_short_text(out, "caf\xc3\xa9", 5);
    CHECK(out == "caf\xc3\xa9");
}
