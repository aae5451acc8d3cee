// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The page of to_report_html, part: the flame graph of chosen samples, with zoom and search.
#pragma once

#include <string_view>

namespace otel_ebpf::profile::detail::report_page {

inline constexpr std::string_view flame = R"js(
const nodes = data.nodes;
const nodeCount = nodes.frame.length;

// Samples per path: own[n] end in path n, all[n] pass through it. `rows`: rows of samples.
function countPaths(rows) {
  const own = new Float64Array(nodeCount), all = new Float64Array(nodeCount);
  let total = 0, withoutStack = 0;
  for (const row of rows) {
    const node = samples.node[row];
    total += samples.count[row];
    if (node >= 0) own[node] += samples.count[row];
    else withoutStack += samples.count[row];
  }
  // A path's parent comes before it.
  for (let node = nodeCount - 1; node >= 0; --node) {
    all[node] += own[node];
    if (all[node] > 0 && nodes.parent[node] >= 0) all[nodes.parent[node]] += all[node];
  }
  const children = new Map();
  for (let node = 0; node < nodeCount; ++node) {
    if (all[node] === 0) continue;
    const list = children.get(nodes.parent[node]);
    if (list === undefined) children.set(nodes.parent[node], [node]);
    else list.push(node);
  }
  for (const list of children.values()) list.sort((a, b) => all[b] - all[a]);
  return {own, all, total, withoutStack, childrenOf: node => children.get(node) ?? []};
}

// Samples per function: self, and with what it calls, where a recursive call counts once.
function countFunctions(paths) {
  const counts = new Map(), open = new Map();
  const stack = paths.childrenOf(-1).map(node => [node, false]);
  while (stack.length > 0) {
    const [node, isDone] = stack.pop(), name = frameNames[nodes.frame[node]];
    if (isDone) {
      open.set(name, open.get(name) - 1);
      continue;
    }
    let count = counts.get(name);
    if (count === undefined) counts.set(name, (count = {name, frame: nodes.frame[node], self: 0, total: 0}));
    const depth = open.get(name) ?? 0;
    count.self += paths.own[node];
    if (depth === 0) count.total += paths.all[node];
    open.set(name, depth + 1);
    stack.push([node, true]);
    for (const child of paths.childrenOf(node)) stack.push([child, false]);
  }
  return [...counts.values()];
}

class FlameGraph {
  constructor(onBack) {
    this.box = byId('flame');
    this.onBack = onBack;
    this.rowHeight = 20;
    this.query = '';
    this.box.addEventListener('click', event => {
      const box = event.target.closest('[data-node]');
      if (box !== null) this.zoom(Number(box.dataset.node));
    });
    this.box.addEventListener('keydown', event => this.key(event));
    byId('flame-reset').addEventListener('click', () => {
      this.zoom(-1);
      this.box.focus();
    });
    byId('flame-search').addEventListener('input', event => this.search(event.target.value));
    new ResizeObserver(() => this.paths && this.draw()).observe(this.box);
    tipOver(this.box, target => {
      const box = target.closest('[data-node]');
      return box === null ? undefined : this.tipOf(Number(box.dataset.node));
    });
  }

  // `hint` is shown when there are no samples.
  show(paths, hint) {
    this.paths = paths;
    this.zoomed = -1;
    this.current = -1;
    this.box.dataset.empty = paths.total === 0 ? hint : '';
    this.box.scrollTop = 0;
    this.draw();
  }

  zoom(node) {
    this.zoomed = node;
    this.current = node;
    hideTip();
    this.draw();
  }

  search(query) {
    this.query = query.trim().toLowerCase();
    this.draw();
  }

  matches(frame) {
    return this.query !== '' && frameNamesLower[frame].includes(this.query);
  }

  // Samples whose stack has a frame that matches.
  matched() {
    let count = 0;
    const open = this.paths.childrenOf(-1).slice();
    while (open.length > 0) {
      const node = open.pop();
      if (this.matches(nodes.frame[node])) count += this.paths.all[node];
      else open.push(...this.paths.childrenOf(node));
    }
    return count;
  }

