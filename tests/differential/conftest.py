# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "live"))  # harness.py
