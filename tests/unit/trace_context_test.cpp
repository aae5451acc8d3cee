// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
#include "test.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <unordered_set>
#include <vector>

#include <otel_ebpf/trace_context.hpp>

namespace {
std::vector<std::uint32_t> random_words; // what the shim below gives, first to last; zeros when used up
std::uint32_t next_random_word() {
    if (random_words.empty()) return 0;
    const std::uint32_t word = random_words.front();
    random_words.erase(random_words.begin());
    return word;
}
}  // namespace
#define OE_PRANDOM_U32() next_random_word()
#include <otel_ebpf/traceparent.bpf.h>

#include "../vectors/traceparent.h"

using namespace otel_ebpf;

namespace {

constexpr std::string_view w3c_example = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

constexpr bool refused(std::string_view text, TraceparentError error) {
    const auto context = parse_traceparent(text);
    return !context && context.error() == error;
}

constexpr bool round_trips(std::string_view text) {
    const auto context = parse_traceparent(text);
    if (!context) return false;
    const auto written = format_traceparent(*context);
    return std::string_view(written.data(), written.size()) == text;
}

static_assert(round_trips(w3c_example));
static_assert(round_trips("00-ffffffffffffffffffffffffffffffff-0000000000000001-03"));
static_assert((*parse_traceparent(w3c_example)).sampled());
static_assert((*parse_traceparent(w3c_example)).trace_id == *TraceId::from_hex("0af7651916cd43dd8448eb211c80319c"));
static_assert((*parse_traceparent("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-x")).flags == 3);
static_assert(refused("", TraceparentError::length));
static_assert(refused("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", TraceparentError::version));
static_assert(refused("00-00000000000000000000000000000000-b7ad6b7169203331-01", TraceparentError::zero_trace_id));
static_assert(refused("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", TraceparentError::zero_span_id));

static_assert(TraceId{}.is_zero() && SpanId{}.is_zero() && !SpanContext{}.is_valid() && !SpanContext{}.sampled());
static_assert(*SpanId::from_hex("00000000000000ff") < *SpanId::from_hex("0000000000000100"));
static_assert(!SpanId::from_hex("B7AD6B7169203331") && !SpanId::from_hex("b7ad6b716920333"));
static_assert(to_span_context(to_trace_ctx(*parse_traceparent(w3c_example))) == *parse_traceparent(w3c_example));
static_assert(to_span_context(to_traces_ctx_v1(*parse_traceparent(w3c_example))).flags == 0);

static_assert(trace_flags_known == OE_TRACE_FLAGS_KNOWN && trace_flag_sampled == OE_TRACE_FLAG_SAMPLED);
static_assert(traceparent_length == OE_TRACEPARENT_LEN);

static_assert(*TraceState::check("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE") == 2);

constexpr auto problem_of(std::string_view tracestate) { return TraceState::check(tracestate).error(); }

oe_trace_ctx expected_context(std::uint8_t flags) {
    return to_trace_ctx({TraceId::from_bytes(traceparent_vector_trace_id),
                         SpanId::from_bytes(traceparent_vector_span_id), flags});
}

// Through a heap block of exactly the bytes that may be read, so that ASan sees any other.
std::pair<int, oe_trace_ctx> parse_in_bpf_c(std::string_view text) {
    const std::string_view readable = text.substr(0, OE_TRACEPARENT_BUF);
    const std::vector<char> head(readable.begin(), readable.end());
    oe_trace_ctx context;
    std::memset(&context, 0xee, sizeof context);
    const int err = oe_traceparent_parse(&context, head.data(), static_cast<__u32>(text.size()));
    return {err, context};
}

bool same(const oe_trace_ctx& a, const oe_trace_ctx& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

std::string members(std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) text += (i == 0 ? "k" : ",k") + std::to_string(i) + "=v";
    return text;
}

}  // namespace

TEST_CASE("trace_context: every traceparent vector, in C++ and in host-compiled BPF C") {
    for (const traceparent_vector& vector : traceparent_vectors) {
        INFO(vector.what);
        const std::string_view text(vector.text, vector.size_bytes);
        const auto parsed = parse_traceparent(text);
        const auto [err, context] = parse_in_bpf_c(text);
        if (vector.error == nullptr) {
            REQUIRE(parsed.has_value());
            CHECK(same(to_trace_ctx(*parsed), expected_context(vector.flags)));
            CHECK(err == 0);
            CHECK(same(context, expected_context(vector.flags)));
        } else {
            REQUIRE_FALSE(parsed.has_value());
            CHECK(to_string(parsed.error()) == vector.error);
            CHECK(err == -EINVAL);
            CHECK(same(context, oe_trace_ctx{}));
        }
    }
}

