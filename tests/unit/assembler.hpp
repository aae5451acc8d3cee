// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Assembler: machine code of hand-made functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <otel_ebpf/site/site.hpp>

namespace assembler {

namespace site = otel_ebpf::site;

constexpr std::uint64_t base = 0x401000;
constexpr std::uint64_t morestack = 0x460000;

// One function at an address, assembled from hexadecimal bytes, labels and branches.
class Assembler {
public:
    explicit Assembler(std::uint64_t vaddr = base) : vaddr_(vaddr) { labels_["entry"] = 0; }

    Assembler& raw(const std::string& hex) {
        std::istringstream words(hex);
        for (std::string word; words >> word;) bytes_.push_back(std::byte(std::stoul(word, nullptr, 16)));
        return *this;
    }
    Assembler& label(const std::string& name) {
        labels_[name] = bytes_.size();
        return *this;
    }
    Assembler& short_branch(const std::string& opcode, const std::string& to) { return branch(opcode, to, 1); }
    Assembler& near_branch(const std::string& opcode, const std::string& to) { return branch(opcode, to, 4); }
    Assembler& far_branch(const std::string& opcode, std::uint64_t target) {
        raw(opcode + " 00 00 00 00");
        put(bytes_.size() - 4, 4, target - (vaddr_ + bytes_.size()));
        return *this;
    }
    Assembler& call(std::uint64_t target) { return far_branch("e8", target); }
    // The block behind a stack check, with its spills and reloads.
    Assembler& grow(std::uint64_t target = morestack) {
        return label("grow").raw("48 89 44 24 08").call(target).raw("48 8b 44 24 08").short_branch("eb", "entry");
    }
    [[nodiscard]] std::size_t size() const { return bytes_.size(); }

    site::Code code() {
        for (const Fix& fix : fixes_) put(fix.at, fix.width, labels_.at(fix.to) - (fix.at + fix.width));
        fixes_.clear();
        return {vaddr_, bytes_, "main.f"};
    }

private:
    struct Fix {
        std::size_t at;
        unsigned width;
        std::string to;
    };
    Assembler& branch(const std::string& opcode, const std::string& to, unsigned width) {
        raw(opcode);
        fixes_.push_back({bytes_.size(), width, to});
        bytes_.resize(bytes_.size() + width);
        return *this;
    }
    void put(std::size_t at, unsigned width, std::uint64_t value) {
        for (unsigned i = 0; i < width; ++i) bytes_[at + i] = std::byte(value >> (8 * i) & 0xff);
    }

    std::uint64_t vaddr_;
    std::vector<std::byte> bytes_;
    std::map<std::string, std::size_t> labels_;
    std::vector<Fix> fixes_;
};

}  // namespace assembler
