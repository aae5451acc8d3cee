// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// All that the library does with an executable file before it attaches to it, on bytes that may be hostile. What its
// answers promise is checked: a broken promise ends the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hostile {

// How far an inspection came: a harness whose inputs are all refused at the door shows nothing.
struct Depth {
    bool opened = false;
    bool is_go = false;
    std::uint64_t text_start = 0;  // of Go
    std::size_t functions = 0;
    std::size_t attached = 0;  // rows of the plan
    std::size_t facts = 0;     // that were known
    std::size_t layouts = 0;   // DWARF answers
    std::size_t places = 0;    // source lines
};

// Opens, lists and finds functions, plans the points of net/http and others for two kernels, reads facts, source lines
// and DWARF layouts.
Depth inspect(std::span<const std::byte> file);

}  // namespace hostile
