#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Makes, or with --check compares, the byte vectors of OTEP 4719 and 4947 without any code of this library: protobuf by
protoc, fixed layouts by Python's struct. All for a little-endian machine."""

import struct
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TRACE_ID = bytes.fromhex("0af7651916cd43dd8448eb211c80319c")
SPAN_ID = bytes.fromhex("b7ad6b7169203331")


def protobuf(name: str) -> bytes:
    return subprocess.run(["protoc", f"-I{HERE}", "--encode=ProcessContext", "process_context.proto"], check=True,
                          input=(HERE / f"{name}.txtpb").read_bytes(), stdout=subprocess.PIPE).stdout


def thread_record(attributes: list[tuple[int, bytes]], flags: int = 3) -> bytes:
    data = b"".join(struct.pack("<BB", key, len(value)) + value for key, value in attributes)
    return struct.pack("<16s8sBBH", TRACE_ID, SPAN_ID, 1, flags, len(data)) + data


def vectors() -> dict[str, bytes]:
    payload = protobuf("process_context")
    return {
        "process_context.bin": payload,
        "process_context_types.bin": protobuf("process_context_types"),
        # Published at 81,985,529,216,486,895 ns, payload at 0x7f0123456789.
        "process_context_header.bin": struct.pack("<8sIIQQ", b"OTEL_CTX", 2, len(payload), 0x0123456789ABCDEF,
                                                  0x7F0123456789),
        "thread_record.bin": thread_record([(0, b"00f067aa0ba902b7"), (1, "/orders/{id}/Zürich".encode()), (2, b"")]),
    }


def main() -> int:
    different = []
    for name, content in vectors().items():
        if "--check" in sys.argv:
            if (HERE / name).read_bytes() != content:
                different.append(name)
        else:
            (HERE / name).write_bytes(content)
    if different:
        print("differ from what protoc and struct make:", ", ".join(different))
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
