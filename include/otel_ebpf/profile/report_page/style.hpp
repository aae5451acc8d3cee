// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The page of to_report_html, part: layout and shapes.
#pragma once

#include <string_view>

namespace otel_ebpf::profile::detail::report_page {

inline constexpr std::string_view style = R"css(
* { box-sizing: border-box; }
[hidden] { display: none !important; }
html, body { height: 100%; margin: 0; }
body {
  display: flex; flex-direction: column; background: var(--page); color: var(--text);
  font: 13px/1.4 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums;
}
button, input { font: inherit; color: inherit; }
button { cursor: pointer; border: 1px solid var(--line); border-radius: 6px; background: var(--panel);
  padding: 3px 10px; }
button:hover { background: var(--hover); }
h1, h2, h3, p, dl, dd, ol { margin: 0; padding: 0; }
h1 { font-size: 17px; font-weight: 650; letter-spacing: -.01em; }
h2 { font-size: 13px; font-weight: 650; }
h3 { font-size: 12px; font-weight: 650; }
:focus { outline: none; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }

/* ---- head ---- */
#summary { display: flex; align-items: center; gap: 12px 28px; padding: 12px 16px 10px; flex-wrap: wrap; }
.heading { min-width: 0; margin-right: auto; }
.heading h1, .heading p { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.heading p { color: var(--muted); font-size: 12px; }
#figures { display: flex; flex-wrap: wrap; gap: 8px 24px; }
#figures dt { color: var(--muted); font-size: 11px; }
#figures dd { font-size: 15px; font-weight: 600; line-height: 1.25; }
#figures .linked { min-width: 84px; }
#figures .linked::after {
  content: ""; display: block; height: 3px; margin-top: 2px; border-radius: 2px;
  background: linear-gradient(to right, var(--cpu) var(--share), var(--line-strong) var(--share));
}
#figures .bad dd { color: var(--bad); }
#figures .warn dd { color: var(--warn); }
#help-button { width: 26px; height: 26px; padding: 0; border-radius: 50%; color: var(--muted); }
#notes { margin: 0 16px 10px; padding: 7px 12px; border-radius: 8px; background: var(--warn-soft); color: var(--warn); }

/* ---- panels ---- */
main {
  flex: 1; min-height: 0; display: grid; gap: 10px; padding: 0 12px 12px;
  grid-template: minmax(0, 2fr) minmax(0, 3fr) / minmax(430px, 38%) minmax(0, 1fr);
}
.panel {
  display: flex; flex-direction: column; min-width: 0; min-height: 0; overflow: hidden;
  background: var(--panel); border: 1px solid var(--line); border-radius: 10px;
}
#traces { grid-row: 1 / 3; }
.bar { display: flex; align-items: center; gap: 6px 10px; padding: 8px 12px; min-height: 44px; }
.bar h2 { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; min-width: 60px; }
.count { color: var(--muted); white-space: nowrap; font-size: 12px; }
.bar input { margin-left: auto; min-width: 90px; width: 230px; flex: 0 1 230px; }
#profile .bar .switch { margin-left: auto; }
#profile .bar input { margin-left: 0; flex: 0 0 170px; }
input[type=search] {
  padding: 4px 10px; border: 1px solid var(--line-strong); border-radius: 6px; background: var(--panel);
}
input::placeholder { color: var(--muted); }
.key { display: flex; align-items: center; gap: 5px; font-size: 12px; color: var(--muted); white-space: nowrap; }
.keys { display: flex; gap: 12px; margin-left: auto; }
.key i { width: 16px; height: 8px; border-radius: 2px; }
.key .wall { background: color-mix(in srgb, var(--service-0) 42%, var(--panel)); }
.key .cpu { background: var(--cpu); }
.switch { display: inline-flex; border-radius: 6px; background: var(--page); padding: 2px; flex: none; }
.switch button { border: 0; background: none; padding: 2px 9px; color: var(--muted); border-radius: 5px;
  font-size: 12px; }
.switch button:disabled { opacity: .5; cursor: default; }
.switch button[aria-pressed=true] { background: var(--panel); color: var(--text);
  box-shadow: 0 0 0 1px var(--line-strong); }
.pinned { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; padding: 0 12px 8px; }
.pinned button { display: flex; justify-content: space-between; gap: 8px; padding: 6px 10px;
  background: var(--raised); }
.pinned b { color: var(--cpu-text); font-weight: 600; white-space: nowrap; }
.pinned button:hover { background: var(--hover); }
.pinned button[aria-pressed=true] { background: var(--chosen); border-color: var(--accent); }

/* ---- lists ---- */
.list, #flame, #hot { flex: 1; min-height: 0; overflow: auto; position: relative; overscroll-behavior: contain; }
.filler { position: relative; min-width: 100%; }
.row { position: absolute; left: 0; right: 0; display: grid; align-items: center; cursor: default; padding: 0 12px;
  gap: 12px; }
.row:hover { background: var(--hover); }
.row.current { background: var(--chosen); box-shadow: inset 3px 0 var(--accent); }
.row > div { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.columns { display: grid; gap: 12px; padding: 0 12px; border-bottom: 1px solid var(--line); color: var(--muted);
           font-size: 11.5px; align-items: center; height: 26px; scrollbar-gutter: stable; overflow: hidden; }
.list { scrollbar-gutter: stable; }
.columns button { border: 0; background: none; padding: 2px 0; color: inherit; border-radius: 3px;
  white-space: nowrap; }
.columns button:hover { color: var(--text); }
.columns .sorted { color: var(--text); font-weight: 600; }
.arrow { font-size: 8px; margin-left: 4px; vertical-align: 1px; }
[data-empty]:not([data-empty=""])::before {
  content: attr(data-empty); position: absolute; inset: 0; display: grid; place-items: center; text-align: center;
  padding: 16px; color: var(--muted);
}
.trace-columns, #trace-list .row { grid-template-columns: 66px minmax(0, 1fr) 38px 66px 62px; gap: 10px; }
#trace-list .row { height: 28px; }
.spans, .duration, .cpu, .wall, .own, .tree { text-align: right; }
#trace-list .start, #trace-list .spans { color: var(--muted); }
#trace-list .name { display: flex; gap: 8px; align-items: center; }
#trace-list .title { overflow: hidden; text-overflow: ellipsis; font-weight: 550; }
.service { color: var(--muted); font-size: 12px; display: inline-flex; align-items: center; gap: 5px; flex: none;
           max-width: 35%; overflow: hidden; }
.service::before { content: ""; width: 8px; height: 8px; border-radius: 2px; background: var(--service); flex: none; }
.measured { line-height: 24px; background: linear-gradient(to left, var(--full), var(--full)) right bottom no-repeat;
            background-size: var(--share) 3px; }
.duration.measured { --full: var(--wall-line); }
.cpu.measured { --full: var(--cpu); }
.none { color: var(--muted); }
.mark { font-size: 11px; padding: 0 6px; border-radius: 4px; flex: none; line-height: 16px; }
.mark.error { background: var(--bad-soft); color: var(--bad); }
.mark.missing { background: var(--warn-soft); color: var(--warn); }

/* ---- waterfall ---- */
.span-columns, #span-list .row { grid-template-columns: minmax(120px, 34%) 62px 62px 64px minmax(80px, 1fr);
  gap: 10px; }
#span-list .row { height: 26px; }
#span-list .row .own:not(.none) { color: var(--cpu-text); font-weight: 600; }
#span-list .wall { color: var(--text); }
#span-list .tree { color: var(--muted); }
#span-list .name { display: flex; align-items: center; gap: 6px; }
#span-list .label { overflow: hidden; text-overflow: ellipsis; }
.fold, .leaf { flex: none; width: 14px; height: 18px; display: inline-grid; place-items: center; }
.fold::before { content: ""; border: 4px solid transparent; border-top-color: var(--muted);
  transform: translateY(2px); }
.fold.folded::before { transform: rotate(-90deg) translateY(2px); }
.leaf::before { content: ""; width: 5px; height: 5px; border-radius: 50%; background: var(--service); }
.row .time { position: relative; align-self: stretch; overflow: visible !important; }
.extent {
  position: absolute; top: 6px; bottom: 6px; border-radius: 3px;
  background: color-mix(in srgb, var(--service) 42%, var(--panel));
}
.extent.missing { background: none; border: 1px dashed var(--warn); }
.row .time svg { position: absolute; left: 0; top: 9px; width: 100%; height: 8px; pointer-events: none; }
.row .time path { fill: var(--cpu); }
.axis { position: relative; height: 100%; }
.axis span { position: absolute; top: 5px; padding-left: 4px; border-left: 1px solid var(--line-strong);
  white-space: nowrap;
             line-height: 16px; }
.row.unfound .label { opacity: .55; }
.row.found .label { background: color-mix(in srgb, var(--match) 38%, transparent); border-radius: 3px; padding: 0 3px; }

/* ---- profile ---- */
#profile { display: grid; grid-template: auto minmax(0, 1fr) auto / minmax(0, 1fr) 310px; }
#legend { display: flex; gap: 14px; padding: 0 12px 8px; }
#legend .code { background: var(--code-0); } #legend .runtime { background: var(--runtime); }
#legend .kernel { background: var(--kernel); } #legend .unknown { background: var(--unknown); }
#profile > .bar { grid-column: 1 / 3; border-bottom: 1px solid var(--line); }
#flame { overflow-x: hidden; margin: 8px 0 8px 10px; scrollbar-gutter: stable; }
.frame {
  position: absolute; height: 19px; line-height: 19px; padding: 0 5px; overflow: hidden; white-space: nowrap;
  text-overflow: ellipsis; border-radius: 2px; font: 12px/19px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  color: var(--frame-text); cursor: pointer; background: var(--color);
}
.frame:empty { padding: 0; }
.shade-0 { --color: var(--code-0); } .shade-1 { --color: var(--code-1); }
.shade-2 { --color: var(--code-2); } .shade-3 { --color: var(--code-3); }
.frame.runtime { --color: var(--runtime); } .frame.kernel { --color: var(--kernel); }
.frame.unknown { --color: var(--unknown); }
.frame.base { --color: var(--base); color: var(--text); font-family: inherit; font-weight: 600; }
.frame.match { --color: var(--match); }
.frame.outer { opacity: .65; }
.frame:hover { filter: brightness(1.07) saturate(1.15); }
#flame:focus .frame.current { box-shadow: inset 0 0 0 2px var(--text); }
#flame:focus .frame.current:not(.base) { box-shadow: inset 0 0 0 2px var(--frame-text); }
#flame:focus-visible { outline-offset: 1px; border-radius: 4px; }
aside { grid-area: 2 / 2 / 4 / 3; display: flex; flex-direction: column; min-height: 0;
        border-left: 1px solid var(--line); }
.side-bar { display: flex; justify-content: space-between; align-items: center; padding: 8px 12px 4px;
  min-height: 34px; }
#hot { list-style: none; flex: 3 1 0; }
#hot button {
  display: flex; width: 100%; gap: 8px; justify-content: space-between; border: 0; border-radius: 0; padding: 2px 12px;
  text-align: left; background: linear-gradient(to right, var(--soft) var(--share), transparent var(--share));
  --soft: var(--cpu-soft);
}
#hot .runtime { --soft: color-mix(in srgb, var(--runtime) 40%, transparent); }
#hot .kernel { --soft: color-mix(in srgb, var(--kernel) 40%, transparent); }
#hot .unknown { --soft: color-mix(in srgb, var(--unknown) 40%, transparent); }
#hot button:hover { text-decoration: underline; }
#hot .function { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.function, .mono, kbd { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 12px; }
#hot b { font-weight: 500; white-space: nowrap; }
#facts { flex: 2 1 0; min-height: 0; overflow: auto; display: grid; grid-template-columns: auto minmax(0, 1fr);
         gap: 2px 10px; padding: 0 12px 10px; align-content: start; font-size: 12px; }
