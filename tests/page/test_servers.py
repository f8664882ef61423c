"""Dagster's own programs, as the pages type them: they start, show the pipeline, and end."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from atdata_pipelines.config.dagster_instance import prepare_home
from atdata_pipelines.demo.ui import PATIENCE
from atdata_pipelines.sandbox.services import HOST, free_port
from page_blocks import PAGES, ROOT, blocks

BIN = Path(sys.executable).parent
STARTING, STOPPING = 300, 60
SERVERS = {"dagster dev", "dagster-daemon run", "dagster-webserver -w"}
SEEN = """{
  assetNodes { assetKey { path } }
  instance { daemonHealth { allDaemonStatuses { daemonType healthy } } }
}"""
FOUND = [
    pytest.param(block, id=block.page)
    for page in PAGES
    for block in blocks(page)
    if block.language == "sh" and any(is_server in block.text for is_server in SERVERS)
]


def seen(port):
    """The assets that the UI shows, and the daemons that it calls healthy."""
    try:
        answer = httpx.post(f"http://{HOST}:{port}/graphql", json={"query": SEEN}, timeout=60).json()["data"]
    except (httpx.HTTPError, ValueError):
        return set(), set()
    daemons = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
    return (
        {node["assetKey"]["path"][-1] for node in answer["assetNodes"]},
        {each["daemonType"] for each in daemons if each["healthy"]},
    )


def is_running(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


# Code server, daemon and webserver, each of which imports all of Dagster.
@pytest.mark.slow
@pytest.mark.parametrize("block", FOUND)
def test_the_servers_of_a_page_show_the_pipeline_with_its_daemon_and_end(block, tmp_path):
    # Not in the project's folder: Dagster loads a .env of its working directory, which may name the real network.
    shutil.copy(ROOT / "workspace.yaml", tmp_path)
    environ = {
        "PATH": f"{BIN}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "DAGSTER_HOME": str(prepare_home(tmp_path / "home")),
        **PATIENCE,
    }
    port, running = free_port(), []
    try:
        with (tmp_path / "log").open("w") as log:
            for line in block.lines:
                words = shlex.split(line)
                if " ".join(words[:2]) not in SERVERS:
                    subprocess.run(words, cwd=tmp_path, env=environ, stdout=log, stderr=log, check=True)
                    continue
                # Nobody but this machine is to reach it.
                listening = [] if "daemon" in words[0] else ["-h", HOST, "-p", str(port)]
                running.append(
                    subprocess.Popen(
                        [*words, *listening],
                        cwd=tmp_path,
                        env=environ,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        until = time.monotonic() + STARTING
        assets, daemons = set(), set()
        while not ("atmosphere_record" in assets and {"SENSOR", "SCHEDULER"} <= daemons):
            said = (tmp_path / "log").read_text()
            assert time.monotonic() < until, said
            assert all(each.poll() is None for each in running), said
            assets, daemons = seen(port)
            time.sleep(0.5)
        for each in running:
            each.send_signal(signal.SIGTERM)
        for each in running:
            each.wait(STOPPING)
        until = time.monotonic() + STOPPING
        while left := [each.pid for each in running if is_running(each.pid)]:
            assert time.monotonic() < until, left
            time.sleep(0.2)
    finally:
        for each in running:
            if is_running(each.pid):
                os.killpg(each.pid, signal.SIGKILL)
            each.wait()


def test_each_server_of_a_page_is_tried():
    lines = [line for param in FOUND for line in param.values[0].lines]
    tried = {match[0] for line in lines for each in SERVERS if (match := re.match(each, line))}
    assert tried == SERVERS
