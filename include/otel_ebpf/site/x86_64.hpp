// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Everything about sites on x86-64.
#pragma once

#include <otel_ebpf/site/callers.hpp>
#include <otel_ebpf/site/decode_x86_64.hpp>
#include <otel_ebpf/site/emulation.hpp>
#include <otel_ebpf/site/end_sites.hpp>
#include <otel_ebpf/site/native.hpp>
#include <otel_ebpf/site/prologue.hpp>
