// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Untrusted bytes as JSON and on a terminal.
#include "test.hpp"

#include <random>
#include <string>

#include <nlohmann/json.hpp>
#include <otel_ebpf/export/text.hpp>

namespace oe = otel_ebpf;

namespace {

std::string json_of(std::string_view bytes) {
    std::string out;
    oe::append_json_string(out, bytes);
    return out;
}

std::string terminal_of(std::string_view bytes) {
    std::string out;
    oe::append_terminal_text(out, bytes);
    return out;
}

// Valid UTF-8 without control characters.
bool is_safe(std::string_view text) {
    while (!text.empty()) {
        const auto character = oe::detail::decode_utf8(text);
        if (character.length == 0 || oe::detail::is_control(character.value)) return false;
        text.remove_prefix(character.length);
    }
    return true;
}

}  // namespace

TEST_CASE("text: JSON strings") {
    CHECK(json_of("") == R"("")");
    CHECK(json_of("GET /items/{id}") == R"("GET /items/{id}")");
    CHECK(json_of("a\"b\\c/") == R"("a\"b\\c/")");
    CHECK(json_of(std::string_view("\0\x1b\x7f\n", 4)) == R"("\u0000\u001b\u007f\u000a")");
    CHECK(json_of("\xc2\x9b"
                  "31m") == R"("\u009b31m")");
    CHECK(json_of("K\xc3\xb6ln \xe2\x82\xac \xf0\x9f\x98\x80") == "\"K\xc3\xb6ln \xe2\x82\xac \xf0\x9f\x98\x80\"");
}

TEST_CASE("text: what is not UTF-8 becomes U+FFFD, byte by byte") {
    const std::string fffd = "\xef\xbf\xbd";
    const auto repeat = [&fffd](int count) {
        std::string text;
        for (int i = 0; i < count; ++i) text += fffd;
        return text;
    };
    CHECK(terminal_of("\xff") == repeat(1));
    CHECK(terminal_of("a\x80z") == "a" + repeat(1) + "z");
    CHECK(terminal_of("\xc0\xaf") == repeat(2));  // overlong
    CHECK(terminal_of("\xe0\x80\xaf") == repeat(3));
    CHECK(terminal_of("\xf0\x80\x80\xaf") == repeat(4));
    CHECK(terminal_of("\xed\xa0\x80") == repeat(3));      // surrogate
    CHECK(terminal_of("\xf4\x90\x80\x80") == repeat(4));  // above U+10FFFF
    CHECK(terminal_of("\xf5\x80\x80\x80") == repeat(4));
    CHECK(terminal_of("\xe2\x82") == repeat(2));  // cut off
    CHECK(terminal_of("\xf0\x9f\x98") == repeat(3));
    CHECK(terminal_of("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf") == "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf");
}

TEST_CASE("text: a terminal gets no control and no bidirectional override") {
    CHECK(terminal_of(std::string_view("a\0b\x1b[31m\r\n\x7f", 11)) == "a\\x00b\\x1b[31m\\x0d\\x0a\\x7f");
    CHECK(terminal_of("\xc2\x9b") == "\\x9b");
    CHECK(terminal_of("\xe2\x80\xae") == "\xef\xbf\xbd");
    CHECK(terminal_of("\xe2\x80\xa8") == "\xef\xbf\xbd");
    CHECK(terminal_of("\"caf\xc3\xa9\\\"") == "\"caf\xc3\xa9\\\"");
}

TEST_CASE("text: any bytes give valid JSON and a safe terminal line") {
    std::mt19937 random(20260101);
    for (int round = 0; round < 20'000; ++round) {
        std::string bytes(random() % 24, '\0');
        // Half of the rounds prefer the bytes that multi-byte sequences are made of.
        for (char& c : bytes) c = static_cast<char>(round % 2 == 0 ? random() : 0x80 | (random() % 128));
        const std::string json = json_of(bytes);
        REQUIRE(is_safe(json));
        REQUIRE(nlohmann::json::parse(json).is_string());
        REQUIRE(is_safe(terminal_of(bytes)));
    }
}

TEST_CASE("text: numbers") {
    std::string out;
    oe::append_number(out, std::numeric_limits<std::int64_t>::min());
    out += ' ';
    oe::append_number(out, std::numeric_limits<std::uint64_t>::max());
    out += ' ';
    oe::append_number(out, 0.1);
    CHECK(out == "-9223372036854775808 18446744073709551615 0.1");
}