TEST_CASE("trace_context: each single byte of a traceparent, in C++ and in host-compiled BPF C") {
    for (const std::string_view suffix : {"", "-x"}) {
        for (std::size_t at = 0; at < traceparent_length + suffix.size(); ++at) {
            for (int byte = 0; byte < 256; ++byte) {
                std::string text = std::string(suffix.empty() ? "00" : "cc") + std::string(w3c_example.substr(2));
                text += suffix;
                text[at] = static_cast<char>(byte);
                const auto parsed = parse_traceparent(text);
                const auto [err, context] = parse_in_bpf_c(text);
                const oe_trace_ctx expected = parsed ? to_trace_ctx(*parsed) : oe_trace_ctx{};
                if (parsed.has_value() != (err == 0) || !same(context, expected)) {
                    FAIL("byte " << byte << " at " << at << " of " << text);
                }
            }
        }
    }
}

TEST_CASE("trace_context: traceparent is written with known flags only") {
    for (const auto& vector : traceparent_written) {
        const oe_trace_ctx context = expected_context(vector.flags);
        const auto written = format_traceparent(to_span_context(context));
        CHECK(std::string_view(written.data(), written.size()) == vector.text);
        std::array<char, OE_TRACEPARENT_LEN> in_bpf_c{};
        oe_traceparent_write(in_bpf_c.data(), &context);
        CHECK(in_bpf_c == written);
    }
}

TEST_CASE("trace_context: ids keep their bytes through text and through the structs of BPF") {
    const SpanContext context{*TraceId::from_hex("000102030405060708090a0b0c0d0e0f"),
                              *SpanId::from_hex("f0e1d2c3b4a59687"), 0xff};
    CHECK(context.trace_id.to_hex() == "000102030405060708090a0b0c0d0e0f");
    std::array<char, SpanId::hex_length> text{};
    context.span_id.to_hex(text);
    CHECK(std::string_view(text.data(), text.size()) == "f0e1d2c3b4a59687");

    const oe_trace_ctx in_bpf = to_trace_ctx(context);
    for (std::uint8_t i = 0; i < 16; ++i) CHECK(in_bpf.trace_id[i] == i);
    CHECK(in_bpf.span_id[0] == 0xf0);
    CHECK(in_bpf.span_id[7] == 0x87);
    CHECK(in_bpf.flags == 0xff);
    CHECK(to_span_context(in_bpf) == context);

    const oe_traces_ctx_v1 published = to_traces_ctx_v1(context);
    CHECK(std::memcmp(&published, &in_bpf, sizeof published) == 0);
}

TEST_CASE("trace_context: hashes of ids that differ in one bit differ") {
    std::unordered_set<std::size_t> hashes;
    for (std::size_t bit = 0; bit < 128; ++bit) {
        TraceId id{};
        id.bytes[bit / 8] = static_cast<std::uint8_t>(1U << bit % 8);
        hashes.insert(std::hash<TraceId>{}(id));
    }
    CHECK(hashes.size() == 128);
    CHECK(std::unordered_set<SpanId>{SpanId{}, SpanId{}}.size() == 1);
}

TEST_CASE("trace_context: tracestate is kept byte for byte") {
    const std::array<std::string, 10> valid{
        "foo=1",
        "foo=1 \t , \t bar=2, \t baz=3",
        "\t foo=1 \t",
        "foo= leading spaces belong to the value",
        "foo=1,,bar=2, ,",
        "0digit=1,fw529a3039@dt=FfAAAAAA,a-_*/9@a-_*/9=!~ +-<>:;@[]{}|\"\\x",
        members(32),
        std::string(256, 'k') + "=" + std::string(256, 'v'),
        "long=" + std::string(250, 'a') + ",longer=" + std::string(256, 'b'),
        members(32) + ", ,",
    };
    for (const std::string& text : valid) {
        INFO(text);
        const auto state = TraceState::parse(text);
        REQUIRE(state.has_value());
        CHECK(state->text() == text);
        CHECK_FALSE(state->empty());
    }
    CHECK(TraceState::parse(members(32))->member_count() == 32);
    for (const char* nothing : {"", " ", ",", " ,\t,"}) CHECK(TraceState::parse(nothing)->empty());
    CHECK(TraceState().empty());
}

