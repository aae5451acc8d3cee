// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The page of to_report_html, part: data and what is derived from them, formats, small tools.
#pragma once

#include <string_view>

namespace otel_ebpf::profile::detail::report_page {

inline constexpr std::string_view data = R"js(
const data = JSON.parse(document.getElementById('data').textContent);
const text = index => data.strings[index];

// ---- elements and numbers ----

const byId = id => document.getElementById(id);

// element('b', 'name', 'text' or child...): texts are never read as HTML.
function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

const svg = (tag, attributes) => {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};

const grouped = new Intl.NumberFormat('en');
const formatCount = count => grouped.format(count);
const plural = (count, one, many = one + 's') => `${formatCount(count)} ${count === 1 ? one : many}`;

function formatTime(ns) {
  if (ns === 0) return '0';
  for (const [unit, size] of [['s', 1e9], ['ms', 1e6], ['µs', 1e3]]) {
    const value = ns / size;
    if (value >= 0.9995) return `${value >= 99.95 ? grouped.format(Math.round(value)) : value.toPrecision(3)} ${unit}`;
  }
  return `${Math.round(ns)} ns`;
}

const formatShare = share =>
  share > 0 && share < 0.0005 ? '< 0.1 %' : `${(share * 100).toFixed(share < 0.9995 ? 1 : 0)} %`;

const formatCpu = samples => formatTime(samples * data.period);

// ---- spans ----

const spans = data.spans;
const spanCount = spans.id.length;
const isMissing = span => (spans.flags[span] & 1) !== 0;
const parentIsMissing = span => (spans.flags[span] & 2) !== 0;
const parentIsRemote = span => (spans.flags[span] & 4) !== 0;
const kinds = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'];
const statusError = 2;

const spanName = span => isMissing(span) ? 'span that was not exported' : text(spans.name[span]) || '(no name)';
const processOf = new Map(data.processes.tgid.map((tgid, index) => [tgid, index]));
function spanService(span) {
  if (!isMissing(span)) return text(spans.service[span]);
  const row = sampleRowsOf(span)[0];
  return text(data.processes.service[data.samples.process[row]] ?? 0) ?? '';
}

// ---- samples ----

const samples = data.samples;
const sampleRows = samples.count.length;

// Times of row r are sampleTimes[timeBegin[r]] up to timeBegin[r + 1], in ns from the start of the report.
const timeBegin = new Uint32Array(sampleRows + 1);
for (let row = 0; row < sampleRows; ++row) timeBegin[row + 1] = timeBegin[row] + samples.count[row];
const sampleTimes = new Float64Array(samples.times.length);
{
  let us = 0;
  for (let i = 0; i < sampleTimes.length; ++i) sampleTimes[i] = (us += samples.times[i]) * 1000;
}
const sampleCount = sampleTimes.length;

// Rows of samples by a key in 0...groupCount; what has another key is in no group.
function groupRows(groupCount, keyOf) {
  const begin = new Uint32Array(groupCount + 1);
  for (let row = 0; row < sampleRows; ++row) {
    const key = keyOf(row);
    if (key >= 0) ++begin[key + 1];
  }
  for (let group = 0; group < groupCount; ++group) begin[group + 1] += begin[group];
  const next = begin.slice(), rows = new Uint32Array(begin[groupCount]);
  for (let row = 0; row < sampleRows; ++row) {
    const key = keyOf(row);
    if (key >= 0) rows[next[key]++] = row;
  }
  return group => rows.subarray(begin[group], begin[group + 1]);
}
const sampleRowsOf = groupRows(spanCount, row => samples.span[row]);

// Spans of a tree are neighbours: those under span s are s + 1 up to treeEnd[s]. before[s]: samples of spans before s.
const treeEnd = new Uint32Array(spanCount);
const before = new Float64Array(spanCount + 1);
{
  const open = [];
  for (let span = 0; span <= spanCount; ++span) {
    const depth = span < spanCount ? spans.depth[span] : 0;
    while (open.length > 0 && (depth === 0 || spans.depth[open[open.length - 1]] >= depth)) treeEnd[open.pop()] = span;
    if (span === spanCount) break;
    open.push(span);
    let count = 0;
    for (const row of sampleRowsOf(span)) count += samples.count[row];
    before[span + 1] = before[span] + count;
  }
}
const ownSamples = span => before[span + 1] - before[span];
const treeSamples = span => before[treeEnd[span]] - before[span];

// ---- traces ----

const traces = [];
for (let span = 0; span < spanCount; ++span) {
  let trace = traces[spans.trace[span]];
  if (trace === undefined) {
    trace = {index: spans.trace[span], id: data.traces[spans.trace[span]], first: span, end: span, start: Infinity,
             stop: 0, errors: 0, missing: 0};
    traces.push(trace);
  }
  trace.end = span + 1;
  trace.start = Math.min(trace.start, spans.start[span]);
  trace.stop = Math.max(trace.stop, spans.start[span] + spans.duration[span]);
  trace.errors += spans.status[span] === statusError;
  trace.missing += isMissing(span);
}
for (const trace of traces) {
  trace.duration = trace.stop - trace.start;
  trace.samples = before[trace.end] - before[trace.first];
  trace.spans = trace.end - trace.first;
  // What stands for the trace: its first span that was exported.
  trace.root = trace.first;
  while (trace.root + 1 < trace.end && isMissing(trace.root)) ++trace.root;
  if (isMissing(trace.root)) trace.root = trace.first;
}

// Services get colours in the order of their first span.
const serviceColors = new Map();
for (const service of [...spans.service, ...data.processes.service].map(text))
  if (!serviceColors.has(service)) serviceColors.set(service, `var(--service-${serviceColors.size % 7})`);
const serviceColor = service => serviceColors.get(service) ?? 'var(--service-0)';

// ---- frames ----

const frames = data.frames;
const frameKinds = ['code', 'runtime', 'kernel', 'unknown'];
const frameKindNames = ['program', 'Go runtime', 'kernel', 'without a symbol'];
const frameCode = 0, frameUnknown = 3;
const lastPart = path => path.slice(path.lastIndexOf('/') + 1);
const frameNames = frames.function.map((name, frame) => {
  if (text(name) !== '') return text(name);
  const module = text(frames.module[frame]);
  return frames.kind[frame] === 2 ? '[kernel]' : module === '' ? '[unknown]' : `[${lastPart(module)}]`;
});
const frameNamesLower = frameNames.map(name => name.toLowerCase());

// "net/http.(*conn).serve" as "http.(*conn).serve": what fits into a box.
const shortName = name => {
  const open = name.search(/[([<]/);
  const slash = (open < 0 ? name : name.slice(0, open)).lastIndexOf('/');
  return slash < 0 ? name : name.slice(slash + 1);
};

// Frames of one package or class look alike: a shade in 0..3.
const frameShades = frameNames.map(name => {
  const short = shortName(name);
  const scope = short.slice(0, Math.max(short.indexOf('.'), short.lastIndexOf('::'), 0)) || short;
  let hash = 7;
  for (let i = 0; i < scope.length; ++i) hash = (hash * 31 + scope.charCodeAt(i)) >>> 0;
  return hash % 4;
});
)js";

}  // namespace otel_ebpf::profile::detail::report_page
