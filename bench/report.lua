-- SPDX-License-Identifier: Apache-2.0
-- Copyright The otel_ebpf Authors
-- Prints what wrk measured as one line of JSON; runs after the load, so it costs the load nothing.
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "p50_us": %f, "p99_us": %f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
