#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Counts the test cases of JUnit files and of lines `SKIPPED: TEST: reason`.

usage: summarize_tests.py RESULTS          every suite's failures and skips, and at last `N passed, N failed, N skipped`
       summarize_tests.py RESULTS SUITE    one line for one suite

RESULTS holds for each suite SUITE.xml or SUITE-*.xml (JUnit), SUITE.log (its output) and SUITE.status: exit code and
seconds in one line. A suite that ends badly without a failed case in its XML counts as one failure. The exit code is 1
when anything failed.
"""
from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

LOG_LINES = 25
MOST_SKIPS_LISTED = 5  # with the same reason


@dataclass
class Suite:
    name: str
    exit_code: int
    seconds: float
    passed: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)  # test, message
    skipped: list[tuple[str, str]] = field(default_factory=list)  # test, reason

    def line(self) -> str:
        text = f"{self.name:<14}{len(self.passed):>5} passed"
        text += f", {len(self.failed)} failed" if self.failed else ""
        text += f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"{text:<50}{self.seconds:>7.1f} s"


def message_of(element: ElementTree.Element) -> str:
    text = element.get("message") or ""
    body = (element.text or "").strip()
    return f"{text}\n{body}".strip() if body != text else text


def read_xml(suite: Suite, path: Path) -> None:
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError) as error:
        suite.failed.append((path.name, f"no complete result, the run ended early: {error}"))
        return
    for case in root.iter("testcase"):
        name = case.get("name", "?").removeprefix(f"{suite.name}: ")
        problems = [child for child in case if child.tag in ("failure", "error")]
        skips = [child for child in case if child.tag == "skipped"]
        if problems:
            # ctest keeps what a failed test printed apart from the failure.
            output = case.findtext("system-out", "") if case.get("status") else ""
            suite.failed.append((name, "\n".join([*map(message_of, problems), output]).strip()))
        elif skips or case.get("status") in ("notrun", "disabled"):
            reason = message_of(skips[0]).splitlines() if skips else []
            suite.skipped.append((name, reason[0] if reason else "not run"))
        else:
            suite.passed.append(name)


def move_skipped(suite: Suite, log: str) -> None:
    """Catch2 v2 knows no skips: a test that prints the line has passed for it."""
    lines = dict.fromkeys(line.removeprefix("SKIPPED: ") for line in log.splitlines() if line.startswith("SKIPPED: "))
    for line in lines:
        names = [name for name in suite.passed if line.startswith(f"{name}: ")]
        test = max(names, key=len) if names else line.partition(": ")[0]
        if names:
            suite.passed.remove(test)
        suite.skipped.append((test, line.removeprefix(f"{test}: ")))


def what_went_wrong(log: str) -> str:
    """The lines that look like errors, else the last ones."""
    lines = log.splitlines()
    pattern = re.compile(r"error\b|undefined reference|ERROR|no end after")
    errors = list(dict.fromkeys(filter(pattern.search, lines)))
    return "\n".join(errors[:LOG_LINES] or lines[-LOG_LINES:])


def read_suite(results: Path, name: str) -> Suite:
    status = (results / f"{name}.status").read_text().split()
    suite = Suite(name, int(status[0]), float(status[1]))
    for path in sorted({*results.glob(f"{name}.xml"), *results.glob(f"{name}-*.xml")}):
        read_xml(suite, path)
    log = (results / f"{name}.log").read_text(errors="replace")
    move_skipped(suite, log)
    if suite.exit_code != 0 and not suite.failed:
        suite.failed.append((f"exit code {suite.exit_code}", what_went_wrong(log)))
    return suite


def skip_lines(suite: Suite) -> list[str]:
    """A line per test; one for all where many have the same reason."""
    tests: dict[str, list[str]] = {}
    for test, reason in suite.skipped:
        tests.setdefault(reason, []).append(test)
    lines = []
    for reason, names in tests.items():
        if len(names) > MOST_SKIPS_LISTED:
            names = [f"{len(names)} tests ({names[0]} ... {names[-1]})"]
        lines += [f"skipped: {suite.name}: {name}: {reason}" for name in names]
    return lines


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()[:60])


def main() -> int:
    results = Path(sys.argv[1])
    if len(sys.argv) > 2:
        suite = read_suite(results, sys.argv[2])
        print(suite.line())
        return 1 if suite.failed else 0

    suites = [read_suite(results, path.stem)
              for path in sorted(results.glob("*.status"), key=lambda path: path.stat().st_mtime)]
    for suite in suites:
        for test, message in suite.failed:
            print(f"\nFAILED: {suite.name}: {test}\n{indented(message)}")
    skips = [line for suite in suites for line in skip_lines(suite)]
    print("\n".join(["", *skips] if skips else []))
    passed, failed, skipped = (sum(len(part) for part in parts) for parts in (
        [suite.passed for suite in suites], [suite.failed for suite in suites], [suite.skipped for suite in suites]))
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
