// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// From records to batches of spans, and the clock between them.
#include <otel_ebpf/detail/span_reader.hpp>

#include <cstring>
#include <string>
#include <vector>

#include "../test.hpp"

namespace {

using namespace otel_ebpf;

constexpr std::uint16_t kind = OE_KIND_FIRST_PROBE;

struct Event {
    oe_span_event span;
    std::uint32_t number;
    std::uint32_t text_len;  // behind the struct
};

// Keeps what it is handed, as owned text.
struct Collector final : Sink {
    std::vector<std::string> spans;
    std::vector<std::size_t> batches;
    std::vector<Span> last;

    void write(const SpanBatch& batch) override {
        batches.push_back(batch.spans.size());
        for (const Span& span : batch.spans) {
            spans.push_back(std::string(std::get<std::string>(batch.resource.attributes.at(0).second)) + ":" +
                            std::string(span.name));
            last.assign({span});
        }
    }
};

struct Reader {
    std::shared_ptr<Collector> sink = std::make_shared<Collector>();
    std::vector<std::pair<std::uint32_t, std::uint32_t>> asked;
    ProbeSpec spec;
    Stats stats;
    detail::SpanReader reader{sink, [this](std::uint32_t tgid, std::uint32_t generation) {
                                  asked.emplace_back(tgid, generation);
                                  return tgid == 99 ? nullptr : process(tgid, generation, "joined");
                              }};

    Reader() {
        spec.name = "test";
        spec.scope = "test/scope";
        spec.kind = SpanKind::server;
        spec.event_bytes = sizeof(Event);
        spec.to_span = [](std::span<const std::byte> record, const ProcessInfo&, Span& span) {
            const auto& event = *reinterpret_cast<const Event*>(record.data());
            span.name = {reinterpret_cast<const char*>(record.data()) + sizeof(Event), event.text_len};
            return event.number != 13;
        };
        reader.add_probe(kind, spec);
        reader.add_process(process(1, 1, "one"));
    }

    static std::unique_ptr<detail::ProcessSpans> process(std::uint32_t tgid, std::uint32_t generation,
                                                         std::string name) {
        auto spans = std::make_unique<detail::ProcessSpans>();
        spans->resource.attributes.emplace_back("service.name", std::move(name));
        spans->info.tgid = tgid;
        spans->info.generation = generation;
        return spans;
    }

    static std::vector<std::byte> record(const std::string& text, std::uint32_t tgid = 1, std::uint32_t generation = 1,
                                         std::uint32_t number = 0) {
        Event event{};
        event.span.header.kind = kind;
        event.span.header.size_bytes = static_cast<std::uint16_t>(sizeof(event) + text.size());
        event.span.header.tgid = tgid;
        event.span.header.generation = generation;
        event.number = number;
        event.text_len = static_cast<std::uint32_t>(text.size());
        std::vector<std::byte> bytes(event.span.header.size_bytes);
        std::memcpy(bytes.data(), &event, sizeof(event));
        std::memcpy(bytes.data() + sizeof(event), text.data(), text.size());
        return bytes;
    }

    // As the ring buffer hands it over: gone right after.
    void feed(std::vector<std::byte> bytes) {
        reader.on_span(bytes, stats);
        std::fill(bytes.begin(), bytes.end(), std::byte{0xee});
    }
    oe_span_event& header(std::vector<std::byte>& bytes) { return *reinterpret_cast<oe_span_event*>(bytes.data()); }
};

}  // namespace

TEST_CASE("span reader: texts outlive the record, batches are per process") {
    Reader test;
    test.reader.add_process(Reader::process(2, 5, "two"));
    test.feed(Reader::record("a"));
    test.feed(Reader::record("b", 2, 5));
    test.feed(Reader::record(std::string(900, 'c')));
    CHECK(test.sink->spans.empty());
    test.reader.flush();
    REQUIRE(test.sink->spans.size() == 3);
    CHECK(test.sink->batches.size() == 2);
    for (const std::string& expected : {std::string("one:a"), std::string("two:b"), "one:" + std::string(900, 'c')})
        CHECK(std::count(test.sink->spans.begin(), test.sink->spans.end(), expected) == 1);
    CHECK(test.stats.spans == 3);
    CHECK(test.stats.record_bytes == 3 * sizeof(Event) + 1 + 1 + 900);
    test.reader.flush();
    CHECK(test.sink->batches.size() == 2);  // nothing is handed on twice
}