  draw() {
    const {paths} = this, width = this.box.clientWidth;
    const filler = element('div', 'filler');
    byId('flame-reset').hidden = this.zoomed < 0;
    byId('flame-matches').textContent =
      this.query === '' || paths.total === 0 ? '' : `${formatShare(this.matched() / paths.total)} matched`;
    this.shown = new Map();
    if (paths.total === 0) {
      this.box.replaceChildren();
      this.box.removeAttribute('aria-activedescendant');
      return;
    }
    const place = (node, level, left, size, className) => {
      if (size < 1) return;
      const box = this.boxOf(node, size, className);
      box.style.cssText = `left:${left}px;top:${level * this.rowHeight}px;width:${Math.max(1, size - 1)}px`;
      box.setAttribute('aria-level', level + 1);
      this.shown.set(node, {level, left, size, box});
      filler.append(box);
    };
    const ancestors = [];
    for (let node = this.zoomed; node >= 0; node = nodes.parent[node]) ancestors.unshift(node);
    ancestors.unshift(-1);
    ancestors.forEach((node, level) => place(node, level, 0, width, node === this.zoomed ? '' : 'outer'));
    let deepest = ancestors.length;
    const scale = width / (this.zoomed < 0 ? paths.total : paths.all[this.zoomed]);
    const open = [[this.zoomed, ancestors.length, 0]];
    while (open.length > 0) {
      let [parent, level, left] = open.pop();
      for (const node of paths.childrenOf(parent)) {
        const size = paths.all[node] * scale;
        if (size < 1) break;
        place(node, level, left, size, '');
        deepest = Math.max(deepest, level + 1);
        open.push([node, level + 1, left]);
        left += size;
      }
    }
    filler.style.height = `${deepest * this.rowHeight}px`;
    this.box.replaceChildren(filler);
    if (!this.shown.has(this.current)) this.current = this.zoomed;
    this.point(this.current);
  }

  boxOf(node, size, className) {
    const box = element('div', `frame ${className}`);
    box.dataset.node = node;
    box.id = `frame-${node}`;
    box.setAttribute('role', 'treeitem');
    const count = node < 0 ? this.paths.total : this.paths.all[node];
    if (node < 0) {
      box.classList.add('base');
      box.textContent = `${formatCpu(count)} CPU · ${plural(count, 'sample')}`;
      return box;
    }
    const frame = nodes.frame[node], name = frameNames[frame];
    box.classList.add(frameKinds[frames.kind[frame]], `shade-${frameShades[frame]}`);
    if (this.matches(frame)) box.classList.add('match');
    box.setAttribute('aria-label', `${name}, ${formatShare(count / this.paths.total)}, ${plural(count, 'sample')}`);
    if (size > 24) box.textContent = size > name.length * 7 ? name : shortName(name);
    return box;
  }

  point(node) {
    this.shown.get(this.current)?.box.classList.remove('current');
    this.current = node;
    const at = this.shown.get(node);
    if (at === undefined) return;
    at.box.classList.add('current');
    this.box.setAttribute('aria-activedescendant', at.box.id);
    const top = at.level * this.rowHeight;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + this.rowHeight > this.box.scrollTop + this.box.clientHeight)
      this.box.scrollTop = top + this.rowHeight - this.box.clientHeight;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Escape') {
      if (byId('flame-search').value !== '') clearSearch(byId('flame-search'));
      else if (this.zoomed >= 0) this.zoom(-1);
      else this.onBack();
    } else if (this.paths.total > 0 && event.key === 'Enter') this.zoom(this.current);
    else if (this.paths.total > 0 && event.key.startsWith('Arrow')) {
      const target = this.neighbour(event.key);
      if (target !== undefined && this.shown.has(target)) {
        this.point(target);
        const {left, top, height} = this.shown.get(target).box.getBoundingClientRect();
        showTip(this.tipOf(target), left, top + height - 14);
      }
    } else return;
    event.preventDefault();
  }

  // Down is to what is called, left and right among boxes of one level.
  neighbour(key) {
    const {current} = this, at = this.shown.get(current);
    if (key === 'ArrowDown') {
      const inZoom = current < 0 || at.level < this.shown.get(this.zoomed).level;
      if (inZoom && current !== this.zoomed)
        for (let node = this.zoomed; node >= 0; node = nodes.parent[node])
          if (nodes.parent[node] === current) return node;
      return this.paths.childrenOf(current)[0];
    }
    if (key === 'ArrowUp') return current < 0 ? undefined : nodes.parent[current];
    const level = [...this.shown].filter(([, place]) => place.level === at.level)
      .sort(([, a], [, b]) => a.left - b.left);
    const index = level.findIndex(([node]) => node === current);
    return level[index + (key === 'ArrowRight' ? 1 : -1)]?.[0];
  }

  tipOf(node) {
    const {paths} = this;
    if (node < 0)
      return [['strong', 'All samples shown'], ['', `${formatCpu(paths.total)} in ${plural(paths.total, 'sample')}`],
              ...(paths.withoutStack > 0 ? [['warn', `${plural(paths.withoutStack, 'sample')} without a stack`]] : [])];
    const frame = nodes.frame[node];
    const lines = [['strong mono', frameNames[frame]]];
    const place = text(frames.file[frame]) || text(frames.module[frame]);
    if (place !== '') lines.push(['dim', place]);
    lines.push(['', `${formatCpu(paths.all[node])}, ${formatShare(paths.all[node] / paths.total)} of what is shown`],
               ['', `${formatCpu(paths.own[node])} in itself · ${plural(paths.all[node], 'sample')}`]);
    if (frames.kind[frame] !== frameCode) lines.push(['dim', frameKindNames[frames.kind[frame]]]);
    return lines;
  }
}

function clearSearch(field) {
  field.value = '';
  field.dispatchEvent(new Event('input'));
}
)js";

}  // namespace otel_ebpf::profile::detail::report_page
