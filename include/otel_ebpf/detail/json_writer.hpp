// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// JsonWriter: small JSON documents (plans, reports), indented by nothing, valid for any bytes in texts.
#pragma once

#include <fmt/core.h>

#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include <otel_ebpf/export/text.hpp>

namespace otel_ebpf::detail {

class JsonWriter {
public:
    JsonWriter& begin_object() { return open('{'); }
    JsonWriter& end_object() { return close('}'); }
    JsonWriter& begin_array() { return open('['); }
    JsonWriter& end_array() { return close(']'); }
    JsonWriter& key(std::string_view name) {
        separate();
        append_json_string(text_, name);
        text_ += ':';
        fresh_ = true;
        return *this;
    }
    JsonWriter& value(std::string_view text) {
        separate();
        append_json_string(text_, text);
        return *this;
    }
    JsonWriter& value(const char* text) { return value(std::string_view(text)); }
    JsonWriter& value(bool yes) { return raw(yes ? "true" : "false"); }
    JsonWriter& value(double number) { return raw(fmt::format("{:.3f}", number)); }
    template <std::integral Number>
        requires(!std::same_as<Number, bool>)
    JsonWriter& value(Number number) {
        return raw(fmt::format("{}", number));
    }
    JsonWriter& hex(std::span<const std::byte> bytes) {
        std::string text;
        for (const std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
        return value(std::string_view(text));
    }
    template <class T>
    JsonWriter& member(std::string_view name, const T& content) {
        return key(name).value(content);
    }
    // Starts a new line, for readers.
    JsonWriter& line() {
        pending_line_ = true;
        return *this;
    }

    [[nodiscard]] std::string take() {
        text_ += '\n';
        return std::move(text_);
    }

private:
    JsonWriter& open(char bracket) {
        separate();
        text_ += bracket;
        fresh_ = true;
        return *this;
    }
    JsonWriter& close(char bracket) {
        text_ += bracket;
        fresh_ = false;
        return *this;
    }
    JsonWriter& raw(std::string_view text) {
        separate();
        text_ += text;
        return *this;
    }
    void separate() {
        if (!fresh_ && !text_.empty()) text_ += ',';
        if (pending_line_) text_ += '\n';
        pending_line_ = false;
        fresh_ = false;
    }

    std::string text_;
    bool fresh_ = true;
    bool pending_line_ = false;
};

}  // namespace otel_ebpf::detail
