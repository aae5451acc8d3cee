#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""scripts/summarize_tests.py counts what ran, what failed, what was skipped, and what ended early."""
import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import summarize_tests  # noqa: E402  # pylint: disable=wrong-import-position

CASE = '<testcase name="{}">{}</testcase>'


class Summary(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.results = Path(folder.name)

    def suite(self, name: str, xml: str | None, log: str = "", exit_code: int = 0, xml_name: str = "") -> None:
        (self.results / f"{name}.status").write_text(f"{exit_code} 1.5\n")
        (self.results / f"{name}.log").write_text(log)
        if xml is not None:
            (self.results / f"{xml_name or name}.xml").write_text(xml)

    def run_main(self) -> tuple[int, list[str]]:
        out = io.StringIO()
        with mock.patch.object(sys, "argv", ["", str(self.results)]), contextlib.redirect_stdout(out):
            code = summarize_tests.main()
        return code, out.getvalue().splitlines()

    def check(self, last_line: str, code: int) -> list[str]:
        got, lines = self.run_main()
        self.assertEqual(lines[-1], last_line)
        self.assertEqual(got, code)
        return lines

    def test_passed(self) -> None:
        self.suite("unit", f"<a>{CASE.format('x: one', '')}{CASE.format('x: two', '')}</a>")
        self.check("2 passed, 0 failed, 0 skipped", 0)

    def test_a_printed_skip_is_not_a_pass(self) -> None:
        xml = f"<a>{CASE.format('x: one', '')}{CASE.format('x: one more', '')}</a>"
        self.suite("unit", xml, "SKIPPED: x: one: no targets: none\n")
        lines = self.check("1 passed, 0 failed, 1 skipped", 0)
        self.assertIn("skipped: unit: x: one: no targets: none", lines)

    def test_a_marked_skip(self) -> None:
        self.suite("live", "<a>" + CASE.format("t", '<skipped message="no root"/>') + "</a>")
        lines = self.check("0 passed, 0 failed, 1 skipped", 1)
        self.assertIn("skipped: live: t: no root", lines)

    def test_failure_and_error(self) -> None:
        xml = f"<a>{CASE.format('t', '<failure/>')}{CASE.format('u', '<error/>')}{CASE.format('v', '')}</a>"
        self.suite("unit", xml, exit_code=1)
        self.check("1 passed, 2 failed, 0 skipped", 1)

    def test_a_crash_without_results(self) -> None:
        self.suite("good", f"<a>{CASE.format('t', '')}</a>")
        self.suite("bpf", None, "error: no such file\n", exit_code=127)
        lines = self.check("1 passed, 1 failed, 0 skipped", 1)
        self.assertIn("FAILED: bpf: exit code 127", lines)

    def test_a_crash_in_the_middle(self) -> None:
        self.suite("unit", "<a><testcase name='t'>", exit_code=139)
        self.check("0 passed, 1 failed, 0 skipped", 1)

    def test_several_files_of_one_suite(self) -> None:
        self.suite("vm", f"<a>{CASE.format('t', '')}</a>", xml_name="vm-6.1")
        self.suite("vm", f"<a>{CASE.format('t', '')}</a>", xml_name="vm-6.12")
        self.check("2 passed, 0 failed, 0 skipped", 0)

    def test_nothing_ran(self) -> None:
        self.check("0 passed, 0 failed, 0 skipped", 1)

    def test_many_skips_of_one_reason_are_one_line(self) -> None:
        self.suite("unit", "<a/>", "".join(f"SKIPPED: t{i}: no Go\n" for i in range(9)))
        lines = self.check("0 passed, 0 failed, 9 skipped", 1)
        self.assertEqual(sum(line.startswith("skipped: ") for line in lines), 1)


if __name__ == "__main__":
    unittest.main()
