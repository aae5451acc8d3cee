// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// The page of to_report_html, part: the elements that scripts fill.
#pragma once

#include <string_view>

namespace otel_ebpf::profile::detail::report_page {

// `default-src 'none'`: whatever names the data hold, the page loads nothing from anywhere.
inline constexpr std::string_view head = R"html(<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Traces and CPU profile</title>
<link rel="icon" href="data:,">
)html";

inline constexpr std::string_view body = R"html(
<header id="summary">
  <div class="heading"><h1 id="title"></h1><p id="subtitle"></p></div>
  <dl id="figures"></dl>
  <button id="help-button" type="button" title="Keyboard (?)" aria-label="Keyboard">?</button>
</header>
<section id="notes" aria-label="Notes" hidden></section>
<main>
  <section class="panel" id="traces" aria-label="Traces">
    <div class="bar">
      <h2>Traces</h2><span class="count" id="trace-count" role="status"></span>
      <input id="trace-search" type="search" placeholder="Filter: name, attribute, id" aria-label="Filter traces"
             spellcheck="false" autocomplete="off">
    </div>
    <div class="pinned">
      <button type="button" id="view-all"><span>All CPU time</span><b></b></button>
      <button type="button" id="view-outside"><span>Outside of spans</span><b></b></button>
    </div>
    <div class="columns trace-columns" id="trace-columns"></div>
    <div class="list" id="trace-list" tabindex="0"></div>
  </section>
  <section class="panel" id="waterfall" aria-label="Waterfall">
    <div class="bar">
      <h2 id="view-title"></h2><span class="count" id="view-facts"></span>
      <span class="keys"><span class="key"><i class="wall"></i>wall time</span>
      <span class="key"><i class="cpu"></i>on a CPU</span></span>
    </div>
    <div class="columns span-columns" id="span-columns"></div>
    <div class="list" id="span-list" tabindex="0"></div>
  </section>
  <section class="panel" id="profile" aria-label="Flame graph">
    <div class="bar">
      <h2 id="span-title"></h2><span class="count" id="span-facts"></span>
      <div class="switch" role="group" aria-label="Samples of">
        <button type="button" id="scope-own">This span</button>
        <button type="button" id="scope-tree">With children</button>
      </div>
      <input id="flame-search" type="search" placeholder="Search functions" aria-label="Search functions"
             spellcheck="false" autocomplete="off">
      <span class="count" id="flame-matches" role="status"></span>
      <button type="button" id="flame-reset" hidden>Reset zoom</button>
    </div>
    <div id="flame" tabindex="0" role="tree" aria-label="Flame graph"></div>
    <p id="legend">
      <span class="key"><i class="code"></i>program</span><span class="key"><i class="runtime"></i>Go runtime</span>
      <span class="key"><i class="kernel"></i>kernel</span><span class="key"><i class="unknown"></i>no symbol</span>
    </p>
    <aside>
      <div class="side-bar"><h3>Hottest functions</h3>
        <div class="switch" role="group" aria-label="Order of functions">
          <button type="button" id="hot-self">Self</button><button type="button" id="hot-total">Total</button>
        </div>
      </div>
      <ol id="hot"></ol>
      <div class="side-bar"><h3 id="facts-title">Span</h3></div>
      <dl id="facts"></dl>
    </aside>
  </section>
</main>
<div id="tip" role="tooltip" hidden></div>
<dialog id="help" aria-label="Keyboard">
  <h2>Keyboard</h2>
  <dl>
    <dt><kbd>↑</kbd> <kbd>↓</kbd></dt><dd>move: traces, spans, frames of the flame graph</dd>
    <dt><kbd>←</kbd> <kbd>→</kbd></dt><dd>fold and unfold a span; neighbours of a frame</dd>
    <dt><kbd>Enter</kbd></dt><dd>from traces to spans, to the flame graph; there: zoom</dd>
    <dt><kbd>Esc</kbd></dt><dd>back; clears a search, ends a zoom</dd>
    <dt><kbd>/</kbd></dt><dd>search functions in the flame graph, filter traces elsewhere</dd>
    <dt><kbd>c</kbd></dt><dd>samples of the span alone, or with its children</dd>
    <dt><kbd>Tab</kbd></dt><dd>next part of the page</dd>
  </dl>
  <form method="dialog"><button>Close</button></form>
</dialog>
<noscript>This page needs JavaScript: it draws from data that it holds.</noscript>
)html";

}  // namespace otel_ebpf::profile::detail::report_page
