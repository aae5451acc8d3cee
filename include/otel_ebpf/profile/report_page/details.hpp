// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The page of to_report_html, part: the chosen span: its numbers, attributes and hottest functions.
#pragma once

#include <string_view>

namespace otel_ebpf::profile::detail::report_page {

inline constexpr std::string_view details = R"js(
class Details {
  // onFunction(name) is called for a function that was chosen in the list.
  constructor(onScope, onFunction) {
    this.order = 'self';
    for (const order of ['self', 'total'])
      byId(`hot-${order}`).addEventListener('click', () => {
        this.order = order;
        this.drawFunctions();
      });
    for (const scope of ['own', 'tree']) byId(`scope-${scope}`).addEventListener('click', () => onScope(scope));
    byId('hot').addEventListener('click', event => {
      const button = event.target.closest('button');
      if (button !== null) onFunction(button.dataset.name);
    });
  }

  show(view, row, scope, paths) {
    byId('span-title').textContent = row === undefined ? view.title : row.label;
    byId('span-facts').textContent = row === undefined ? `${formatCpu(view.samples)} CPU`
      : [...(row.span >= 0 ? [`${formatTime(row.duration)} wall`] : []), `${formatCpu(row.own)} self`,
         ...(row.tree > row.own ? [`${formatCpu(row.tree)} total`] : [])].join(' · ');
    byId('scope-own').textContent = row !== undefined && row.span < 0 ? 'This row' : 'This span';
    for (const name of ['own', 'tree']) {
      byId(`scope-${name}`).setAttribute('aria-pressed', scope === name && row !== undefined);
      byId(`scope-${name}`).disabled = row === undefined;
    }
    this.functions = countFunctions(paths);
    this.total = paths.total;
    this.drawFunctions();
    this.drawFacts(view, row);
  }

  drawFunctions() {
    for (const order of ['self', 'total']) byId(`hot-${order}`).setAttribute('aria-pressed', order === this.order);
    const {order, total} = this;
    const hottest = this.functions.filter(entry => entry[order] > 0)
      .sort((a, b) => b[order] - a[order] || (a.name < b.name ? -1 : 1)).slice(0, 100);
    byId('hot').replaceChildren(...hottest.map(entry => {
      const button = element('button', '', element('span', 'function', shortName(entry.name)),
                             element('b', '', formatShare(entry[order] / total)));
      button.type = 'button';
      button.dataset.name = entry.name;
      button.title = `${entry.name}\n${formatCpu(entry.self)} self, ${formatCpu(entry.total)} with what it calls`;
      button.className = frameKinds[frames.kind[entry.frame]];
      button.style.setProperty('--share', `${(entry[order] / total) * 100}%`);
      return element('li', '', button);
    }));
    byId('hot').dataset.empty = hottest.length === 0 ? 'No samples.' : '';
  }

  drawFacts(view, row) {
    const facts = [];
    if (row !== undefined && row.span >= 0) {
      const {span} = row;
      byId('facts-title').textContent = 'Span';
      if (isMissing(span)) facts.push(['exported', 'no: only its samples are known']);
      else {
        facts.push(['service', row.service], ['kind', kinds[spans.kind[span]] ?? String(spans.kind[span])],
                   ['status', ['unset', 'ok', 'error'][spans.status[span]] ?? ''], ['process', spans.tgid[span] || '']);
        if (text(spans.message[span]) !== '') facts.push(['message', text(spans.message[span])]);
        const set = data.attribute_sets[spans.attributes[span]];
        for (let i = 0; i < set.length; i += 2) facts.push([text(set[i]), text(set[i + 1])]);
      }
      facts.push(['trace id', view.trace.id], ['span id', spans.id[span]]);
      if (spans.parent[span] !== '')
        facts.push(['parent', spans.parent[span] +
                    (parentIsMissing(span) ? ' (not in this report)' : parentIsRemote(span) ? ' (remote)' : '')]);
    } else {
      byId('facts-title').textContent = row === undefined ? 'Samples' : 'Process';
      facts.push(['samples', formatCount(row === undefined ? view.samples : row.tree)],
                 ['one stands for', formatTime(data.period)]);
      if (row !== undefined) facts.push(['service', row.service], ['process', data.processes.tgid[row.process]]);
    }
    byId('facts').replaceChildren(...facts.filter(([, value]) => value !== '').flatMap(([name, value]) =>
      [element('dt', '', name), element('dd', '', String(value))]));
  }
}
)js";

}  // namespace otel_ebpf::profile::detail::report_page
