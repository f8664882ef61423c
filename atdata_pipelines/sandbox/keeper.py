"""The running services, seen from the program that started them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from atdata_pipelines.sandbox import guard
from atdata_pipelines.sandbox.sandbox_errors import SandboxError
from atdata_pipelines.sandbox.services import TITLES, Service

GRACE_SECONDS = 3.0
"""How long a service may take to stop before it is killed."""

_LOG_TAIL = 2000


class Keeper:
    """Starts services under a guard process (``guard.py``), which stops them with this process.

    Args:
        services: what to start.
        hold: file descriptor that the guard keeps open while services run (the folder's lock).
        remove: folder to delete when all have stopped.
    """

    def __init__(self, services: list[Service], *, hold: int, remove: Path | None) -> None:
        self._services = services
        self._owner = os.getpid()
        # A session of its own: Ctrl-C in the terminal reaches the program, which then stops the services.
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[hold],
            start_new_session=True,
        )
        order = {
            "owner": self._owner,
            "grace": GRACE_SECONDS,
            "remove": str(remove) if remove else None,
            "services": [
                {
                    "name": service.name,
                    "argv": service.argv,
                    "env": service.env,
                    "cwd": str(service.folder),
                    "log": str(service.log),
                }
                for service in services
            ],
        }
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        self._log_starts = {service.name: _size(service.log) for service in services}
        self._guard.stdin.write(json.dumps(order).encode() + b"\n")
        self._guard.stdin.flush()
        os.set_blocking(self._guard.stdout.fileno(), False)

    def wait(self, seconds: float) -> None:
        """Until every service answers.

        Raises:
            SandboxError: one has ended, or does not answer in time.
        """
        until = time.monotonic() + seconds
        waiting = list(self._services)
        while True:
            self.check()
            waiting = [service for service in waiting if not service.ready()]
            if not waiting:
                return
            if time.monotonic() > until:
                service = waiting[0]
                raise SandboxError(
                    f"{_capital(TITLES[service.name])} does not answer after {seconds:.0f} s."
                    f" Its log:\n{self._log_tail(service)}",
                    service=service.name,
                )
            time.sleep(0.02)

    def check(self) -> None:
        """Raise ``SandboxError`` where a service, or the guard, has ended by itself."""
        assert self._guard.stdout is not None
        if line := self._guard.stdout.readline():
            name = json.loads(line)["exited"]
            service = next(service for service in self._services if service.name == name)
            raise SandboxError(
                f"{_capital(TITLES[name])} has ended by itself. Its log:\n{self._log_tail(service)}", service=name
            )
        if self._guard.poll() is not None:
            raise SandboxError("The process that keeps the sandbox was killed. Start the sandbox again.")

    def stop(self) -> None:
        """Stop everything, and come back when it has stopped. A forked copy of the program does nothing."""
        if os.getpid() != self._owner:
            return
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        self._guard.stdin.close()
        try:
            self._guard.wait(GRACE_SECONDS + 2)
        except subprocess.TimeoutExpired:
            os.killpg(self._guard.pid, signal.SIGKILL)
            self._guard.wait()
        self._guard.stdout.close()

    def _log_tail(self, service: Service) -> str:
        try:
            with open(service.log, "rb") as log:
                log.seek(max(self._log_starts[service.name], _size(service.log) - _LOG_TAIL))
                return log.read().decode(errors="replace").strip() or "(empty)"
        except OSError:
            return "(none)"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
