#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""House rules that a compiler cannot check, over every file that git tracks.

usage: lint.py CHECK ROOT    prints FILE:LINE: message for each finding; exit code 1 when there is one
"""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator

Finding = tuple[int, str]  # line number, message
Check = Callable[[str, str], Iterator[Finding]]  # path from the root, text

APACHE = "SPDX-License-Identifier: Apache-2.0"
DUAL = "SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)"
# No comments possible, or not ours to mark.
WITHOUT_SPDX = re.compile(r"\.(md|json|jsonl|txt|pem|png|svg|sum|mod|bin)$|(^|/)(LICENSE|\.gitignore|\.gitattributes)$"
                          r"|^LICENSES/|/testdata/|/corpus/")


def is_bpf(path: str) -> bool:
    return path.startswith("bpf_include/") or bool(re.search(r"\.(bpf\.[ch]|programs\.h)$", path))


def is_source(path: str) -> bool:
    return bool(re.search(r"\.(c|h|cpp|hpp|go|py|sh|cmake|in)$|(^|/)CMakeLists\.txt$", path)) or path == ".ci/run"


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def without_comments(text: str) -> str:
    """The same text with C comments blanked; line numbers and lengths stay."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda match: re.sub(r"[^\n]", " ", match.group()), text, flags=re.DOTALL)


def call_arguments(text: str, function: str) -> Iterator[tuple[int, list[str]]]:
    """Position and arguments of each call of a function whose name matches."""
    for match in re.finditer(rf"\b(?:{function})\s*\(", text):
        depth, start, arguments = 1, match.end(), []
        for position in range(match.end(), len(text)):
            char = text[position]
            depth += char == "("
            depth -= char == ")"
            if depth == 0 or (depth == 1 and char == ","):
                arguments.append(text[start:position].strip())
                start = position + 1
            if depth == 0:
                break
        yield match.start(), arguments


def spdx(path: str, text: str) -> Iterator[Finding]:
    if WITHOUT_SPDX.search(path) and not path.endswith("CMakeLists.txt"):
        return
    head = text.splitlines()[:3]
    wanted = [DUAL] if is_bpf(path) else [APACHE]
    if path.startswith("tests/") and path.endswith(".h"):
        wanted = [APACHE, DUAL]  # BPF programs may include it
    if not any(text in line for text in wanted for line in head):
        yield 1, f"no '{' or '.join(wanted)}' at the top"
    if not any("Copyright The otel_ebpf Authors" in line for line in head):
        yield 1, "no 'Copyright The otel_ebpf Authors' at the top"


def leftovers(path: str, text: str) -> Iterator[Finding]:
    if is_source(path):
        for match in re.finditer(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b", text):
            yield line_of(text, match.start()), f"'{match.group()}': do it, or open an issue"


def whitespace(path: str, text: str) -> Iterator[Finding]:
    if not is_source(path):
        return
    generated = "generated" in "".join(text.splitlines()[:3]).lower()
    for number, line in enumerate(text.splitlines(), 1):
        if line != line.rstrip():
            yield number, "blanks at the end of the line"
        if "\t" in line and path.endswith((".cpp", ".hpp", ".py", ".cmake", "CMakeLists.txt")):
            yield number, "a tab"
        if len(line) > 120 and path.endswith((".cpp", ".hpp", ".py")) and not generated:
            yield number, f"{len(line)} columns; the limit is 120"
    if text and not text.endswith("\n"):
        yield line_of(text, len(text)), "no newline at the end of the file"


def printk(path: str, text: str) -> Iterator[Finding]:
    if not is_bpf(path):
        return
    conditions: list[str] = []
    for number, line in enumerate(without_comments(text).splitlines(), 1):
        directive = re.match(r"\s*#\s*(if|ifdef|ifndef|elif|else|endif)\b(.*)", line)
        if directive and directive[1] in ("if", "ifdef", "ifndef"):
            conditions.append(f"{directive[1]} {directive[2]}")
        elif directive and directive[1] in ("elif", "else") and conditions:
            conditions[-1] = f"else of {conditions[-1]}"
        elif directive and directive[1] == "endif" and conditions:
            conditions.pop()
        elif "bpf_printk" in line or "bpf_trace_printk" in line:
            if not any(re.match(r"ifdef\s+OE_DEBUG\b|if\s+defined\(OE_DEBUG\)", text) for text in conditions):
                yield number, "bpf_printk outside '#ifdef OE_DEBUG'"


def wakeup(path: str, text: str) -> Iterator[Finding]:
    if not is_bpf(path):
        return
    text = without_comments(text)
    for position, arguments in call_arguments(text, r"bpf_ringbuf_(?:output|submit|discard)(?:_dynptr)?"):
        if arguments[-1] != "BPF_RB_NO_WAKEUP":
            yield line_of(text, position), f"flag '{arguments[-1]}' wakes the reader: pass BPF_RB_NO_WAKEUP"


def uprobe_guard(path: str, text: str) -> Iterator[Finding]:
    if not is_bpf(path) or path == "bpf_include/otel_ebpf/uprobe.bpf.h":
        return
    text = without_comments(text)
    for match in re.finditer(r"SEC\(\s*\"u(ret)?probe", text):
        yield line_of(text, match.start()), "a uprobe program without the preemption guard: define it with OE_UPROBE"


def write_user(path: str, text: str) -> Iterator[Finding]:
    if not is_bpf(path) or path.endswith("/write_user.bpf.h"):
        return
    text = without_comments(text)
    for match in re.finditer(r"\bbpf_probe_write_user\b", text):
        yield line_of(text, match.start()), "only write_user.bpf.h writes into targets"


def license_section(path: str, text: str) -> Iterator[Finding]:
    if not path.startswith("bpf_include/"):
        return
    text = without_comments(text)
    for match in re.finditer(r"SEC\(\s*\"license\"", text):
        yield line_of(text, match.start()), "the licence belongs into the user's .bpf.c"


def detail(path: str, text: str) -> Iterator[Finding]:
    if path.startswith("examples/") and path.endswith((".cpp", ".hpp", ".c", ".h")):
        text = without_comments(text)
        for match in re.finditer(r"\bdetail\s*::|#\s*include\s*[<\"][^>\"]*\bdetail\b", text):
            yield line_of(text, match.start()), "examples use the public API only"


CHECKS: dict[str, Check] = {check.__name__: check for check in (
    spdx, leftovers, whitespace, printk, wakeup, uprobe_guard, write_user, license_section, detail)}


def tracked_files(root: Path) -> list[str]:
    listing = subprocess.run(["git", "-c", f"safe.directory={root}", "-C", str(root), "ls-files", "-z"],
                             capture_output=True, text=True, check=False)
    if listing.returncode == 0:
        return [name for name in listing.stdout.split("\0") if name]
    # A source archive: everything but build folders.
    return [str(file.relative_to(root)) for file in root.rglob("*")
            if file.is_file() and not re.match(r"build|\.cache|\.git/", str(file.relative_to(root)))]


def main() -> int:
    check, root = CHECKS[sys.argv[1]], Path(sys.argv[2]).resolve()
    found = files = 0
    for path in tracked_files(root):
        try:
            text = (root / path).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        files += 1
        for line, message in check(path, text):
            print(f"{path}:{line}: {message}")
            found += 1
    print(f"{sys.argv[1]}: {files} files, {found} findings")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
