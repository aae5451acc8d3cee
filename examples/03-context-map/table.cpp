// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
#include "table.hpp"

#include <algorithm>
#include <fstream>
#include <map>

#include <fmt/core.h>
#include <otel_ebpf/export/text.hpp>

namespace ctx {
namespace {

// The name in a "comm" file of /proc; any byte may be in it, also a line feed.
std::string name_in(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string name, safe;
    std::getline(file, name, '\0');
    if (name.ends_with('\n')) name.pop_back();
    oe::append_terminal_text(safe, name);
    return safe;
}

std::string writer_of(const Row& row) {
    if (!row.writer) return "other";
    return fmt::format("ours, PID {}{}", row.writer->tgid, row.writer->has_ended() ? " (ended)" : "");
}

}  // namespace

oe::Result<std::vector<Row>> read_rows(const oe::ContextMap& map, const std::optional<oe::OwnedContexts>& owned) {
    const auto entries = map.dump();
    if (!entries) return oe::Failure(entries.error());
    std::map<std::uint64_t, oe_ctx_owned> notes;
    if (owned) {
        const auto all = owned->notes().dump();
        if (!all) return oe::Failure(all.error());
        notes.insert(all->begin(), all->end());
    }
    std::vector<Row> rows;
    for (const auto& [key, context] : *entries) {
        Row row;
        row.key = key;
        row.context = context;
        row.process = name_in(fmt::format("/proc/{}/comm", key.tgid));
        row.thread = name_in(fmt::format("/proc/{}/task/{}/comm", key.tgid, key.tid));
        row.ended = oe::thread_has_ended(key.tgid, key.tid);
        const auto note = notes.find(key.raw());
        // Another tool may have written over what was noted.
        if (note != notes.end() && oe::SpanId::from_bytes(note->second.span_id) == context.span_id)
            row.writer = oe::ContextOwner::from_raw(note->second.owner);
        rows.push_back(std::move(row));
    }
    std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.key < b.key; });
    return rows;
}

std::string format_rows(const std::vector<Row>& rows) {
    std::string text = fmt::format("{:>8} {:>8}  {:15} {:15}  {:32}  {:16}  {}\n", "PID", "TID", "process", "thread",
                                   "trace id", "span id", "written by");
    std::size_t ended = 0, ours = 0;
    for (const Row& row : rows) {
        text += fmt::format("{:8} {:8}  {:15} {:15}  {}  {}  {}\n", row.key.tgid, row.key.tid,
                            row.process.empty() ? "-" : row.process, row.ended ? "(ended)" : row.thread,
                            row.context.trace_id.to_hex(), row.context.span_id.to_hex(), writer_of(row));
        ended += row.ended ? 1 : 0;
        ours += row.writer ? 1 : 0;
    }
    return text + fmt::format("{} of at most {} entries: {} ours, {} of other tools; {} of threads that have ended\n",
                              rows.size(), OE_TRACES_CTX_ENTRIES, ours, rows.size() - ours, ended);
}

}  // namespace ctx
