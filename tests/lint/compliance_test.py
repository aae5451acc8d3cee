#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Every test that docs/ name exists, and every requirement that is called met in docs/compliance.md names one."""
from __future__ import annotations

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = re.compile(r"`(tests/[\w./-]+)::([^`]+)`")
LEVELS = {"MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "rule"}


def tests_in(path: Path) -> set[str]:
    text = path.read_text()
    if path.suffix == ".py":
        return set(re.findall(r"^ *def (test_\w+)\(", text, re.MULTILINE))
    if path.suffix == ".cpp":
        return set(re.findall(r'^TEST_CASE\("([^"]+)"', text, re.MULTILINE))
    return set()


def missing(text: str) -> list[str]:
    """References of a document that lead nowhere."""
    gone = []
    for file, name in REFERENCE.findall(text):
        path = ROOT / file
        if not path.is_file() or name not in tests_in(path):
            gone.append(f"{file}::{name}")
    return gone


def requirements(text: str) -> list[list[str]]:
    """Cells of the rows whose second column is a level."""
    rows = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("|") and len(cells) >= 2 and cells[1] in LEVELS:
            rows.append(cells)
    return rows


class Compliance(unittest.TestCase):
    def test_named_tests_exist(self) -> None:
        for page in sorted((ROOT / "docs").glob("*.md")):
            with self.subTest(page=page.name):
                self.assertEqual(missing(page.read_text()), [])

    def test_what_is_met_is_shown_by_a_test(self) -> None:
        rows = requirements((ROOT / "docs" / "compliance.md").read_text())
        self.assertGreater(len(rows), 60)
        for cells in rows:
            with self.subTest(requirement=cells[0]):
                self.assertEqual(len(cells), 4, "requirement | level | met | test or reason")
                self.assertIn(cells[2], {"yes", "no", "not ours"})
                if cells[2] == "yes":
                    self.assertRegex(cells[3], REFERENCE)
                else:
                    self.assertGreater(len(cells[3]), 10, "why not")

    def test_a_lost_test_is_noticed(self) -> None:
        here = "tests/lint/compliance_test.py"
        self.assertEqual(missing(f"`{here}::test_a_lost_test_is_noticed`"), [])
        self.assertEqual(missing(f"`{here}::test_gone` `tests/gone.py::test_x`"),
                         [f"{here}::test_gone", "tests/gone.py::test_x"])
        self.assertEqual(requirements("| a | MUST | yes | `x` |\n| b | c | d | e |"), [["a", "MUST", "yes", "`x`"]])


if __name__ == "__main__":
    unittest.main()
