"""``make ui`` says where it stands, and leaves nothing behind, however it ends."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[3]
STARTING = 300
STOPPING = 60


def started_in(folder):
    """What runs on the sandbox in a folder, by its environment or its arguments."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in text:
            found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:90]
    return found


@pytest.fixture
def script(tmp_path):
    """A shell that starts the UI beside itself, as scripts do: without job control, Ctrl-C ignored."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    line = f"{sys.executable} -u -m atdata_pipelines.demo ui & echo pid $!; wait"
    running = subprocess.Popen(
        ["sh", "-c", line], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    yield running
    running.kill()
    running.wait()
    running.stdout.close()


def lines_until(running, wanted):
    said = []
    for line in running.stdout:
        said.append(line)
        if wanted in line:
            return said
    pytest.fail(f"never said {wanted!r}:\n{''.join(said)}")


def assert_nothing_is_left(folder):
    until = time.monotonic() + STOPPING
    while (left := started_in(folder)) and time.monotonic() < until:
        time.sleep(0.2)
    assert not left


# All of Dagster is started: its code server, daemon and webserver.
@pytest.mark.slow
def test_it_says_where_it_stands_and_ends_with_all_on_sigterm(script, tmp_path):
    said = lines_until(script, "Ctrl-C stops everything")
    pid = int(re.match(r"pid (\d+)", next(line for line in said if line.startswith("pid")))[1])
    text = "".join(said)
    assert all(f"[{number}/3]" in text for number in (1, 2, 3))
    took = float(re.findall(r"^ +(\d+\.\d) s$", text, flags=re.MULTILINE)[-1])
    # Said every few seconds.
    assert took < 6 or re.search(r"^ +\d+ s: the webserver starts$", text, flags=re.MULTILINE)
    url = re.search(r"Dagster's UI: (http://\S+?)/assets", text)[1]
    assert httpx.get(f"{url}/server_info").is_success
    assert len(started_in(tmp_path)) > 5
    os.kill(pid, signal.SIGTERM)
    assert_nothing_is_left(tmp_path)
    assert script.wait(10) == 0


# The same, as far as Dagster's first processes.
@pytest.mark.slow
def test_it_ends_with_all_when_the_script_that_started_it_dies(script, tmp_path):
    lines_until(script, "[3/3]")
    time.sleep(3)
    assert len(started_in(tmp_path)) > 5
    script.kill()
    assert_nothing_is_left(tmp_path)