TEST_CASE("trace_context: an invalid tracestate is invalid as a whole") {
    for (const char* text : {"=1", "FOO=1", "foo =1", "foo.bar=1", "@foo=1", "_foo=1", "foo=1,B=2", "f\xc3\xb6=1"}) {
        INFO(text);
        CHECK(problem_of(text) == TraceStateError::key);
    }
    CHECK(problem_of(std::string(257, 'k') + "=1") == TraceStateError::key);
    for (const char* text :
         {"foo", "foo=", "foo= ", "foo=bar=baz", "foo=,bar=3", "foo=a\tb", "foo=\x7f", "foo=\xc3\xb6"}) {
        INFO(text);
        CHECK(problem_of(text) == TraceStateError::value);
    }
    CHECK(problem_of("foo=" + std::string(257, 'v')) == TraceStateError::value);
    CHECK(problem_of(std::string_view("foo=\0", 5)) == TraceStateError::value);
    CHECK(problem_of("foo=1,foo=1") == TraceStateError::duplicate_key);
    CHECK(problem_of("foo=1,bar=3, foo=2") == TraceStateError::duplicate_key);
    CHECK(problem_of(members(33)) == TraceStateError::too_many);
    CHECK(problem_of(std::string(TraceState::max_bytes + 1, ' ')) == TraceStateError::too_long);
    CHECK(TraceState::check(std::string(TraceState::max_bytes, ' ')).has_value());
}

TEST_CASE("trace_context: the longest legal tracestate without whitespace is kept") {
    std::string text;
    for (char a = 'a'; a <= 'p'; ++a) {
        for (char b = 'a'; b <= 'b'; ++b) {
            text += (text.empty() ? "" : ",") + std::string{a, b} + std::string(254, 'k') + "=" + std::string(256, 'v');
        }
    }
    CHECK(text.size() == TraceState::max_bytes);
    CHECK(TraceState::parse(text)->member_count() == 32);
}

TEST_CASE("trace_context: random ids differ between threads and are never zero") {
    constexpr std::size_t per_thread = 20'000;
    std::mutex mutex;
    std::unordered_set<TraceId> trace_ids;
    std::unordered_set<SpanId> span_ids;
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([&] {
                std::vector<SpanContext> mine;
                for (std::size_t n = 0; n < per_thread; ++n) mine.push_back({random_trace_id(), random_span_id(), 0});
                const std::lock_guard lock(mutex);
                for (const SpanContext& context : mine) {
                    trace_ids.insert(context.trace_id);
                    span_ids.insert(context.span_id);
                }
            });
        }
    }
    CHECK(trace_ids.size() == 4 * per_thread);
    CHECK(span_ids.size() == 4 * per_thread);
    CHECK_FALSE(trace_ids.contains(TraceId{}));
    CHECK_FALSE(span_ids.contains(SpanId{}));
}

TEST_CASE("trace_context: a forked child does not repeat its parent's ids") {
    (void)random_span_id(); // so that the parent's buffer holds bytes that both could use
    int pipe_fds[2];
    REQUIRE(pipe(pipe_fds) == 0);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        const TraceId id = random_trace_id();
        const bool sent = write(pipe_fds[1], id.bytes.data(), id.bytes.size()) == static_cast<ssize_t>(id.bytes.size());
        _exit(sent ? 0 : 1);
    }
    const TraceId mine = random_trace_id();
    TraceId theirs;
    CHECK(read(pipe_fds[0], theirs.bytes.data(), theirs.bytes.size()) == static_cast<ssize_t>(theirs.bytes.size()));
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    CHECK(mine != theirs);
}

TEST_CASE("trace_context: without getrandom(2) ids still differ") {
    std::set<std::array<std::uint8_t, 16>> ids;
    for (int i = 0; i < 1000; ++i) {
        std::array<std::uint8_t, 16> id{};
        detail::fill_from_clock(id);
        ids.insert(id);
    }
    CHECK(ids.size() == 1000);
}

TEST_CASE("trace_context: ids made by BPF C take all random bytes and are never zero") {
    __u8 id[16];
    random_words = {0x01010101, 0x02020202, 0x03030303, 0x04040404};
    oe_random_id16(id);
    for (std::size_t i = 0; i < sizeof id; ++i) CHECK(id[i] == 1 + i / 4);
    random_words = {0x05050505, 0x06060606};
    oe_random_id8(id);
    for (std::size_t i = 0; i < 8; ++i) CHECK(id[i] == 5 + i / 4);

    random_words.clear();
    oe_random_id16(id);
    CHECK_FALSE(TraceId::from_bytes(id).is_zero());
    oe_random_id8(id);
    CHECK_FALSE(SpanId::from_bytes(std::span<const __u8, 8>(id, 8)).is_zero());
}
