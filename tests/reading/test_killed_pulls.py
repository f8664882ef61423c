"""A pull that is killed anywhere, and run again, fetches nothing twice but what was under way."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atdata_core.reading import pull
from faulty.children import Children
from shard_server import PIECE, ShardServer

KILLS = 20
SHARDS = 24
SIZE = 2_000_000


@pytest.fixture
def children() -> Iterator[Children]:
    with Children() as running:
        yield running


def kill_after(pieces: int, server: ShardServer, children: Children, uri: str, folder: Path) -> None:
    """Pull in another process, and kill it once so many pieces were sent."""
    sent, lock, known = itertools.count(1), threading.Lock(), threading.Event()
    victims: list[int] = []

    def passed() -> None:
        known.wait()
        with lock:
            if next(sent) == pieces:
                os.kill(victims[0], signal.SIGKILL)

    server.passed = passed
    child = children.start("pull_into", os.environ, where=uri, folder=str(folder))
    victims.append(child.pid)
    known.set()
    assert child.outcome().signal == signal.SIGKILL
    server.settle()


@pytest.mark.slow
@pytest.mark.measured
def test_a_pull_that_is_killed_20_times_fetches_nothing_twice_but_what_was_under_way(
    server: ShardServer,
    tar: Callable[..., bytes],
    publish: Callable[..., str],
    children: Children,
    tmp_path: Path,
    reliability: Any,
):
    # Long: a process for each time that it is killed, and a server that takes its time.
    data = {f"/{n:02d}.tar": tar(n, SIZE) for n in range(SHARDS)}
    uri = publish({server.put(path, content): content for path, content in data.items()})
    draw, folder = random.Random(7), tmp_path / "here"
    server.seconds = 0.002
    there: set[str] = set()
    parts: dict[str, int] = {}
    twice = goes_on = 0
    for number in range(KILLS + 1):
        asked, before = len(server.asked), server.sent.copy()
        if number < KILLS:
            most = SHARDS * SIZE // PIECE // KILLS
            kill_after(draw.randint(1, most), server, children, uri, folder)
        else:
            server.passed = lambda: None
            pull(uri, folder)
        requests = server.asked[asked:]
        # Nothing is asked for that was there, and what was under way is asked for from where it stopped.
        assert not there & {request.path for request in requests}
        assert [request.at for request in requests] == [parts.get(request.path, 0) for request in requests]
        assert len({request.path for request in requests}) == len(requests)
        goes_on += sum(request.at > 0 for request in requests)
        there = {f"/{path.name}" for path in folder.glob("*.tar")}
        assert all((folder / path[1:]).read_bytes() == data[path] for path in there)
        now = {f"/{path.stem}": path.stat().st_size for path in folder.glob("*.part")}
        for path in {request.path for request in requests} - there:
            # Sent, and not written: what the process had of it when it was killed.
            twice += server.sent[path] - before[path] - (now.get(path, 0) - parts.get(path, 0))
        parts = now
    assert there == data.keys()
    assert sum(server.sent.values()) == sum(map(len, data.values())) + twice
    requests = len(server.asked)
    pull(uri, folder)
    assert len(server.asked) == requests
    share = twice / sum(map(len, data.values()))
    reliability(
        f"`kill -9` of a pull at {KILLS} random moments ({SHARDS} shards of 2 MB), then run again",
        "complete, nothing fetched twice but of shards under way, and of these what was not written yet",
        f"so; {goes_on} parts were gone on with, and {share:.1%} of the bytes were still in sockets at a kill",
        runs=KILLS + 1,
    )
