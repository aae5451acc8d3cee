# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""Bytes chosen by whoever sends a request reach neither the terminal nor an invalid export."""

import os
import pty
import re
import termios
import threading
import unicodedata

import pytest

from harness import OLDEST_AND_NEWEST, all_answered, assert_matches, parse_spans

TARGETS = [
    "/items/%ff",
    "/items/%00",
    "/items/%1b]0;pwned%07",
    "/items/%c2%9b31m",
    r"/items/\xff\xc0\x80",
    r"/items/\xc2\x9b31m",
    r"/items/\xe2\x80\xae",
]
# Control sequences of colour and cursor: what a live view is made of.
LIVE_VIEW = re.compile("\x1b\\[[0-9;?]*[A-Za-z]")


def send(load, server):
    return all_answered(load(server, "-n", 10 * len(TARGETS), targets=TARGETS))


def control_characters(text, allowed):
    return sorted({hex(ord(char)) for char in text if unicodedata.category(char) == "Cc" and char not in allowed})


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_jsonl_is_valid_utf8(serve, attach, load, build):
    server = serve(build)
    agent = attach(server)
    rows = send(load, server)
    agent.stop()
    text = agent.spans_file.read_bytes()
    assert_matches(parse_spans(text), rows)  # decodes strictly
    assert control_characters(text.decode(), allowed="\n") == []


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_no_control_byte_in_piped_console_output(serve, attach, load, build, tmp_path):
    server = serve(build)
    with open(tmp_path / "console", "wb") as console:
        agent = attach(server, output="console", stdout=console)
        rows = send(load, server)
        agent.stop()
    text = (tmp_path / "console").read_bytes().decode("utf-8")
    assert control_characters(text, allowed="\n") == []
    assert text.count("/items/") >= len(rows)


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
@pytest.mark.parametrize("colour", [True, False], ids=["colour", "NO_COLOR"])
def test_no_control_byte_on_a_terminal(serve, attach, load, build, colour):
    server = serve(build)
    ours, agents = pty.openpty()
    termios.tcsetwinsize(agents, (50, 220))
    received = bytearray()

    def read():
        try:
            while chunk := os.read(ours, 65536):
                received.extend(chunk)
        except OSError:  # EIO: the agent closed its side
            pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    agent = attach(server, output="console", stdout=agents,
                   env={"TERM": "xterm-256color", **({} if colour else {"NO_COLOR": "1"})})
    os.close(agents)
    send(load, server)
    agent.stop()
    reader.join()
    os.close(ours)
    text = received.decode("utf-8")
    assert "/items/" in text
    if not colour:
        assert set(re.findall("\x1b\\[([0-9;]*)m", text)) <= {"", "0"}, "colour in spite of NO_COLOR"
    assert control_characters(LIVE_VIEW.sub("", text), allowed="\r\n") == []
