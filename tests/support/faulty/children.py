"""Processes that promote, seen from the test that starts and kills them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

_SUPPORT = Path(__file__).resolve().parents[1]
_PATIENCE = 120.0


@dataclass(frozen=True)
class Outcome:
    """How a child ended: killed by ``signal``, or with the job's value, or with an error's facts."""

    signal: int | None
    value: Any
    error: dict[str, Any] | None


class Child:
    """One process with one job."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._outcome: Outcome | None = None
        self._born, self._dead = threading.Event(), threading.Event()

    @property
    def pid(self) -> int:
        """Its process ID; waits until there is one."""
        assert self._born.wait(_PATIENCE), "the child was not started"
        assert self._pid is not None
        return self._pid

    def outcome(self, *, patience: float = _PATIENCE) -> Outcome:
        """How it ended; waits so many seconds for that."""
        assert self._dead.wait(patience), "the child does not end"
        assert self._outcome is not None
        return self._outcome

    def value(self, *, patience: float = _PATIENCE) -> Any:
        """What the job gave; fails where it raised or was killed."""
        outcome = self.outcome(patience=patience)
        assert outcome.signal is None, f"killed by signal {outcome.signal}"
        assert outcome.error is None, outcome.error["trace"]
        return outcome.value

    def heard(self, words: dict[str, Any]) -> None:
        """Take in what the zygote says of this child."""
        if "pid" in words:
            self._pid = words["pid"]
            self._born.set()
        else:
            self._outcome = Outcome(words["signal"], words["value"], words["error"])
            self._dead.set()


class Children:
    """Starts children, all forked from one warm process; ends with them."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(_SUPPORT), str(_SUPPORT.parents[1])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faulty.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        )
        self._children: dict[int, Child] = {}
        self._lock = threading.Lock()
        self._listener = threading.Thread(target=self._listen, name="children", daemon=True)
        self._listener.start()

    def start(self, run: str, environ: Mapping[str, str], **arguments: Any) -> Child:
        """Run a function of ``faulty.jobs`` in a new process with these variables."""
        child = Child()
        assert self._process.stdin is not None
        with self._lock:
            number = len(self._children)
            self._children[number] = child
            job = {"id": number, "run": run, "environ": dict(environ), "arguments": arguments}
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        return child

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_PATIENCE)
        self._listener.join()
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            words = json.loads(line)
            self._children[words["id"]].heard(words)
