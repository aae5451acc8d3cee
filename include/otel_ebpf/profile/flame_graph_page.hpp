// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What a flame graph consists of beside its boxes: the document, its colours, and the script that zooms and searches.
#pragma once

#include <string_view>

namespace otel_ebpf::profile::detail {

// Arguments of fmt::format: width, height, title, note, boxes, style, script, bottom.
inline constexpr const char* flame_graph_document = R"svg(<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="100%" role="application"
 aria-label="{title}: flame graph. Arrow keys move, Enter zooms, Escape resets, / searches">
<style>{style}</style>
<rect class="page" width="100%" height="100%"/>
<text class="title" x="8" y="24">{title}</text>
<text class="note" x="8" y="42">{note}</text>
<text class="hint" x="8" y="60">click or Enter: zoom · Esc: back · /: search · arrows: move</text>
<foreignObject x="880" y="8" width="312" height="30">
<input xmlns="http://www.w3.org/1999/xhtml" id="search" type="search" placeholder="search functions and spans"
 aria-label="search"/></foreignObject>
<text id="found" class="note" x="1192" y="56" text-anchor="end"></text>
<g id="boxes">
{boxes}</g>
<text id="details" class="note" x="8" y="{bottom}"></text>
<script><![CDATA[{script}]]></script>
</svg>
)svg";

inline constexpr std::string_view flame_graph_style = R"css(
svg { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
 --page: #fbfaf8; --ink: #1d1b18; --soft: #5d5850;
 --all: #d9d5cd; --process: #c3ccd6; --span: #8db8ea; --none: #d8d8d8; --kernel: #c9b6e4; --runtime: #a9d3c4;
 --u0: #f6b26b; --u1: #f2a65a; --u2: #f7c07a; --u3: #ee9a5d; --u4: #f5b884; --match: #e84a8a; --match-ink: #ffffff; }
@media (prefers-color-scheme: dark) {
 svg { --page: #17181b; --ink: #eceae6; --soft: #a7a49c;
 --all: #3a3c42; --process: #3d4a58; --span: #27558c; --none: #41434a; --kernel: #563f7d; --runtime: #22594a;
 --u0: #8a4b12; --u1: #7c4210; --u2: #955717; --u3: #7a3a17; --u4: #8b4f24; --match: #ff7ab0; --match-ink: #17181b; }
}
.page { fill: var(--page); } text { fill: var(--ink); pointer-events: none; }
.title { font-size: 18px; font-weight: 600; } .note, .hint { fill: var(--soft); }
.f { cursor: pointer; outline: none; } .f:hover rect, .f:focus rect { stroke: var(--ink); stroke-width: 1.5; }
.all rect { fill: var(--all); } .process rect { fill: var(--process); } .span rect { fill: var(--span); }
.none rect { fill: var(--none); } .kernel rect { fill: var(--kernel); } .runtime rect { fill: var(--runtime); }
.u0 rect { fill: var(--u0); } .u1 rect { fill: var(--u1); } .u2 rect { fill: var(--u2); }
.u3 rect { fill: var(--u3); } .u4 rect { fill: var(--u4); }
.span text { font-weight: 600; } .above { opacity: 0.55; }
.match rect { fill: var(--match); } .match text { fill: var(--match-ink); }
#search { box-sizing: border-box; width: 100%; height: 28px; font: inherit; color: var(--ink); background: var(--page);
 border: 1px solid var(--soft); border-radius: 4px; padding: 0 8px; }
)css";

