// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// How the bytes of a fuzzer's input are cut into the parts of a file, and how seeds are put together from parts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

// Takes from the front. What is not there reads as zeros, so any input is one.
class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : left_(reinterpret_cast<const char*>(data), size) {}

    template <class T>
    T number() {
        static_assert(std::is_integral_v<T>);
        T value{};
        const std::size_t size = std::min(sizeof(T), left_.size());
        std::memcpy(&value, left_.data(), size);
        left_.remove_prefix(size);
        return value;
    }
    // Bytes behind their own number, which has 2 bytes.
    std::string_view part() {
        const std::size_t size = number<std::uint16_t>();
        const std::string_view found = left_.substr(0, size);
        left_.remove_prefix(found.size());
        return found;
    }
    std::string_view rest() { return left_; }
    [[nodiscard]] bool empty() const { return left_.empty(); }

private:
    std::string_view left_;
};

// The same in the other direction; the last part goes in as it is.
class Seed {
public:
    template <class T>
    Seed& number(T value) {
        bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
        return *this;
    }
    Seed& part(std::string_view bytes) {
        bytes = bytes.substr(0, UINT16_MAX);
        number(static_cast<std::uint16_t>(bytes.size()));
        return rest(bytes);
    }
    Seed& rest(std::string_view bytes) {
        bytes_ += bytes;
        return *this;
    }
    [[nodiscard]] const std::string& bytes() const { return bytes_; }

private:
    std::string bytes_;
};
