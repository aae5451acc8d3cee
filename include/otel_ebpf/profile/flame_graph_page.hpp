// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// What a flame graph consists of beside its boxes: the document, its colours, and the script that zooms and searches.
#pragma once

#include <string_view>

namespace otel_ebpf::profile::detail {

// Arguments of fmt::format: width, height, percent (height, of the width), title, note, boxes, style, script, bottom.
inline constexpr const char* flame_graph_document = R"svg(<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" preserveAspectRatio="xMidYMin meet" width="100%"
 style="height: max(100vh, {percent:.2f}vw)" role="application"
 aria-label="{title}: flame graph. Arrow keys move, Enter zooms, Escape resets, / searches">
<style>{style}</style>
<text class="title" x="8" y="24">{title}</text>
<text class="note" x="8" y="42">{note}</text>
<text class="hint" x="8" y="60">click or Enter: zoom · Esc: back · /: search · arrows: move</text>
<foreignObject x="880" y="8" width="312" height="30">
<input xmlns="http://www.w3.org/1999/xhtml" id="search" type="search" placeholder="search functions and spans"
 aria-label="search"/></foreignObject>
<text id="reset" x="868" y="27" text-anchor="end" role="button">show all</text>
<text id="found" class="note" x="1192" y="56" text-anchor="end"></text>
<g id="boxes">
{boxes}</g>
<g id="status"><rect class="page" y="{bottom}" width="{width}" height="34"/>
<text id="details" class="note" x="8" y="{bottom}" dy="16"></text></g>
<script><![CDATA[{script}]]></script>
</svg>
)svg";

inline constexpr std::string_view flame_graph_style = R"css(
svg { background: var(--page); font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
 --page: #fbfaf8; --ink: #1d1b18; --soft: #5d5850;
 --all: #d9d5cd; --process: #c3ccd6; --span: #8db8ea; --none: #d8d8d8; --kernel: #c9b6e4; --runtime: #a9d3c4;
 --u0: #f6b26b; --u1: #f2a65a; --u2: #f7c07a; --u3: #ee9a5d; --u4: #f5b884; --match: #bf1f63; --match-ink: #ffffff; }
@media (prefers-color-scheme: dark) {
 svg { --page: #17181b; --ink: #eceae6; --soft: #a7a49c;
 --all: #3a3c42; --process: #3d4a58; --span: #27558c; --none: #41434a; --kernel: #563f7d; --runtime: #22594a;
 --u0: #8a4b12; --u1: #7c4210; --u2: #955717; --u3: #7a3a17; --u4: #8b4f24; --match: #ff7ab0; --match-ink: #17181b; }
}
text { fill: var(--ink); pointer-events: none; }
.page { fill: var(--page); } .title { font-size: 18px; font-weight: 600; } .note, .hint { fill: var(--soft); }
.f { cursor: pointer; outline: none; } .f:hover rect, .f:focus rect { stroke: var(--ink); stroke-width: 1.5; }
.all rect { fill: var(--all); } .process rect { fill: var(--process); } .span rect { fill: var(--span); }
.none rect { fill: var(--none); } .kernel rect { fill: var(--kernel); } .runtime rect { fill: var(--runtime); }
.u0 rect { fill: var(--u0); } .u1 rect { fill: var(--u1); } .u2 rect { fill: var(--u2); }
.u3 rect { fill: var(--u3); } .u4 rect { fill: var(--u4); }
.span text { font-weight: 600; } .above:not(.match) { opacity: 0.8; }
.match rect { fill: var(--match); } .match text { fill: var(--match-ink); }
#reset { fill: var(--ink); text-decoration: underline; cursor: pointer; pointer-events: auto; visibility: hidden; }
.zoomed #reset { visibility: visible; }
#search { box-sizing: border-box; width: 100%; height: 28px; font: inherit; color: var(--ink); background: var(--page);
 border: 1px solid var(--soft); border-radius: 4px; padding: 0 8px; }
)css";

inline constexpr std::string_view flame_graph_script = R"js(
(() => {
  const WIDTH = 1200, CHARACTER = 7.25;
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
  const ofElement = new Map(boxes.map(box => [box.g, box]));
  let current = boxes[0];

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
    picture.classList.toggle('zoomed', target !== boxes[0]);
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
  const picture = document.documentElement, status = document.getElementById('status');
  const end = picture.viewBox.baseVal.height;
  function place() {  // details at the lower edge of what is seen of a picture that is higher than the window
    const seen = (window.scrollY + window.innerHeight) * WIDTH / picture.clientWidth;
    status.setAttribute('transform', 'translate(0 ' + Math.min(0, seen - end) + ')');
  }
  window.addEventListener('scroll', place);
  window.addEventListener('resize', place);
  function select(box) {
    current.g.removeAttribute('tabindex');
    current = box;
    box.g.setAttribute('tabindex', '0');
    box.g.focus();
    const hidden = box.g.getBoundingClientRect().bottom - status.getBoundingClientRect().top;
    if (hidden > 0) window.scrollBy(0, hidden + 4);
    show(box);
  }
  function reset() { zoom(boxes[0]); select(boxes[0]); }
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
    return g && ofElement.get(g);
  };
  picture.addEventListener('click', event => {
    const box = of(event);
    if (!box) return;
    select(box);
    zoom(box);
  });
  picture.addEventListener('mouseover', event => { const box = of(event); if (box) show(box); });
  document.getElementById('reset').addEventListener('click', reset);
  search.addEventListener('input', mark);
  picture.addEventListener('keydown', event => {
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
    else if (event.key === 'Escape') reset();
    else if (event.key === '/') search.focus();
    else return;
    event.preventDefault();
  });
  boxes[0].g.setAttribute('tabindex', '0');
  show(current);
  place();
})();
)js";

}  // namespace otel_ebpf::profile::detail
