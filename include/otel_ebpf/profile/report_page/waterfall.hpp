// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The page of to_report_html, part: the waterfall of a trace, or the threads of a profile on one time axis.
#pragma once

#include <string_view>

namespace otel_ebpf::profile::detail::report_page {

inline constexpr std::string_view waterfall = R"js(
// ---- views: what the waterfall shows ----
// Rows of a view are a tree as spans are: {label, service, depth, end, start, duration, own, tree, rows, span}; `end`
// is the index behind its last descendant, own and tree count samples, rows() gives the rows of its own samples.

function traceView(trace) {
  const rows = [];
  for (let span = trace.first; span < trace.end; ++span) {
    rows.push({
      span, label: spanName(span), service: spanService(span), depth: spans.depth[span],
      end: treeEnd[span] - trace.first, start: spans.start[span], duration: spans.duration[span],
      own: ownSamples(span), tree: treeSamples(span), rows: () => sampleRowsOf(span),
    });
  }
  const {start, duration, samples} = trace;
  return {trace, title: spanName(trace.root), rows, start, duration, samples};
}

// Processes, and below each its threads. `takes` chooses rows of samples.
function threadView(name, title, takes) {
  const threads = new Map();
  for (let row = 0; row < sampleRows; ++row) {
    if (!takes(row)) continue;
    const key = `${samples.process[row]} ${samples.tid[row]}`;
    let thread = threads.get(key);
    if (thread === undefined) {
      thread = {process: samples.process[row], tid: samples.tid[row], rows: [], count: 0};
      threads.set(key, thread);
    }
    thread.rows.push(row);
    thread.count += samples.count[row];
  }
  const sorted = [...threads.values()].sort((a, b) => a.process - b.process || b.count - a.count);
  const rows = [], span = -1, start = data.profile_start, duration = data.duration;
  for (const {process, tid, rows: own, count} of sorted) {
    const service = text(data.processes.service[process]);
    if (rows.length === 0 || rows[rows.length - 1].process !== process) {
      const label = `process ${data.processes.tgid[process]} (${text(data.processes.name[process])})`;
      rows.push({span, process, label, service, depth: 0, start, duration, own: 0, tree: 0, rows: () => []});
    }
    rows.push({span, process, label: `thread ${tid}`, service, depth: 1, start, duration, own: count, tree: count,
               end: rows.length + 1, rows: () => own});
  }
  for (let index = rows.length - 1, end = rows.length; index >= 0; --index) {
    if (rows[index].depth > 0) continue;
    rows[index].end = end;
    for (let thread = index + 1; thread < end; ++thread) rows[index].tree += rows[thread].own;
    end = index;
  }
  const count = rows.reduce((sum, row) => sum + row.own, 0);
  return {name, title, rows, start, duration, samples: count};
}

// ---- drawing ----

// Where a row was on a CPU, as a path in a box of `width` x 1: each sample stands for the period before it.
function cpuPath(view, row, width) {
  const scale = width / (view.duration || 1);
  const busy = new Uint8Array(width + 1);
  const from = row.start, to = row.start + row.duration;
  for (const sampleRow of row.rows()) {
    for (let i = timeBegin[sampleRow]; i < timeBegin[sampleRow + 1]; ++i) {
      const end = Math.min(Math.max(sampleTimes[i], from), to), start = Math.max(sampleTimes[i] - data.period, from);
      const left = Math.floor((Math.min(start, end) - view.start) * scale);
      const right = Math.max(left + 1, Math.round((end - view.start) * scale));
      busy.fill(1, Math.max(0, left), Math.min(width, right));
    }
  }
  let path = '';
  for (let x = 0; x < width; ++x) {
    if (busy[x] === 0) continue;
    const begin = x;
    while (x < width && busy[x] === 1) ++x;
    path += `M${begin} 0H${x}V1H${begin}Z`;
  }
  return path;
}

// Round numbers of time for an axis: at most `count` steps.
function axisStep(duration, count) {
  const least = duration / count;
  const power = 10 ** Math.floor(Math.log10(least || 1));
  return power * ([1, 2, 5].find(factor => factor * power >= least) ?? 10);
}

class Waterfall {
  constructor(onChoose, onOpen, onBack) {
    this.onChoose = onChoose;
    this.list = new List(byId('span-list'), {
      role: 'treegrid', rowRole: 'row', rowHeight: 26,
      render: (row, index) => this.render(row, this.visible[index]),
      choose: (index, event) => {
        if (event?.target.closest?.('.fold')) this.fold(this.visible[index]);
        this.chosen = this.visible[index];
        onChoose(this.chosen);
      },
      open: onOpen,
      key: event => this.key(event, onBack),
    });
    byId('span-list').setAttribute('aria-label', 'Spans');
    tipOver(byId('span-list'), target => {
      const index = this.list.indexAt(target);
      return index < 0 ? undefined : this.tipOf(this.view.rows[this.visible[index]]);
    });
    new ResizeObserver(() => this.view && this.drawColumns()).observe(byId('span-columns'));
  }

  // `found`: spans that the filter of the table finds, or undefined.
  show(view, chosen, found) {
    this.view = view;
    this.chosen = chosen;
    this.found = found;
    this.folded = new Set();
    byId('view-title').textContent = view.title;
    byId('view-facts').textContent = `${formatTime(view.duration)} · ${formatCpu(view.samples)} CPU` +
      (view.trace ? ` · ${plural(view.trace.spans, 'span')}` : '');
    byId('span-list').dataset.empty = view.rows.length === 0 ? 'No samples.' : '';
    byId('span-list').scrollTop = 0;
    this.drawColumns();
    this.update();
  }

