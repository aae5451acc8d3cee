// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// MemoryMap: the executable mappings of a process, from /proc/PID/maps.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace otel_ebpf::profile {

struct MappedRange {
    std::uint64_t start = 0;
    std::uint64_t limit = 0;
    std::uint64_t file_offset = 0;
    std::uint64_t inode = 0;      // 0: no file
    std::string path;             // as mapped, without " (deleted)"; "[vdso]", "[anon:...]"; empty: none
    bool is_deleted = false;
};

class MemoryMap {
public:
    // Lines that are no mapping are passed over.
    static MemoryMap parse(std::string_view text) {
        MemoryMap map;
        while (!text.empty()) {
            const std::string_view line = text.substr(0, text.find('\n'));
            text.remove_prefix(std::min(line.size() + 1, text.size()));
            MappedRange range;
            if (parse_line(line, range)) map.ranges_.push_back(std::move(range));
        }
        std::ranges::sort(map.ranges_, {}, &MappedRange::start);
        return map;
    }

    [[nodiscard]] const std::vector<MappedRange>& ranges() const { return ranges_; }

    // The index of the mapping that holds an address; ranges().size() when none does.
    [[nodiscard]] std::size_t index_at(std::uint64_t address) const {
        const auto next = std::ranges::upper_bound(ranges_, address, {}, &MappedRange::start);
        if (next == ranges_.begin() || address >= (next - 1)->limit) return ranges_.size();
        return static_cast<std::size_t>(next - ranges_.begin()) - 1;
    }

private:
    // "55d0c6a00000-55d0c6a29000 r-xp 00001000 fd:01 123456   /usr/bin/cat"; true when it is executable.
    static bool parse_line(std::string_view line, MappedRange& range) {
        const auto field = [&line] {
            line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
            const std::string_view text = line.substr(0, line.find(' '));
            line.remove_prefix(text.size());
            return text;
        };
        const auto number = [](std::string_view text, std::uint64_t& value, int base) {
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
            return error == std::errc() && end == text.data() + text.size();
        };
        const std::string_view addresses = field(), rights = field(), offset = field();
        field();  // device
        const std::string_view inode = field();
        const std::size_t dash = addresses.find('-');
        if (dash == std::string_view::npos || rights.size() < 3 || rights[2] != 'x') return false;
        const bool is_complete = number(addresses.substr(0, dash), range.start, 16) &&
                                 number(addresses.substr(dash + 1), range.limit, 16) &&
                                 number(offset, range.file_offset, 16) && number(inode, range.inode, 10);
        if (!is_complete || range.start >= range.limit) return false;
        line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
        constexpr std::string_view deleted = " (deleted)";
        range.is_deleted = line.ends_with(deleted);
        if (range.is_deleted) line.remove_suffix(deleted.size());
        range.path = unescaped(line);
        return true;
    }

    // The kernel writes a newline in a name as "\012".
    static std::string unescaped(std::string_view text) {
        std::string out;
        while (!text.empty()) {
            const bool is_newline = text.starts_with("\\012");
            out += is_newline ? '\n' : text.front();
            text.remove_prefix(is_newline ? 4 : 1);
        }
        return out;
    }

    std::vector<MappedRange> ranges_;
};

}  // namespace otel_ebpf::profile