TEST_CASE("span reader: ids, times, kind and scope") {
    Reader test;
    auto bytes = Reader::record("x");
    const std::uint64_t start = now_ns(CLOCK_MONOTONIC), wall = now_ns(CLOCK_REALTIME);
    oe_span_event& event = test.header(bytes);
    std::memset(event.trace_id, 0xaa, 16);
    std::memset(event.span_id, 0xbb, 8);
    std::memset(event.parent_id, 0xcc, 8);
    event.header.trace_flags = 1;
    event.header.span_flags = OE_SPAN_REMOTE_PARENT | OE_SPAN_ABANDONED;
    event.header.truncated = 5;
    event.start_ns = start;
    event.duration_ns = 1500;
    test.feed(bytes);
    test.reader.flush();
    REQUIRE(test.sink->last.size() == 1);
    const Span& span = test.sink->last[0];
    CHECK(span.context.trace_id == TraceId::from_bytes(event.trace_id));
    CHECK(span.context.span_id == SpanId::from_bytes(event.span_id));
    CHECK(span.parent == SpanId::from_bytes(event.parent_id));
    CHECK(span.context.flags == 1);
    CHECK(span.parent_is_remote);
    CHECK(span.kind == SpanKind::server);
    CHECK(span.duration().count() == 1500);
    CHECK(span.start_unix_ns - wall + 1'000'000 < 2'000'000);  // within a millisecond
    CHECK(span.get<std::int64_t>("otel_ebpf.truncated") == 5);
    CHECK(span.get<bool>("otel_ebpf.abandoned") == true);
    CHECK(test.stats.truncated_spans == 1);
}

TEST_CASE("span reader: records that are no spans are counted, each in its counter") {
    Reader test;
    auto unknown = Reader::record("x");
    test.header(unknown).header.kind = kind + 1;
    test.feed(unknown);
    test.header(unknown).header.kind = 0xffff;
    test.feed(unknown);
    CHECK(test.stats.unknown_kinds == 2);

    auto shorter = Reader::record("");
    shorter.resize(sizeof(Event) - 1);
    test.feed(shorter);
    auto says_less = Reader::record("text");
    test.header(says_less).header.size_bytes = sizeof(Event) - 1;
    test.feed(says_less);
    auto says_more = Reader::record("text");
    test.header(says_more).header.size_bytes += 1;
    test.feed(says_more);
    CHECK(test.stats.short_records == 3);

    test.feed(Reader::record("x", 1, 1, 13));
    test.feed(Reader::record("x", 99));
    CHECK(test.stats.refused_records == 2);
    test.reader.flush();
    CHECK(test.sink->spans.empty());
    CHECK(test.stats.spans == 0);
    CHECK(test.stats.dropped() == 7);
}

TEST_CASE("span reader: a process is known by tgid and generation") {
    Reader test;
    test.feed(Reader::record("a"));
    test.feed(Reader::record("b", 1, 2));  // the tgid came again
    test.feed(Reader::record("c", 1, 2));
    CHECK(test.asked == std::vector<std::pair<std::uint32_t, std::uint32_t>>{{1, 2}});
    test.reader.remove_process(1, 1);
    CHECK(test.sink->spans == std::vector<std::string>{"one:a"});  // flushed before it goes
    test.reader.remove_process(1, 1);
    test.reader.flush();
    CHECK(test.sink->spans.size() == 3);
    CHECK(std::count(test.sink->spans.begin(), test.sink->spans.end(), "joined:c") == 1);
}

TEST_CASE("span reader: a long burst reaches the sink in bounded batches") {
    Reader test;
    for (int i = 0; i < 1000; ++i) test.feed(Reader::record("x"));
    CHECK_FALSE(test.sink->spans.empty());
    test.reader.flush();
    CHECK(test.sink->spans.size() == 1000);
    for (const std::size_t size : test.sink->batches) CHECK(size <= 256);
}

TEST_CASE("span reader: without a sink, spans are counted") {
    Stats stats;
    Reader test;
    detail::SpanReader reader(
        nullptr, [](std::uint32_t tgid, std::uint32_t generation) { return Reader::process(tgid, generation, "x"); });
    reader.add_probe(kind, test.spec);
    for (int i = 0; i < 300; ++i) reader.on_span(Reader::record("x"), stats);
    reader.flush();
    CHECK(stats.spans == 300);
}

TEST_CASE("clock: monotonic times become Unix times, also after a refresh") {
    ClockOffset clock;
    for (int i = 0; i < 3; ++i) {
        const std::uint64_t monotonic = now_ns(CLOCK_MONOTONIC), unix_time = now_ns(CLOCK_REALTIME);
        CHECK(clock.to_unix_ns(monotonic) - unix_time + 1'000'000 < 2'000'000);
        clock.refresh();
    }
    CHECK(clock.to_unix_ns(1000) - clock.to_unix_ns(0) == 1000);
}
