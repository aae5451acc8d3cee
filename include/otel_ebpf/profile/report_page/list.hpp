// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The page of to_report_html, part: lists of any length, of which only the visible rows are elements.
#pragma once

#include <string_view>

namespace otel_ebpf::profile::detail::report_page {

inline constexpr std::string_view list = R"js(
// Rows of one height in a scrolled box. The box has the focus and names its current row (aria-activedescendant), so
// that rows can come and go. `options`: role, rowRole, rowHeight, render(row element, index), choose(index, event),
// open(), key(event).
class List {
  constructor(box, options) {
    this.box = box;
    this.options = options;
    this.count = 0;
    this.current = -1;
    this.filler = element('div', 'filler');
    box.append(this.filler);
    box.setAttribute('role', options.role);
    box.addEventListener('scroll', () => this.drawSoon(), {passive: true});
    new ResizeObserver(() => this.drawSoon()).observe(box);
    box.addEventListener('keydown', event => this.onKey(event));
    box.addEventListener('click', event => {
      const index = this.indexAt(event.target);
      if (index >= 0) this.choose(index, event);
    });
    box.addEventListener('dblclick', event => {
      if (this.indexAt(event.target) >= 0) this.options.open();
    });
  }

  indexAt(target) {
    const row = target.closest('[data-index]');
    return row === null ? -1 : Number(row.dataset.index);
  }

  // New rows; `current` is the one that is chosen, or -1.
  show(count, current) {
    this.count = count;
    this.current = current;
    this.filler.style.height = `${count * this.options.rowHeight}px`;
    this.box.setAttribute('aria-rowcount', count);
    this.reveal();
    this.draw();
  }

  choose(index, event) {
    this.current = index;
    this.reveal();
    this.options.choose(index, event);
    this.draw();
  }

  reveal() {
    if (this.current < 0) return;
    const top = this.current * this.options.rowHeight, height = this.box.clientHeight;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + this.options.rowHeight > this.box.scrollTop + height)
      this.box.scrollTop = top + this.options.rowHeight - height;
  }

  drawSoon() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = undefined;
      this.draw();
    });
  }

  draw() {
    const height = this.options.rowHeight;
    const first = Math.max(0, Math.floor(this.box.scrollTop / height) - 4);
    const end = Math.min(this.count, Math.ceil((this.box.scrollTop + this.box.clientHeight) / height) + 4);
    const rows = [];
    for (let index = first; index < end; ++index) {
      const row = element('div', index === this.current ? 'row current' : 'row');
      row.id = `${this.box.id}-${index}`;
      row.dataset.index = index;
      row.style.top = `${index * height}px`;
      row.setAttribute('role', this.options.rowRole);
      row.setAttribute('aria-rowindex', index + 1);
      row.setAttribute('aria-selected', index === this.current);
      this.options.render(row, index);
      rows.push(row);
    }
    this.filler.replaceChildren(...rows);
    if (this.current >= first && this.current < end)
      this.box.setAttribute('aria-activedescendant', `${this.box.id}-${this.current}`);
    else this.box.removeAttribute('aria-activedescendant');
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.count === 0) return;
    const page = Math.max(1, Math.floor(this.box.clientHeight / this.options.rowHeight) - 1);
    const last = this.count - 1;
    const target = {ArrowDown: this.current + 1, ArrowUp: this.current - 1, PageDown: this.current + page,
                    PageUp: this.current - page, Home: 0, End: last}[event.key];
    if (target !== undefined) this.choose(Math.min(Math.max(target, 0), last), event);
    else if (event.key === 'Enter') this.options.open();
    else if (this.options.key?.(event) !== true) return;
    event.preventDefault();
  }
}

// ---- the tool tip ----

const tip = byId('tip');

// Lines are [className, text]; beside the pointer or under an element.
function showTip(lines, x, y) {
  tip.replaceChildren(...lines.map(([className, line]) => element('div', className, line)));
  tip.hidden = false;
  const {width, height} = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - width - 8))}px`;
  tip.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 8) : y + 18}px`;
}

function hideTip() {
  tip.hidden = true;
}

// linesOf(element under the pointer) gives the lines, or undefined for none.
function tipOver(box, linesOf) {
  box.addEventListener('pointermove', event => {
    const lines = event.buttons === 0 ? linesOf(event.target, event) : undefined;
    if (lines === undefined) hideTip();
    else showTip(lines, event.clientX, event.clientY);
  });
  box.addEventListener('pointerleave', hideTip);
  box.addEventListener('scroll', hideTip, {passive: true});
}
)js";

}  // namespace otel_ebpf::profile::detail::report_page