  update() {
    this.visible = [];
    for (let index = 0; index < this.view.rows.length;) {
      this.visible.push(index);
      index = this.folded.has(index) ? this.view.rows[index].end : index + 1;
    }
    this.list.show(this.visible.length, this.visible.indexOf(this.chosen));
  }

  mark(found) {
    this.found = found;
    this.list.draw();
  }

  fold(index) {
    if (this.view.rows[index].end === index + 1) return;
    if (!this.folded.delete(index)) this.folded.add(index);
    this.update();
  }

  key(event, onBack) {
    const row = this.view.rows[this.chosen];
    if (event.key === 'Escape') onBack();
    else if (row === undefined) return false;
    else if (event.key === 'ArrowRight') {
      if (this.folded.has(this.chosen)) this.fold(this.chosen);
      else if (row.end > this.chosen + 1) this.list.choose(this.list.current + 1);
    } else if (event.key === 'ArrowLeft') {
      if (row.end > this.chosen + 1 && !this.folded.has(this.chosen)) this.fold(this.chosen);
      else {
        let parent = this.chosen - 1;
        while (parent >= 0 && this.view.rows[parent].end <= this.chosen) --parent;
        if (parent >= 0) this.list.choose(this.visible.indexOf(parent));
      }
    } else return false;
    return true;
  }

  drawColumns() {
    const columns = [['name', this.view.trace ? 'Span' : 'Thread', ''], ['wall', 'Wall', 'from start to end'],
                     ['own', 'Self CPU', 'samples of the span itself, times the period'],
                     ['tree', 'Total CPU', 'with the spans below it']];
    const cells = columns.map(([className, title, hint]) => {
      const cell = element('div', className, title);
      if (hint) cell.title = hint;
      return cell;
    });
    const axis = element('div', 'time axis');
    const step = axisStep(this.view.duration, Math.max(1, Math.floor((byId('span-columns').clientWidth * 0.45) / 90)));
    for (let time = 0; time <= this.view.duration && this.view.duration > 0; time += step) {
      const mark = element('span', '', formatTime(time));
      mark.style.left = `${(time / this.view.duration) * 100}%`;
      if (time / this.view.duration < 0.93) axis.append(mark);
    }
    byId('span-columns').replaceChildren(...cells, axis);
    this.barWidth = Math.max(1, Math.floor(axis.clientWidth));
  }

  render(line, index) {
    const {view} = this, row = view.rows[index];
    const hasChildren = row.end > index + 1;
    line.setAttribute('aria-level', row.depth + 1);
    if (hasChildren) line.setAttribute('aria-expanded', !this.folded.has(index));
    line.style.setProperty('--service', serviceColor(row.service));
    if (row.span >= 0 && this.found !== undefined) line.classList.add(this.found[row.span] ? 'found' : 'unfound');

    const name = element('div', 'name');
    name.style.paddingLeft = `${Math.min(row.depth, 24) * 14}px`;
    name.append(element('span', hasChildren ? (this.folded.has(index) ? 'fold folded' : 'fold') : 'leaf'),
                element('span', 'label', row.label));
    if (row.span >= 0) name.append(...this.marksOf(row.span));
    const number = (className, samples) =>
      element('div', samples > 0 ? className : `${className} none`, samples > 0 ? formatCpu(samples) : '–');

    const bar = element('div', row.span >= 0 && isMissing(row.span) ? 'extent missing' : 'extent');
    const scale = 100 / (view.duration || 1);
    bar.style.left = `${(row.start - view.start) * scale}%`;
    bar.style.width = `max(2px, ${row.duration * scale}%)`;
    const time = element('div', 'time', bar);
    // A process shows what its threads do.
    const isSum = this.folded.has(index) || (row.span < 0 && hasChildren);
    const path = cpuPath(view, isSum ? this.wholeTree(index) : row, this.barWidth);
    if (path !== '') {
      const picture =
        svg('svg', {viewBox: `0 0 ${this.barWidth} 1`, preserveAspectRatio: 'none', 'aria-hidden': 'true'});
      picture.append(svg('path', {d: path}));
      time.append(picture);
    }
    const wall = element('div', 'wall', row.span >= 0 ? formatTime(row.duration) : '');
    line.append(name, wall, number('own', row.own), number('tree', row.tree), time);
    for (const cell of line.children) cell.setAttribute('role', 'gridcell');
  }

  // A row with the samples of everything below it, too.
  wholeTree(index) {
    const {rows} = this.view, end = rows[index].end;
    return {...rows[index], *rows() {
      for (let below = index; below < end; ++below) yield* rows[below].rows();
    }};
  }

  marksOf(span) {
    const marks = [];
    if (spans.status[span] === statusError) marks.push(element('span', 'mark error', 'error'));
    if (isMissing(span)) marks.push(element('span', 'mark missing', spans.id[span]));
    if (parentIsMissing(span)) marks.push(element('span', 'mark missing', 'parent missing'));
    return marks;
  }

  tipOf(row) {
    const lines = [['strong', row.label]];
    if (row.service !== '') lines.push(['dim', row.service]);
    if (row.span >= 0)
      lines.push(['', `${formatTime(row.duration)} wall, from +${formatTime(row.start - this.view.start)}`]);
    lines.push(['', `${formatCpu(row.own)} self CPU in ${plural(row.own, 'sample')}`]);
    if (row.tree !== row.own)
      lines.push(['', `${formatCpu(row.tree)} with ${row.span >= 0 ? 'the spans below' : 'its threads'}`]);
    if (row.span >= 0 && isMissing(row.span))
      lines.push(['warn', 'Samples name this span, but it was not exported: its times are those of its samples.']);
    if (row.span >= 0 && parentIsMissing(row.span)) lines.push(['warn', 'Its parent is not in this report.']);
    return lines;
  }
}
)js";

}  // namespace otel_ebpf::profile::detail::report_page
