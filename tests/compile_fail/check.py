#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Checks that a source does not compile, for the reason that it names.

The source holds lines `// expect: REGEX`; the compiler's output must match each of them. Compiled with -DOK it must
pass, so that nothing else in it can be the reason.

usage: check.py SOURCE COMPILER [FLAG...]
"""
import os
import re
import subprocess
import sys


def main() -> int:
    source, command = sys.argv[1], sys.argv[2:]
    with open(source, encoding="utf-8") as file:
        text = file.read()
    expected = re.findall(r"^// expect: (.+)$", text, re.MULTILINE)
    if not expected:
        print(f"{source}: no line '// expect: REGEX'")
        return 1
    if "OK" not in re.findall(r"^#\s*if(?:def|ndef)\s+(\w+)", text, re.MULTILINE):
        print(f"{source}: no twin that compiles under '#ifdef OK'")
        return 1

    def compile_with(*flags: str) -> subprocess.CompletedProcess[str]:
        # LC_ALL: messages in English, with plain quotes.
        return subprocess.run([*command, *flags, source], capture_output=True, text=True, check=False,
                              env={**os.environ, "LC_ALL": "C"})

    good = compile_with("-DOK")
    if good.returncode != 0:
        print(f"{source}: does not compile with -DOK:\n{good.stderr}")
        return 1
    bad = compile_with()
    if bad.returncode == 0:
        print(f"{source}: compiles, but must not")
        return 1
    missing = [regex for regex in expected if not re.search(regex, bad.stderr)]
    for regex in missing:
        print(f"{source}: no message matches '{regex}'; the compiler said:\n{bad.stderr}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
