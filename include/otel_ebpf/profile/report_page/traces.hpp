// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The page of to_report_html, part: the table of traces, its order and its filter.
#pragma once

#include <string_view>

namespace otel_ebpf::profile::detail::report_page {

inline constexpr std::string_view traces = R"js(
// ---- filter ----

// Spans that a query finds: every word must be in the name, service, an attribute or the id of the span or trace.
function findSpans(query) {
  const words = query.toLowerCase().split(/\s+/).filter(word => word !== '');
  if (words.length === 0) return undefined;
  const found = new Uint8Array(spanCount).fill(1);
  for (const word of words) {
    const inText = data.strings.map(string => string.toLowerCase().includes(word));
    const inSet = data.attribute_sets.map(set => set.some(index => inText[index]));
    const inTrace = data.traces.map(id => id.startsWith(word));
    for (let span = 0; span < spanCount; ++span) {
      if (!(inText[spans.name[span]] || inText[spans.service[span]] || inText[spans.message[span]] ||
            inSet[spans.attributes[span]] || inTrace[spans.trace[span]] || spans.id[span].startsWith(word) ||
            (word === 'error' && spans.status[span] === statusError)))
        found[span] = 0;
    }
  }
  return found;
}

// ---- the table ----

class TraceTable {
  constructor(onChoose, onOpen) {
    this.onChoose = onChoose;
    this.found = undefined;
    this.sort = {by: sampleCount > 0 ? 'cpu' : 'duration', down: true};
    this.longest = traces.reduce((most, trace) => Math.max(most, trace.duration), 0);
    this.busiest = traces.reduce((most, trace) => Math.max(most, trace.samples), 0);
    this.columns = [
      {key: 'start', title: 'Start', hint: 'since the report began', value: trace => trace.start, down: false},
      {key: 'name', title: 'Trace', hint: 'its first span', value: trace => spanName(trace.root), down: false},
      {key: 'spans', title: 'Spans', value: trace => trace.spans, down: true},
      {key: 'duration', title: 'Duration', hint: 'from the first start to the last end of its spans',
       value: trace => trace.duration, down: true},
      {key: 'cpu', title: 'CPU', hint: 'samples in its spans, times the period',
       value: trace => trace.samples, down: true},
    ];
    this.list = new List(byId('trace-list'), {
      role: 'grid', rowRole: 'row', rowHeight: 28,
      render: (row, index) => this.render(row, this.order[index]),
      choose: index => onChoose(this.order[index]),
      open: onOpen,
      key: event => {
        if (event.key === 'ArrowRight') onOpen();
        else if (event.key === 'Escape') clearSearch(byId('trace-search'));
        else return false;
        return true;
      },
    });
    byId('trace-list').setAttribute('aria-label', 'Traces');
    byId('trace-search').addEventListener('input', event => {
      this.found = findSpans(event.target.value);
      this.update();
    });
    tipOver(byId('trace-list'), target => {
      const index = this.list.indexAt(target);
      return index < 0 ? undefined : this.tipOf(this.order[index]);
    });
    this.drawColumns();
  }

  drawColumns() {
    byId('trace-columns').replaceChildren(...this.columns.map(column => {
      const isSorted = this.sort.by === column.key;
      const button = element('button', isSorted ? 'sorted' : '', column.title);
      button.type = 'button';
      button.id = `sort-${column.key}`;
      button.title = `Sort by ${column.title.toLowerCase()}${column.hint ? `: ${column.hint}` : ''}`;
      if (isSorted) button.append(element('span', 'arrow', this.sort.down ? '▼' : '▲'));
      button.setAttribute('aria-pressed', isSorted);
      button.addEventListener('click', () => {
        this.sort = {by: column.key, down: isSorted ? !this.sort.down : column.down};
        this.drawColumns();
        this.update();
        byId(button.id).focus();
      });
      return element('div', column.key, button);
    }));
  }

  // Traces in order, those that the filter left; the chosen one stays the chosen one.
  update(chosen = this.chosen) {
    this.chosen = chosen;
    const {found} = this;
    const {value} = this.columns.find(column => column.key === this.sort.by);
    const sign = this.sort.down ? -1 : 1;
    const shown =
      traces.filter(trace => found === undefined || found.subarray(trace.first, trace.end).includes(1));
    const keys = new Map(shown.map(trace => [trace, value(trace)]));
    this.order = shown.sort((a, b) => {
      const x = keys.get(a), y = keys.get(b);
      return x < y ? -sign : x > y ? sign : a.index - b.index;
    });
    byId('trace-count').textContent = found === undefined
      ? formatCount(traces.length) : `${formatCount(shown.length)} of ${formatCount(traces.length)}`;
    byId('trace-list').dataset.empty = traces.length === 0 ? 'No spans were recorded.' :
      shown.length === 0 ? 'Nothing matches the filter.' : '';
    this.list.show(this.order.length, this.order.indexOf(chosen));
  }

  choose(trace) {
    this.chosen = trace;
    this.list.current = this.order.indexOf(trace);
    this.list.reveal();
    this.list.draw();
  }

  render(row, trace) {
    const cell = (className, ...content) => {
      const made = element('div', className, ...content);
      made.setAttribute('role', 'gridcell');
      return made;
    };
    const bar = (className, value, share) => {
      const made = cell(`${className} measured`, value);
      made.style.setProperty('--share', `${share * 100}%`);
      return made;
    };
    const name = element('span', 'title', spanName(trace.root));
    const service = element('span', 'service', spanService(trace.root));
    service.style.setProperty('--service', serviceColor(spanService(trace.root)));
    const marks = [];
    if (trace.errors > 0) marks.push(element('span', 'mark error', plural(trace.errors, 'error')));
    if (trace.missing > 0) marks.push(element('span', 'mark missing', 'not exported'));
    row.append(cell('start', `+${formatTime(trace.start)}`), cell('name', service, name, ...marks),
               cell('spans', formatCount(trace.spans)),
               bar('duration', formatTime(trace.duration), trace.duration / (this.longest || 1)),
               bar(trace.samples > 0 ? 'cpu' : 'cpu none', trace.samples > 0 ? formatCpu(trace.samples) : '–',
                   trace.samples / (this.busiest || 1)));
  }

  tipOf(trace) {
    const lines = [['strong', spanName(trace.root)], ['dim', `trace ${trace.id}`],
                   ['', `${formatTime(trace.duration)} long, ${plural(trace.spans, 'span')}`],
                   ['', `${formatCpu(trace.samples)} CPU in ${plural(trace.samples, 'sample')}`]];
    if (trace.errors > 0) lines.push(['bad', plural(trace.errors, 'span failed', 'spans failed')]);
    if (trace.missing > 0)
      lines.push(['warn', `${plural(trace.missing, 'span has', 'spans have')} samples, but ${
        trace.missing === 1 ? 'was' : 'were'} not exported`]);
    return lines;
  }
}
)js";

}  // namespace otel_ebpf::profile::detail::report_page
