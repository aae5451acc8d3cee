// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Everything of the components core and go. Ready-made Probes (probes/) and sinks with dependencies of their own
// (export/otlp_http.hpp) are included apart.
#pragma once

#include <otel_ebpf/assignment.hpp>
#include <otel_ebpf/clock.hpp>
#include <otel_ebpf/context_map.hpp>
#include <otel_ebpf/context_owned.hpp>
#include <otel_ebpf/context_reaper.hpp>
#include <otel_ebpf/error.hpp>
#include <otel_ebpf/event_stream.hpp>
#include <otel_ebpf/executable.hpp>
#include <otel_ebpf/executable_cache.hpp>
#include <otel_ebpf/export/console.hpp>
#include <otel_ebpf/export/jsonl.hpp>
#include <otel_ebpf/fact.hpp>
#include <otel_ebpf/fd.hpp>
#include <otel_ebpf/kernel.hpp>
#include <otel_ebpf/link.hpp>
#include <otel_ebpf/log.hpp>
#include <otel_ebpf/manager.hpp>
#include <otel_ebpf/map.hpp>
#include <otel_ebpf/plan.hpp>
#include <otel_ebpf/plan_format.hpp>
#include <otel_ebpf/probe.hpp>
#include <otel_ebpf/process.hpp>
#include <otel_ebpf/report.hpp>
#include <otel_ebpf/report_format.hpp>
#include <otel_ebpf/semconv.hpp>
#include <otel_ebpf/skeleton.hpp>
#include <otel_ebpf/span.hpp>
#include <otel_ebpf/target.hpp>
#include <otel_ebpf/trace_context.hpp>
#include <otel_ebpf/version.hpp>
#include <otel_ebpf/version_info.hpp>
