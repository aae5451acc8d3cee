// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// gzip(): bytes compressed as RFC 1952 wants them.
#pragma once

#include <zlib.h>

#include <new>
#include <string>
#include <string_view>

namespace otel_ebpf::detail {

[[nodiscard]] inline std::string gzip(std::string_view bytes) {
    z_stream stream{};
    constexpr int gzip_window = 15 + 16;  // zlib.h: the largest window, and 16 for a gzip header
    if (::deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, gzip_window, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        throw std::bad_alloc();
    std::string out(::deflateBound(&stream, static_cast<uLong>(bytes.size())), '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(bytes.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    ::deflate(&stream, Z_FINISH);  // ends in one call: the output has room for the worst case
    out.resize(stream.total_out);
    ::deflateEnd(&stream);
    return out;
}

}  // namespace otel_ebpf::detail
