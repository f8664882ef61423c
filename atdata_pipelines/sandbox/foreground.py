"""A sandbox that runs until somebody stops it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from atdata_pipelines.sandbox.box import Sandbox


def serve(
    path: str | os.PathLike[str] | None = None,
    *,
    redis_port: int | None = None,
    s3_port: int | None = None,
    pds_port: int | None = None,
    s3_access_key: str | None = None,
    s3_secret_key: str | None = None,
    handle: str | None = None,
    password: str | None = None,
    buckets: Sequence[str] = (),
) -> None:
    """Run a sandbox in the foreground and print its variables as ``export NAME=value`` lines.

    It comes back after Ctrl-C, SIGTERM or SIGHUP; at once where another program runs the sandbox of that
    folder already. To be called in the main thread. The arguments are those of ``Sandbox``.

    Raises:
        SandboxError: it cannot start, or a service has ended by itself.
    """
    with (
        _until_told_to_stop() as told,
        Sandbox(
            path,
            redis_port=redis_port,
            s3_port=s3_port,
            pds_port=pds_port,
            s3_access_key=s3_access_key,
            s3_secret_key=s3_secret_key,
            handle=handle,
            password=password,
            buckets=buckets,
        ) as box,
    ):
        for name, value in box.environ().items():
            _say(f"export {name}={shlex.quote(value)}")
        _say(f"# S3 objects without a key: {box.public_url}/BUCKET/KEY")
        _say(f"# Data and logs: {box.folder}{'' if path is not None else ' (removed at the end)'}")
        if box.attached:
            _say("# Another program runs this sandbox; it ends with that program.")
            return
        _say("# Running. Ctrl-C stops it.")
        while not told.wait(1.0):
            box.check()
    _say("# Stopped.")


@contextmanager
def _until_told_to_stop() -> Iterator[threading.Event]:
    told = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        told.set()

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield told
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _say(line: str) -> None:
    print(line, flush=True, file=sys.stdout)