inline constexpr std::string_view flame_graph_script = R"js(
(() => {
  const WIDTH = 1200, CHARACTER = 7;
  const boxes = [...document.querySelectorAll('.f')].map(g => {
    const rect = g.querySelector('rect'), title = g.querySelector('title').textContent;
    return { g, rect, text: g.querySelector('text'), title, depth: +g.dataset.d, samples: +g.dataset.s,
      x: +rect.getAttribute('x'), w: +rect.getAttribute('width'),
      name: title.replace(/, \d+ samples, [^,]*, [^,]*$/, '') };
  });
  if (boxes.length === 0) return;
  const details = document.getElementById('details'), found = document.getElementById('found');
  const search = document.getElementById('search');
  const last = [];
  for (const box of boxes) {  // in the order in which a walk of the tree meets them
    last.length = box.depth;
    box.parent = last[box.depth - 1] || null;
    last[box.depth] = box;
  }
  let zoomed = boxes[0], current = boxes[0];

  function draw(box, x, w, above) {
    box.g.style.display = w < 0.1 ? 'none' : '';
    if (w < 0.1) return;
    box.rect.setAttribute('x', x.toFixed(2));
    box.rect.setAttribute('width', w.toFixed(2));
    box.text.setAttribute('x', (x + 4).toFixed(2));
    const fits = Math.floor((w - 8) / CHARACTER), all = [...box.name];
    box.text.textContent = all.length <= fits ? box.name : fits < 3 ? '' : all.slice(0, fits - 1).join('') + '…';
    box.g.classList.toggle('above', above);
  }
  function zoom(target) {
    zoomed = target;
    const ancestors = new Set();
    for (let box = target.parent; box; box = box.parent) ancestors.add(box);
    const end = target.x + target.w;
    for (const box of boxes) {
      if (ancestors.has(box)) draw(box, 0, WIDTH, true);
      else if (box.depth < target.depth || box.x < target.x - 0.005 || box.x + box.w > end + 0.015)
        box.g.style.display = 'none';
      else draw(box, (box.x - target.x) / target.w * WIDTH, box.w / target.w * WIDTH, false);
    }
  }
  function show(box) { details.textContent = box.title; }
  function select(box) {
    current.g.removeAttribute('tabindex');
    current = box;
    box.g.setAttribute('tabindex', '0');
    box.g.focus();
    show(box);
  }
  function mark() {
    const wanted = search.value.toLowerCase();
    let samples = 0, until = -1;
    for (const box of boxes) {
      const hit = wanted !== '' && box.name.toLowerCase().includes(wanted);
      box.g.classList.toggle('match', hit);
      if (!hit || box.x < until - 0.005) continue;  // inside one that was counted
      samples += box.samples;
      until = box.x + box.w;
    }
    const share = (100 * samples / boxes[0].samples).toFixed(1);
    found.textContent = wanted === '' ? '' : 'found in ' + share + ' % of the samples';
  }
  const of = event => {
    const g = event.target.closest && event.target.closest('.f');
    return g && boxes.find(box => box.g === g);
  };
  document.documentElement.addEventListener('click', event => {
    const box = of(event);
    if (!box) return;
    select(box);
    zoom(box);
  });
  document.documentElement.addEventListener('mouseover', event => { const box = of(event); if (box) show(box); });
  search.addEventListener('input', mark);
  document.documentElement.addEventListener('keydown', event => {
    if (event.target === search) {
      if (event.key === 'Escape') { search.value = ''; mark(); search.blur(); select(current); }
      return;
    }
    const visible = box => box.g.style.display !== 'none';
    const row = boxes.filter(box => box.depth === current.depth && visible(box)), at = row.indexOf(current);
    const moves = {
      ArrowUp: () => current.parent, ArrowDown: () => boxes.find(box => box.parent === current && visible(box)),
      ArrowLeft: () => row[at - 1], ArrowRight: () => row[at + 1], Home: () => boxes[0],
    };
    if (moves[event.key]) { const next = moves[event.key](); if (next) select(next); }
    else if (event.key === 'Enter' || event.key === ' ') zoom(current);
    else if (event.key === 'Escape') { zoom(boxes[0]); select(boxes[0]); }
    else if (event.key === '/') search.focus();
    else return;
    event.preventDefault();
  });
  boxes[0].g.setAttribute('tabindex', '0');
})();
)js";

}  // namespace otel_ebpf::profile::detail
