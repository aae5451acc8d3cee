# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
"""The JSON of a plan is all that a loader in another language needs."""

import json
import signal
import subprocess

import pytest

from harness import AGENT, BUILD, OLDEST_AND_NEWEST, all_answered

LOADER = BUILD / "bin" / "plan_json_loader"
OBJECT = BUILD / "examples" / "agent" / "agent_skel" / "agent.bpf.o"


def unique(pairs):
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"a name comes twice in {names}"
    return dict(pairs)


@pytest.mark.parametrize("build", OLDEST_AND_NEWEST)
def test_attached_from_the_json_alone(serve, privileged, load, tmp_path, build):
    if not LOADER.exists():
        pytest.skip(f"{LOADER} was not built")
    server = serve(build)
    plan = tmp_path / "plan.json"
    plan.write_bytes(subprocess.check_output([AGENT, "--plan", "--format", "json", "--exe", server.path]))
    json.loads(plan.read_text(), object_pairs_hook=unique)
    loader = subprocess.Popen(
        [LOADER, OBJECT, plan, "oe_e_http_server", str(server.pid)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = loader.stderr.readline()
        assert line.startswith("attached "), line
        all_answered(load(server, "-n", 1000))
        loader.send_signal(signal.SIGINT)
        output, errors = loader.communicate(timeout=30)
    finally:
        loader.kill()
    assert loader.returncode == 0, errors
    assert output == "1000 records\n"
