// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// KernelSymbols: functions of the kernel and its modules by address, from /proc/kallsyms.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <otel_ebpf/error.hpp>
#include <otel_ebpf/process.hpp>

namespace otel_ebpf::profile {

class KernelSymbols {
public:
    // Fails when addresses are hidden (needs CAP_SYSLOG, or kernel.kptr_restrict 0).
    [[nodiscard]] static Result<KernelSymbols> read() {
        KernelSymbols symbols = parse(otel_ebpf::detail::read_whole("/proc/kallsyms"));
        if (!symbols.symbols_.empty()) return symbols;
        return fail(Stage::symbol, "read /proc/kallsyms: it hides all addresses, so kernel frames have no names: needs "
                                   "CAP_SYSLOG (sysctl kernel.kptr_restrict)", EPERM);
    }

    // "ffffffff81000000 T _stext" and, of modules, "... t name\t[module]".
    [[nodiscard]] static KernelSymbols parse(std::string_view text) {
        KernelSymbols all;
        while (!text.empty()) {
            const std::string_view line = text.substr(0, text.find('\n'));
            text.remove_prefix(std::min(line.size() + 1, text.size()));
            std::uint64_t address = 0;
            const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), address, 16);
            const auto digits = static_cast<std::size_t>(end - line.data());
            if (error != std::errc() || address == 0 || line.size() < digits + 4) continue;
            if (std::string_view("tTwW").find(line[digits + 1]) == std::string_view::npos) continue;
            const std::string_view rest = line.substr(digits + 3);
            all.symbols_.push_back({address, all.names_.size()});
            const std::string_view name = rest.substr(0, rest.find('\t'));
            all.names_.append(name);
            if (name.size() < rest.size()) all.names_.append(" ").append(rest.substr(name.size() + 1));
            all.names_.push_back('\0');
        }
        std::ranges::stable_sort(all.symbols_, {}, &Symbol::address);
        return all;
    }

    // "do_syscall_64", "nft_do_chain [nf_tables]"; nullopt below the first symbol. Valid while this object lives.
    [[nodiscard]] std::optional<std::string_view> find(std::uint64_t address) const {
        const auto next = std::ranges::upper_bound(symbols_, address, {}, &Symbol::address);
        if (next == symbols_.begin()) return std::nullopt;
        // Of several names for one address, the first.
        const auto first = std::ranges::lower_bound(symbols_, (next - 1)->address, {}, &Symbol::address);
        return std::string_view(names_.c_str() + first->name);
    }

private:
    struct Symbol {
        std::uint64_t address = 0;
        std::size_t name = 0;
    };

    std::vector<Symbol> symbols_;  // by address
    std::string names_;            // each with a NUL behind it
};

}  // namespace otel_ebpf::profile
