// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The agent's BPF object and its Probes. An agent with others has its own file of this name, and the same main().
#pragma once

#include <ledger.hpp>
#include <otel_ebpf/otel_ebpf.hpp>
#include <otel_ebpf/probes/goroutines.hpp>
#include <otel_ebpf/probes/net_http.hpp>

#include "agent.skel.h"

namespace agent {

namespace oe = otel_ebpf;

inline auto bundle() {
    return oe::bundle<agent_bpf>(oe::probes::net_http::server<agent_bpf>, ledger::settle<agent_bpf>,
                                 oe::probes::goroutines::scheduler<agent_bpf>);
}

}  // namespace agent
