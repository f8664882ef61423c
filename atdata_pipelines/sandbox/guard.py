"""The process that keeps the sandbox's services, and outlives nobody.

It is started by the sandbox with one JSON line on stdin, starts the services as its own children, and
stops them when stdin closes or its parent is gone: also when the parent was killed and could not say so.
Only the standard library is used, so that it runs with ``python -I -S`` and is up in some 20 ms.

What the services have started themselves, and left running, is killed with the guard.

In: ``{"owner": pid, "grace": seconds, "remove": folder or null, "services": [{"name", "argv", "env",
"cwd", "log"}]}``. Out: one line ``{"exited": name, "code": n}`` for each service that ends by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

LOOK_EVERY = 0.2
"""Seconds between two looks at the parent and the children."""


def _start(service: dict[str, Any]) -> subprocess.Popen[bytes]:
    with open(service["log"], "ab") as log:
        return subprocess.Popen(
            service["argv"],
            env=service["env"],
            cwd=service["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _say(event: dict[str, Any]) -> None:
    # Nobody may be listening any more.
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(event).encode() + b"\n")


def _stop(children: dict[str, subprocess.Popen[bytes]], grace: float) -> None:
    for child in children.values():
        child.terminate()
    until = time.monotonic() + grace
    for child in children.values():
        try:
            child.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def main() -> None:
    """Start the services, wait for the end of the owner, stop the services."""
    os.umask(0o077)
    order = json.loads(sys.stdin.buffer.readline())
    stopping = False

    def stop(_signal: int, _frame: Any) -> None:
        nonlocal stopping
        stopping = True

    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, stop)

    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for service in order["services"]:
            try:
                children[service["name"]] = _start(service)
            except OSError as error:
                _say({"exited": service["name"], "code": -1, "error": str(error)})
        while not stopping and os.getppid() == order["owner"]:
            readable, _, _ = select.select([0], [], [], LOOK_EVERY)
            if readable and not os.read(0, 4096):
                break
            for name in [name for name, child in children.items() if child.poll() is not None]:
                _say({"exited": name, "code": children.pop(name).returncode})
    finally:
        _stop(children, order["grace"])
        if order["remove"]:
            shutil.rmtree(order["remove"], ignore_errors=True)


if __name__ == "__main__":
    main()
    # Started in a session of its own, with all that its children have started. It comes to its end here, too.
    os.killpg(os.getpid(), signal.SIGKILL)
