#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""What README.md and docs/ say of the code is so: listings, links, CMake targets, names of counters and of JSON."""
import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in BLOCK.findall(page.read_text()) if language in languages]


def sources(*patterns: str) -> str:
    return "\n".join(path.read_text() for pattern in patterns for path in sorted((ROOT / "examples").rglob(pattern)))


class Documents(unittest.TestCase):
    def test_listings_are_the_text_of_examples(self) -> None:
        examples = sources("*.c", "*.cpp", "*.h", "*.hpp")
        for page in PAGES:
            for block in blocks(page, "c", "cpp"):
                with self.subTest(page=page.name, begins=block.splitlines()[0]):
                    self.assertIn(block, examples)

    def test_main_listing_is_settle_watch(self) -> None:
        folder = ROOT / "examples" / "02-settle-watch"
        tool = "".join((folder / name).read_text() for name in ("settle_watch.bpf.c", "main.cpp"))
        listings = blocks(ROOT / "README.md", "c", "cpp")
        self.assertEqual(len(listings), 2)
        for block in listings:
            self.assertIn(block, tool)

    def test_readme_is_short(self) -> None:
        self.assertLessEqual(len((ROOT / "README.md").read_text().splitlines()), 150)

    def test_links_lead_somewhere(self) -> None:
        for page in PAGES:
            for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", BLOCK.sub("", page.read_text())):
                with self.subTest(page=page.name, target=target):
                    self.assertTrue(target.startswith("https://") or (page.parent / target).exists())

    def test_cmake_targets_exist(self) -> None:
        defined = set(re.findall(r"otel_ebpf_component\((\w+)", (ROOT / "CMakeLists.txt").read_text()))
        for block in blocks(ROOT / "README.md", "cmake"):
            self.assertLessEqual(set(re.findall(r"otel_ebpf::(\w+)", block)), defined)

    def test_counters_are_explained(self) -> None:
        types = (ROOT / "bpf_include/otel_ebpf/types.h").read_text()
        stats = re.search(r"enum oe_stat \{(.*?)OE_STAT_MAX", types, re.DOTALL)
        assert stats is not None
        names = [name.lower() for name in re.findall(r"\bOE_STAT_(\w+)", stats.group(1))]
        report = (ROOT / "include/otel_ebpf/report_format.hpp").read_text()
        names += re.findall(r'member\("(\w+)", stats\.(?!sink)', report)
        architecture = (ROOT / "docs/architecture.md").read_text()
        for name in names:
            with self.subTest(counter=name):
                self.assertIn(f"`{name}`", architecture)

    def test_members_of_the_plan_are_explained(self) -> None:
        writer = (ROOT / "include/otel_ebpf/plan_format.hpp").read_text()
        architecture = (ROOT / "docs/architecture.md").read_text()
        for name in re.findall(r'(?:member|key)\("(\w+)"', writer):
            with self.subTest(member=name):
                self.assertRegex(architecture, rf"`\.?{name}(\[\])?`")

    def test_exit_codes_are_explained(self) -> None:
        codes = re.findall(r"exit_\w+ = (\d)", (ROOT / "examples/agent/options.hpp").read_text())
        architecture = (ROOT / "docs/architecture.md").read_text()
        for code in codes:
            self.assertIn(f"\n| {code} | ", architecture)


if __name__ == "__main__":
    unittest.main()
