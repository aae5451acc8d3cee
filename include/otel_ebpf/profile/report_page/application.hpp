// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The page of to_report_html, part: what ties the parts of the page together.
#pragma once

#include <string_view>

namespace otel_ebpf::profile::detail::report_page {

inline constexpr std::string_view application = R"js(
// ---- the head of the page ----

function drawSummary() {
  const begin = new Date(data.start_ms);
  const rate = data.period > 0 ? ` · ${formatCount(Math.round(1e9 / data.period))} samples per second of CPU` : '';
  document.title = `${data.title} – traces and CPU profile`;
  byId('title').textContent = data.title || 'Traces and CPU profile';
  byId('subtitle').textContent = `${begin.toLocaleString('en-GB')} · ${formatTime(data.duration)} recorded${rate}`;

  const figure = (name, value, hint, className = '') => {
    const made = element('div', className, element('dt', '', name), element('dd', '', value));
    made.title = hint;
    return made;
  };
  const missing = spans.flags.filter(flags => (flags & 1) !== 0).length;
  const orphans = spans.flags.filter(flags => (flags & 2) !== 0).length;
  const silent = spans.flags.filter((flags, span) => (flags & 1) === 0 && ownSamples(span) === 0).length;
  const share = data.samples_linked / (sampleCount || 1);
  const linked = figure('In spans', formatShare(share),
    `${plural(data.samples_linked, 'sample')} in spans of this report, ` +
    `${formatCount(data.samples_outside)} outside of every span, ` +
    `${formatCount(data.samples_dangling)} in spans that were not exported`, 'linked');
  linked.style.setProperty('--share', `${share * 100}%`);
  const figures = [
    figure('Traces', formatCount(traces.length), ''),
    figure('Spans', formatCount(spanCount - missing), `${formatCount(silent)} of them without a sample of their own`),
    figure('CPU', formatCpu(sampleCount), 'samples, times the period'),
    figure('Samples', formatCount(sampleCount), `one for each ${formatTime(data.period)} of CPU time`), linked];
  if (missing > 0)
    figures.push(figure('Not exported', formatCount(missing),
      `spans that ${plural(data.samples_dangling, 'sample')} name, but which did not arrive`, 'warn'));
  if (orphans > 0)
    figures.push(figure('No parent', formatCount(orphans), 'spans whose parent is not in this report', 'warn'));
  const lost = data.lost_samples + data.lost_spans;
  figures.push(figure('Lost', formatCount(lost),
    `${plural(data.lost_samples, 'sample')} and ${plural(data.lost_spans, 'span')}`, lost > 0 ? 'bad' : ''));
  byId('figures').replaceChildren(...figures);
  byId('notes').hidden = data.notes.length === 0;
  byId('notes').replaceChildren(...data.notes.map(note => element('p', '', note)));
}

// ---- what is chosen ----

const state = {view: undefined, row: undefined, scope: 'tree'};
const goTo = id => byId(id).focus();

const table = new TraceTable(trace => showView(traceView(trace)), () => goTo('span-list'));
const waterfall = new Waterfall(chooseRow, () => goTo('flame'), () => goTo('trace-list'));
const flame = new FlameGraph(() => goTo('span-list'));
const details = new Details(setScope, name => {
  byId('flame-search').value = name;
  flame.search(name);
});

function showView(view, row = view.rows.length > 0 ? 0 : undefined) {
  state.view = view;
  if (view.trace === undefined) table.choose(undefined);
  byId('view-all').setAttribute('aria-pressed', view.name === 'all');
  byId('view-outside').setAttribute('aria-pressed', view.name === 'outside');
  waterfall.show(view, view.trace === undefined ? -1 : row, table.found);
  chooseRow(view.trace === undefined ? undefined : row);
}

// A row of the waterfall; undefined: all of a view of threads.
function chooseRow(index) {
  state.row = index;
  drawProfile();
  const {view} = state, row = view.rows[index];
  const span = row === undefined ? '' : spans.id[row.span];
  const place = view.trace === undefined ? view.name : `${view.trace.id}/${span}`;
  history.replaceState(null, '', `#${place}`);
}

function setScope(scope) {
  state.scope = scope;
  drawProfile();
}

function* chosenSamples() {
  const {rows} = state.view;
  const begin = state.row ?? 0;
  const end = state.row === undefined ? rows.length : state.scope === 'own' ? begin + 1 : rows[begin].end;
  for (let index = begin; index < end; ++index) yield* rows[index].rows();
}

function drawProfile() {
  const row = state.view.rows[state.row];
  const paths = countPaths(chosenSamples());
  const below = row === undefined ? 0 : row.tree - row.own;
  flame.show(paths, state.scope === 'own' && below > 0
    ? `No samples in the span itself, ${formatCount(below)} in the spans below it: choose “With children”.`
    : row !== undefined && row.span >= 0
      ? `No samples: it was hardly on a CPU in its ${formatTime(row.duration)}; ` +
        `one sample stands for ${formatTime(data.period)}.`
      : 'No samples.');
  details.show(state.view, row, state.scope, paths);
}

// ---- keys of the whole page, and the start ----

function onPageKey(event) {
  const isText = event.target instanceof HTMLInputElement;
  if (event.ctrlKey || event.metaKey || event.altKey || byId('help').open) return;
  if (isText && event.key === 'Escape') {
    if (event.target.value !== '') clearSearch(event.target);
    else goTo(event.target.id === 'flame-search' ? 'flame' : 'trace-list');
  } else if (isText && (event.key === 'Enter' || event.key === 'ArrowDown')) {
    goTo(event.target.id === 'flame-search' ? 'flame' : 'trace-list');
  } else if (isText) return;
  else if (event.key === '/') goTo(byId('profile').contains(document.activeElement) ? 'flame-search' : 'trace-search');
  else if (event.key === 'c') setScope(state.scope === 'own' ? 'tree' : 'own');
  else if (event.key === '?') byId('help').showModal();
  else return;
  event.preventDefault();
}

function threadViewOf(name) {
  return name === 'all' ? threadView(name, 'All CPU time', () => true)
                        : threadView(name, 'Outside of spans', row => samples.span[row] < 0);
}

// The place in the address: "#all", "#outside", "#TRACE/SPAN"; else the first trace.
function openPlace() {
  const [first, second] = location.hash.slice(1).split('/');
  const trace = traces.find(candidate => candidate.id === first);
  if (first === 'all' || first === 'outside' || traces.length === 0) return showView(threadViewOf(first || 'all'));
  const chosen = trace ?? table.order[0];
  table.choose(chosen);
  let row = 0;
  for (let span = chosen.first; span < chosen.end; ++span) if (spans.id[span] === second) row = span - chosen.first;
  showView(traceView(chosen), row);
}

drawSummary();
for (const [name, count] of [['all', sampleCount], ['outside', data.samples_outside]]) {
  byId(`view-${name}`).lastChild.textContent = formatCpu(count);
  byId(`view-${name}`).addEventListener('click', () => showView(threadViewOf(name)));
}
table.update();
openPlace();
byId('trace-search').addEventListener('input', () => waterfall.mark(table.found));
byId('help-button').addEventListener('click', () => byId('help').showModal());
document.addEventListener('keydown', onPageKey);
document.addEventListener('focusout', hideTip);
addEventListener('hashchange', openPlace);
document.documentElement.dataset.ready = 'true';
)js";

}  // namespace otel_ebpf::profile::detail::report_page
