#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Each check of lint.py finds a bad sample and passes a good one."""
import unittest

from lint import APACHE, CHECKS, DUAL

BPF = "bpf_include/otel_ebpf/sample.bpf.h"
COPYRIGHT = "Copyright The otel_ebpf Authors"
SAMPLES = [  # check, path, bad, good
    ("spdx", BPF, f"/* {APACHE} */\n/* {COPYRIGHT} */\n", f"/* {DUAL} */\n/* {COPYRIGHT} */\n"),
    ("spdx", "tests/a.cpp", f"// {APACHE}\n", f"// {APACHE}\n// {COPYRIGHT}\n"),
    ("spdx", "scripts/a.sh", "#!/bin/sh\n", f"#!/bin/sh\n# {APACHE}\n# {COPYRIGHT}\n"),
    ("spdx", "tests/CMakeLists.txt", "\n", f"# {APACHE}\n# {COPYRIGHT}\n"),
    ("leftovers", "a.cpp", "// TO" "DO: all of it\n", "int todo_list;\n"),
    ("whitespace", "a.cpp", "int a; \n", "int a;\n"),
    ("whitespace", "a.cpp", "\tint a;\n", "    int a;\n"),
    ("whitespace", "a.cpp", "int a;", "int a;\n"),
    ("whitespace", "a.cpp", "// " + "x" * 120 + "\n", "// " + "x" * 117 + "\n"),
    ("printk", BPF, 'bpf_printk("a");\n', '#ifdef OE_DEBUG\nbpf_printk("a");\n#endif\n'),
    ("printk", BPF, '#ifdef OE_DEBUG\n#else\nbpf_printk("a");\n#endif\n', "/* bpf_printk is slow */\n"),
    ("wakeup", BPF, "bpf_ringbuf_submit(record, 0);\n", "bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);\n"),
    ("wakeup", BPF, "bpf_ringbuf_output(&m, r, size(r, 1),\n\tBPF_RB_FORCE_WAKEUP);\n",
     "bpf_ringbuf_output(&m, r, size(r, 1),\n\tBPF_RB_NO_WAKEUP);\n"),
    ("uprobe_guard", "examples/a.bpf.c", 'SEC("uprobe") int f(void *ctx)\n', "OE_UPROBE(f) { return 0; }\n"),
    ("uprobe_guard", "examples/a.bpf.c", 'SEC("uretprobe/x") int f(void *ctx)\n', 'SEC("perf_event") int f(void *c)\n'),
    ("write_user", BPF, "bpf_probe_write_user(a, b, 1);\n", "bpf_probe_read_user(a, 1, b);\n"),
    ("license_section", BPF, 'char LICENSE[] SEC("license") = "GPL";\n', "/* SEC(\"license\") is the user's */\n"),
    ("detail", "examples/a/main.cpp", "otel_ebpf::detail::f();\n", "otel_ebpf::f(); // no detail\n"),
    ("detail", "examples/a/main.cpp", "#include <otel_ebpf/detail/f.hpp>\n", "#include <otel_ebpf/f.hpp>\n"),
]


class Lint(unittest.TestCase):
    def test_samples(self) -> None:
        for name, path, bad, good in SAMPLES:
            with self.subTest(check=name, bad=bad):
                self.assertTrue(list(CHECKS[name](path, bad)))
                self.assertEqual(list(CHECKS[name](path, good)), [])

    def test_every_check_has_a_sample(self) -> None:
        self.assertEqual({sample[0] for sample in SAMPLES}, set(CHECKS))


if __name__ == "__main__":
    unittest.main()
