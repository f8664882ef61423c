"""Processes that use one account at once: a fixture that starts them, and the program that they run.

Each process makes a client, logs in with a shared session and writes records, as often as it is told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient


class Forking:
    """The program, which imports what it needs once, and forks the processes of each run."""

    def __init__(self, errors: Path) -> None:
        self._errors = errors
        with errors.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True
            )

    def run(self, asked: dict[str, Any]) -> None:
        """Do what is asked for with the variables of this process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked["environ"] = {name: value for name, value in os.environ.items() if name.startswith("ATDATA_")}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        failed = self._process.stdout.readline()
        assert (failed, self._errors.read_text()) == ("0\n", "")

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@pytest.fixture(scope="session")
def _forking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forking]:
    with closing(Forking(tmp_path_factory.mktemp("logins") / "errors")) as running:
        yield running


@pytest.fixture
def logins(_forking: Forking, state_folder: Path, tmp_path: Path) -> Callable[..., Counter[str]]:
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
        _forking.run(asked)
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
    from atproto import models

    # Once for all of them: it takes a second, and these are loaded when they are asked for.
    assert models.ComAtprotoServerCreateSession
    assert models.ComAtprotoServerRefreshSession
    for line in sys.stdin:
        print(together(json.loads(line)), flush=True)


def together(asked: dict[str, Any]) -> int:
    """Let processes work at the same time; how many failed."""
    waiting, starting = os.pipe()
    children: list[int] = []
    for who in range(asked["processes"]):
        child = os.fork()
        if child == 0:
            os.close(starting)
            os.environ.update(asked["environ"])
            os.read(waiting, 1)  # ends for all at once
            try:
                work(who, asked)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    os.close(starting)
    failed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    os.close(waiting)
    return failed


if __name__ == "__main__":
    main()