#facts dt { color: var(--muted); max-width: 164px; overflow-wrap: anywhere; }
#facts dd { overflow-wrap: anywhere; }
aside .side-bar:nth-of-type(2) { border-top: 1px solid var(--line); margin-top: 4px; }

/* ---- above the page ---- */
#tip {
  position: fixed; z-index: 9; max-width: min(560px, 90vw); padding: 7px 11px; border-radius: 8px; pointer-events: none;
  background: var(--panel); border: 1px solid var(--line-strong); box-shadow: var(--shadow); overflow-wrap: anywhere;
}
.strong { font-weight: 650; } .dim { color: var(--muted); } .bad { color: var(--bad); } .warn { color: var(--warn); }
dialog { border: 1px solid var(--line-strong); border-radius: 12px; background: var(--panel); color: var(--text);
         box-shadow: var(--shadow); padding: 18px 22px; }
dialog::backdrop { background: rgb(10 14 20 / 35%); }
dialog dl { display: grid; grid-template-columns: auto 1fr; gap: 8px 18px; margin: 12px 0 16px; }
kbd { border: 1px solid var(--line-strong); border-bottom-width: 2px; border-radius: 4px; padding: 0 5px; }

/* ---- small windows: one panel below the other ---- */
@media (max-width: 900px) {
  html, body { height: auto; }
  main { display: flex; flex-direction: column; }
  #traces { height: 330px; } #waterfall { height: 300px; }
  #profile { display: flex; }
  .bar { flex-wrap: wrap; }
  .keys, #help-button, #trace-list .service { display: none; }
  .pinned button { flex-wrap: wrap; gap: 0 8px; }
  #flame { flex: none; height: 340px; margin-right: 10px; }
  aside { border-left: 0; border-top: 1px solid var(--line); }
  #hot { flex: none; height: 220px; } #facts { flex: none; }
  .trace-columns, #trace-list .row { grid-template-columns: minmax(0, 1fr) 74px 74px; }
  .trace-columns .start, .trace-columns .spans, #trace-list .start, #trace-list .spans { display: none; }
  .span-columns, #span-list .row { grid-template-columns: minmax(90px, 36%) 56px 60px minmax(60px, 1fr); gap: 8px; }
  .span-columns .tree, #span-list .tree { display: none; }
  #profile .bar .switch { margin-left: 0; }
}
@media (prefers-reduced-motion: no-preference) { .row, .switch button { transition: background-color .08s; } }
)css";

}  // namespace otel_ebpf::profile::detail::report_page
