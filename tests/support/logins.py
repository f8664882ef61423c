"""Processes that use one account at once: a fixture that starts them, and the program that they run.

Each process makes a client, logs in with a shared session and writes records, as often as it is told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient


@pytest.fixture
def logins(state_folder: Path, tmp_path: Path) -> Callable[..., Counter[str]]:
    """Let processes use an account at once; how often each method was asked."""

    def run(
        url: str,
        handle: str,
        password: str,
        *,
        processes: int,
        runs: int = 1,
        writes: int = 1,
        every: int | None = None,
    ) -> Counter[str]:
        log = tmp_path / "requests"
        log.write_text("")
        asked = {
            "url": url,
            "handle": handle,
            "password": password,
            "log": str(log),
            "processes": processes,
            "runs": runs,
            "writes": writes,
            "every": every,
        }
        done = subprocess.run(
            [sys.executable, __file__],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return Counter(log.read_text().split())

    return run


class Edge(httpx.HTTPTransport):
    """The network, with a note of each request; ``every``: so many-th write finds its token too old, once."""

    def __init__(self, log: str, every: int | None) -> None:
        super().__init__()
        self._log, self._every = log, every
        self._written: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        method = request.url.path.rpartition(".")[2]
        if method == "putRecord":
            rkey = json.loads(request.content)["rkey"]
            # A write that is sent again, for whatever reason, is no other write.
            again = rkey in self._written
            self._written += [] if again else [rkey]
            if self._every and not again and len(self._written) % self._every == 0:
                return httpx.Response(400, json={"error": "ExpiredToken", "message": "Token has expired"})
        answer = super().handle_request(request)
        with open(self._log, "a") as file:
            file.write(f"{method}\n")
        return answer


def work(who: int, asked: dict[str, Any]) -> None:
    for run in range(asked["runs"]):
        client = AtmosphereClient(asked["url"], transport=Edge(asked["log"], asked["every"]))
        client.login(asked["handle"], asked["password"], shared=True)
        for number in range(asked["writes"]):
            client.create_once("a.b.c", f"{who}-{run}-{number}", {"$type": "a.b.c"})


def main() -> None:
    asked = json.load(sys.stdin)
    import atproto  # noqa: F401  # once for all of them: it takes a second

    waiting, starting = os.pipe()
    children: list[int] = []
    for who in range(asked["processes"]):
        child = os.fork()
        if child == 0:
            os.close(starting)
            os.read(waiting, 1)  # ends for all at once
            work(who, asked)
            os._exit(0)
        children.append(child)
    os.close(starting)
    sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))


if __name__ == "__main__":
    main()
