"""Forks a child for each job it is given: all modules are imported once, and no connection is shared.

Reads jobs from stdin, one JSON object a line: ``{"id", "run", "environ", "arguments"}``, where ``run`` names a
function of ``faulty.jobs``. Writes ``{"id", "pid"}`` when the child is there and ``{"id", "signal", "value",
"error"}`` when it has ended. Ends, with its children, when stdin ends.
"""

from __future__ import annotations

import faulthandler
import json
import os
import selectors
import signal
import sys
import traceback
from dataclasses import dataclass
from typing import Any

from faulty import jobs

_LONG = 100.0
"""Seconds; a test waits 120."""


@dataclass
class _Child:
    number: int
    pid: int
    said: bytes = b""


def main() -> None:
    """Serve until stdin ends."""
    children: dict[int, _Child] = {}
    waiting = b""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                data = os.read(key.fd, 1 << 16)
                if key.fd == 0:
                    if not data:
                        for child in children.values():
                            os.kill(child.pid, signal.SIGKILL)
                        return
                    *lines, waiting = (waiting + data).split(b"\n")
                    for line in lines:
                        job = json.loads(line)
                        end, child = _start(job)
                        children[end] = child
                        selector.register(end, selectors.EVENT_READ)
                elif data:
                    children[key.fd].said += data
                else:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _ended(children.pop(key.fd))


def _start(job: dict[str, Any]) -> tuple[int, _Child]:
    here, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(here)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(2, 1)
        # Where a test waits for it in vain, what it was at is to be seen.
        faulthandler.dump_traceback_later(_LONG)
        os.write(there, _outcome(job))
        os._exit(0)
    os.close(there)
    os.set_inheritable(here, False)
    _say({"id": job["id"], "pid": pid})
    return here, _Child(job["id"], pid)


def _outcome(job: dict[str, Any]) -> bytes:
    os.environ.update(job["environ"])
    try:
        outcome = {"value": getattr(jobs, job["run"])(**job["arguments"])}
    except Exception as error:
        told = {
            "kind": type(error).__name__,
            "message": str(error),
            "transient": bool(getattr(error, "transient", False)),
            "trace": traceback.format_exc(),
        }
        outcome = {"error": told}
    return json.dumps(outcome).encode()


def _ended(child: _Child) -> None:
    _, status = os.waitpid(child.pid, 0)
    said = json.loads(child.said) if child.said else {}
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    _say({"id": child.number, "signal": killed, "value": said.get("value"), "error": said.get("error")})


def _say(words: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
