# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""A real OpenTelemetry Collector takes our spans, and its file exporter writes what we write."""

import os
import socket
import subprocess
import sys

import pytest

import harness
from harness import ROOT, BUILD, all_answered, assert_matches, parse_spans, wait_until

sys.path.insert(0, str(ROOT / "tests/live/collector"))
from compare import differences, spans_by_id  # noqa: E402


@pytest.fixture(scope="session")
def collector_binary():
    script = ROOT / "scripts/build-collector.sh"
    env = {"OTEL_EBPF_COLLECTOR_DIR": str(BUILD / "collector"), **os.environ}
    done = subprocess.run([script], capture_output=True, text=True, env=env)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"the Collector could not be built: {reason}")
    return done.stdout.strip()


class Collector:
    def __init__(self, binary, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.file = folder / "collector.jsonl"
        self.log = folder / "collector.log"
        env = {"OTEL_EBPF_COLLECTOR_PORT": str(self.port), "OTEL_EBPF_COLLECTOR_FILE": str(self.file)}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [binary, "--config", ROOT / "tests/live/collector/config.yaml",
                 "--feature-gates=service.profilesSupport"],  # fmt: skip
                stdout=log,
                stderr=log,
                env={**os.environ, **env},
            )
        wait_until(self.listens, "the Collector listens", 30)

    def listens(self):
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        """Ends it, which flushes the file exporter; the text that it wrote."""
        self.process.terminate()
        assert self.process.wait(30) == 0, self.log.read_text()
        return self.file.read_bytes()


@pytest.fixture
def collector(collector_binary, tmp_path):
    started = Collector(collector_binary, tmp_path)
    yield started
    if started.process.poll() is None:
        started.process.kill()
    started.process.wait()


def test_the_file_exporter_writes_the_spans_that_our_json_lines_hold(collector, tmp_path):
    program = BUILD / "bin" / "post_spans"
    if not program.exists():
        pytest.skip(f"{program} was not built")
    done = subprocess.run([program, collector.url, tmp_path / "ours"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = (tmp_path / "ours").read_text(), collector.stop().decode()
    assert len(spans_by_id(ours)) == 255
    assert differences(ours, theirs) == []


def test_spans_of_the_agent_arrive(collector, serve, attach, load):
    server = serve("go1.26")
    agent = attach(server, output=f"otlp:{collector.url}")
    rows = all_answered(load(server, "-n", 500))
    agent.stop()
    agent.assert_no_loss()
    assert_matches(parse_spans(collector.stop()), rows)
