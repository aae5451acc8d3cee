// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Records of thread contexts (OTEP 4947): the vector, damage, and what a publishing thread shows.
#include "test.hpp"

#include <array>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include <otel_ebpf/publish/thread_context.hpp>
#include <otel_ebpf/thread_context.hpp>

#include "elf_image.hpp"

OTEL_EBPF_DEFINE_THREAD_CONTEXT

namespace {

namespace oe = otel_ebpf;
using oe::publish::ThreadPause;
using oe::publish::ThreadScope;

constexpr auto trace_id = *oe::TraceId::from_hex("0af7651916cd43dd8448eb211c80319c");
constexpr auto span_id = *oe::SpanId::from_hex("b7ad6b7169203331");

std::string record_vector() {
    return read_file(std::string(OTEL_EBPF_SOURCE_DIR) + "/tests/vectors/thread_record.bin");
}

std::optional<oe::ThreadContext> decoded(std::string_view record) {
    const std::vector<char> exact(record.begin(), record.end());
    return oe::decode_thread_record(std::as_bytes(std::span(exact)));
}

}  // namespace

TEST_CASE("thread context: the record vector") {
    const auto context = decoded(record_vector());
    REQUIRE(context);
    CHECK(context->span == oe::SpanContext{trace_id, span_id, 3});
    CHECK(context->attributes == oe::ThreadAttributes{{0, "00f067aa0ba902b7"}, {1, "/orders/{id}/Zürich"}, {2, ""}});
    const std::vector<std::string> keys{"local_root_span_id", "http.route"};
    std::uint32_t unknown = 0;
    const auto named = oe::named_attributes(context->attributes, keys, unknown);
    CHECK(named == std::vector<std::pair<std::string, std::string>>{{"local_root_span_id", "00f067aa0ba902b7"},
                                                                    {"http.route", "/orders/{id}/Zürich"}});
    CHECK(unknown == 1);
}

TEST_CASE("thread context: only valid == 1 is valid, and ids come in pairs") {
    std::string record = record_vector();
    for (int valid = 0; valid < 256; ++valid) {
        record[24] = static_cast<char>(valid);
        CHECK(decoded(record).has_value() == (valid == 1));
    }
    record[24] = 1;
    for (const auto& [at, size] : {std::pair{0, 16}, {16, 8}}) {
        std::string half = record;
        std::fill_n(half.begin() + at, size, '\0');
        const auto context = decoded(half);
        REQUIRE(context);
        CHECK(context->span == oe::SpanContext{});
        CHECK(context->attributes.size() == 3);
    }
    for (std::size_t size = 0; size < 28; ++size) CHECK_FALSE(decoded(record.substr(0, size)));
}

TEST_CASE("thread context: an incomplete attribute ends them, a later one replaces an earlier") {
    const std::string record = record_vector();
    // Cut behind the header: whole attributes stay.
    CHECK(decoded(record.substr(0, 28))->attributes.empty());
    CHECK(decoded(record.substr(0, 28 + 17))->attributes.empty());
    CHECK(decoded(record.substr(0, 28 + 18))->attributes.size() == 1);
    CHECK(decoded(record.substr(0, record.size() - 1))->attributes.size() == 2);
    // The record's size counts, not what lies behind.
    CHECK(decoded(record + "\x07\x01x")->attributes.size() == 3);
    const auto bytes = [](std::string_view text) { return oe::decode_thread_attributes(as_bytes(text)); };
    CHECK(bytes({"\x05\x01" "a" "\x06\x00" "\x05\x02" "bc", 9}) == oe::ThreadAttributes{{5, "bc"}, {6, ""}});
    CHECK(bytes({"\x05\x02" "a", 3}).empty());
    CHECK(bytes({"\x05", 1}).empty());
}

TEST_CASE("thread context: what a scope shows is the vector, byte by byte") {
    REQUIRE(otel_thread_ctx_v1 == nullptr);
    const std::string expected = record_vector();
    {
        ThreadScope scope(trace_id.bytes, span_id.bytes, 3);
        CHECK(scope.add(0, "00f067aa0ba902b7"));
        CHECK(scope.add(1, "/orders/{id}/Zürich"));
        CHECK(scope.add(2, ""));
        REQUIRE(otel_thread_ctx_v1 != nullptr);
        CHECK(reinterpret_cast<std::uintptr_t>(otel_thread_ctx_v1) % 2 == 0);
        CHECK(std::memcmp(otel_thread_ctx_v1, expected.data(), expected.size()) == 0);
        scope.set_flags(2);
        CHECK(decoded({reinterpret_cast<const char*>(otel_thread_ctx_v1), expected.size()})->span.flags == 2);
    }
    CHECK(otel_thread_ctx_v1 == nullptr);
}

TEST_CASE("thread context: scopes nest, a pause shows nothing, threads are apart") {
    const std::array<std::uint8_t, 8> outer{1}, inner{2};
    const ThreadScope request(trace_id.bytes, outer, 1);
    const auto* const shown = otel_thread_ctx_v1;
    CHECK(shown->span_id == outer);
    {
        const ThreadScope function(trace_id.bytes, inner, 1);
        CHECK(otel_thread_ctx_v1->span_id == inner);
        {
            const ThreadPause pause;
            CHECK(otel_thread_ctx_v1 == nullptr);
        }
        CHECK(otel_thread_ctx_v1->span_id == inner);
        bool is_empty = false;
        std::thread([&is_empty] { is_empty = otel_thread_ctx_v1 == nullptr; }).join();
        CHECK(is_empty);
    }
    CHECK(otel_thread_ctx_v1 == shown);
}

TEST_CASE("thread context: attributes that don't fit are refused whole") {
    ThreadScope scope(trace_id.bytes, span_id.bytes, 1);
    CHECK_FALSE(scope.add(0, std::string(256, 'x')));
    CHECK(scope.add(0, std::string(255, 'x')));
    CHECK(scope.add(1, std::string(255, 'y')));
    CHECK_FALSE(scope.add(2, std::string(97, 'z')));
    CHECK(scope.add(2, std::string(96, 'z')));
    CHECK_FALSE(scope.add(3, ""));
    CHECK(otel_thread_ctx_v1->attribute_bytes == 612);
    CHECK(decoded({reinterpret_cast<const char*>(otel_thread_ctx_v1), sizeof(*otel_thread_ctx_v1)})->attributes.size() == 3);
}
