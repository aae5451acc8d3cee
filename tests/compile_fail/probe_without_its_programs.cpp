// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// A tool that names net/http's Probe, but whose .bpf.c does not include its programs.
// expect: bpf_file_includes_net_http_programs
// expect: oe_http_start
#include "fake_skeleton.hpp"

#include <otel_ebpf/probes/net_http.hpp>

#ifdef OK
constexpr bool included = oe::probes::net_http::bpf_file_includes_net_http_programs<shop_bpf>;
static_assert(!included);
#else
constexpr auto probe = oe::probes::net_http::server<shop_bpf>;
#endif
