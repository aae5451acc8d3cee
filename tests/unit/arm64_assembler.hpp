// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Arm64Assembler: arm64 machine code of hand-made functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include <otel_ebpf/site/site.hpp>

namespace arm64_assembler {

namespace site = otel_ebpf::site;

constexpr std::uint64_t base = 0x401000;
constexpr std::uint64_t morestack = 0x460000;

// One function at an address, assembled from words, labels and branches.
class Arm64Assembler {
public:
    explicit Arm64Assembler(std::uint64_t vaddr = base) : vaddr_(vaddr) { labels_["entry"] = 0; }

    Arm64Assembler& words(std::initializer_list<std::uint32_t> words) {
        words_.insert(words_.end(), words);
        return *this;
    }
    Arm64Assembler& label(const std::string& name) {
        labels_[name] = words_.size();
        return *this;
    }
    // OPCODE with a distance of BITS bits at bit LOW, in words, to a label.
    Arm64Assembler& branch(std::uint32_t opcode, const std::string& to, unsigned bits = 19, unsigned low = 5) {
        fixes_.push_back({words_.size(), bits, low, to});
        return words({opcode});
    }
    Arm64Assembler& b(const std::string& to) { return branch(0x14000000, to, 26, 0); }
    Arm64Assembler& b_to(std::uint64_t target) { return far(0x14000000, target); }
    Arm64Assembler& bl(std::uint64_t target) { return far(0x94000000, target); }
    Arm64Assembler& b_ls(const std::string& to) { return branch(0x54000009, to); }
    Arm64Assembler& small_check() { return words({0xf9400b90, 0xeb3063ff}).b_ls("grow"); }
    // The block behind a stack check, with its spills and reloads.
    Arm64Assembler& grow(std::uint64_t target = morestack) {
        return label("grow").words({0xf90007e0, 0xaa1e03e3}).bl(target).words({0xf94007e0}).b("entry");
    }

    site::Code code() {
        for (const Fix& fix : fixes_) put(fix.at, fix.bits, fix.low, labels_.at(fix.to) - fix.at);
        fixes_.clear();
        bytes_.resize(words_.size() * 4);
        std::memcpy(bytes_.data(), words_.data(), bytes_.size());
        return {vaddr_, bytes_, "main.f"};
    }
    [[nodiscard]] std::uint64_t end() const { return vaddr_ + words_.size() * 4; }

private:
    struct Fix {
        std::size_t at;
        unsigned bits, low;
        std::string to;
    };
    Arm64Assembler& far(std::uint32_t opcode, std::uint64_t target) {
        words({opcode});
        put(words_.size() - 1, 26, 0, (target - (end() - 4)) / 4);
        return *this;
    }
    void put(std::size_t at, unsigned bits, unsigned low, std::uint64_t value) {
        words_[at] |= static_cast<std::uint32_t>((value & ((1ULL << bits) - 1)) << low);
    }

    std::uint64_t vaddr_;
    std::vector<std::uint32_t> words_;
    std::vector<std::byte> bytes_;
    std::map<std::string, std::size_t> labels_;
    std::vector<Fix> fixes_;
};

}  // namespace arm64_assembler
