"""Dagster as it stands in production, on this machine: a code server, a daemon and a webserver."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import httpx

from atdata_pipelines.sandbox.services import answers, free_port

_ROOT = Path(__file__).resolve().parents[1]
LOCATION = "scale"
START_SECONDS = 90.0


def memory_of(pid: int) -> tuple[float, float]:
    """Resident memory of a process, now and at its most until now, in MB."""
    # Not from ``getrusage``: its maximum is that of the process that started this one, too.
    said = Path(f"/proc/{pid}/status").read_text()
    now, most = (int(re.findall(rf"{what}:\s+(\d+) kB", said)[0]) / 1e3 for what in ("VmRSS", "VmHWM"))
    return now, most


class Processes:
    """The processes of a Dagster deployment, by name, and its GraphQL.

    Attributes:
        home: Its DAGSTER_HOME.
    """

    def __init__(self, home: Path, url: str) -> None:
        self.home = home
        self._http = httpx.Client(base_url=url, timeout=120)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def add(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """One more."""
        self._running[name] = process

    def memory(self, name: str) -> tuple[float, float]:
        """As ``memory_of``."""
        return memory_of(self._running[name].pid)

    def check(self) -> None:
        """Raise where one has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise RuntimeError(f"the {name} has ended: {(self.home / f'{name}.log').read_text()[-800:]}")

    def wait_until(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """Look twice a second.

        Raises:
            TimeoutError: It was not so in time.
        """
        until = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > until:
                raise TimeoutError(f"waited {seconds:.0f} s for {what}")
            time.sleep(0.5)

    def is_answering(self) -> bool:
        """Whether the webserver does, with the definitions loaded."""
        try:
            loaded = self.ask("{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }")
        except httpx.TransportError:
            return False
        return [each["loadStatus"] for each in loaded["workspaceOrError"]["locationEntries"]] == ["LOADED"]

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """What GraphQL answers; raises ``RuntimeError`` with what it says against it."""
        return _data(self.post(query, **variables).json())

    def post(self, query: str, **variables: Any) -> httpx.Response:
        """The answer as it came."""
        reply = self._http.post("/graphql", json={"query": query, "variables": variables})
        if reply.status_code != 200:
            raise RuntimeError(f"GraphQL: {reply.status_code} {reply.text[:300]}")
        return reply

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()


@contextmanager
def dagster_processes(home: Path, module: str, *names: str) -> Iterator[Processes]:
    """Run a deployment with the definitions of a module, until the context is left.

    Args:
        home: DAGSTER_HOME, prepared; logs go there.
        module: Of the definitions.
        *names: Beside the code server: ``daemon``, ``webserver``.
    """
    code, web = free_port(), free_port()
    workspace = home / "workspace.yaml"
    server = {"host": "127.0.0.1", "port": code, "location_name": LOCATION}
    # JSON is YAML.
    workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}))
    commands = {
        "code server": ["dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(code), "-m", module],
        "daemon": ["dagster._daemon", "run", "-w", str(workspace)],
        "webserver": ["dagster_webserver", "-h", "127.0.0.1", "-p", str(web), "-w", str(workspace)],
    }
    running = Processes(home, f"http://127.0.0.1:{web}")
    with ExitStack() as open_:
        open_.callback(running.close)
        for name in ("code server", *names):
            log = open_.enter_context((home / f"{name}.log").open("wb"))
            environ = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(_ROOT)}
            # Dagster loads a .env of its working directory.
            process = subprocess.Popen(
                [sys.executable, "-m", *commands[name]], cwd=home, env=environ, stdout=log, stderr=log
            )
            open_.callback(_end, process)
            running.add(name, process)
            if name == "code server":
                running.wait_until(lambda: answers(code), START_SECONDS, "the code server")
        if "webserver" in names:
            running.wait_until(running.is_answering, START_SECONDS, "the webserver")
        yield running


@cache
def query_of_ui(name: str) -> str:
    """A query of the installed UI, as its pages send it; it must have no fragments of other modules.

    Raises:
        LookupError: There is none of that name.
    """
    folder = Path(str(resources.files("dagster_webserver"))) / "webapp" / "build"
    for file in sorted(folder.rglob("*.js")):
        if found := re.search(rf'"\\n  (query {name}\b[^"]*)\\n"\]', file.read_text()):
            return found[1].replace("\\n", "\n")
    raise LookupError(f"Dagster's UI has no query {name} that stands by itself.")


def _data(reply: dict[str, Any]) -> dict[str, Any]:
    if reply.get("errors"):
        raise RuntimeError(f"GraphQL: {reply['errors'][0]['message'][:300]}")
    return reply["data"]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
