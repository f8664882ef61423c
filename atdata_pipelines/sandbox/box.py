"""The sandbox as a context manager, and one that runs until somebody stops it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import httpx

from atdata_pipelines.sandbox.sandbox_state import SandboxError, SandboxState, lock
from atdata_pipelines.sandbox.services import HOST, TITLES, Keeper, free_port, is_taken, services

START_SECONDS = 180.0
"""How long services may take to answer; they take a second on a machine that is not overloaded."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY = re.compile(r"[A-Za-z0-9/+=_.-]+")


class Sandbox:
    """Redis, S3, a PDS and a PLC directory on 127.0.0.1, for as long as the ``with`` block lasts.

    Without ``path`` everything lies in a temporary folder that goes away at the end. With it, data, ports,
    keys, accounts and passwords stay there, and a later start has the same addresses and records. While a
    sandbox runs on a folder, another one on the same folder uses the running one and does not stop it.

    Args:
        path: folder to keep everything in.
        redis_port: port of Redis; like the next two, free ones are chosen and kept where absent.
        s3_port: port of the S3 server.
        pds_port: port of the PDS.
        s3_access_key: access key ID; like the next one, random where absent.
        s3_secret_key: secret access key.
        handle: handle of the account on the PDS, ``demo.test`` where absent.
        password: its password, random where absent.
        buckets: S3 buckets that shall exist.

    Attributes:
        attached: whether another program runs this sandbox.

    Raises:
        SandboxError: on entering, where something cannot start; it names what and the way out.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        redis_port: int | None = None,
        s3_port: int | None = None,
        pds_port: int | None = None,
        s3_access_key: str | None = None,
        s3_secret_key: str | None = None,
        handle: str | None = None,
        password: str | None = None,
        buckets: Sequence[str] = (),
    ) -> None:
        self._path = Path(path).expanduser().resolve() if path is not None else None
        ports = {"redis": redis_port, "s3": s3_port, "pds": pds_port}
        keys = {"s3_access_key": s3_access_key, "s3_secret_key": s3_secret_key}
        self._ports = {name: port for name, port in ports.items() if port is not None}
        self._keys = {name: key for name, key in keys.items() if key is not None}
        self._handle = handle.lower() if handle is not None else None
        self._password = password
        self._buckets = [buckets] if isinstance(buckets, str) else list(buckets)
        self._keeper: Keeper | None = None
        self._state: SandboxState | None = None
        self._did = ""
        self.attached = False
        self._check_arguments()

    def __enter__(self) -> Sandbox:
        if self._path is None:
            self._root = Path(tempfile.mkdtemp(prefix="atdata-sandbox-"))
        else:
            self._root = self._path
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _keep_private(self._root)
            self._enter()
        except BaseException:
            if self._path is None:
                shutil.rmtree(self._root, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state = None
        if self._keeper is not None:
            self._keeper.stop()
            self._keeper = None

    @property
    def folder(self) -> Path:
        """Where data, logs and the state file lie."""
        self._running()
        return self._root

    @property
    def redis_url(self) -> str:
        """URL of Redis with its password, such as ``redis://:password@127.0.0.1:6379/0``."""
        return f"redis://:{self._running().redis_password}@{self._address('redis')}/0"

    @property
    def s3(self) -> dict[str, str]:
        """Endpoint and keys of S3, as ``credentials=`` and ``s3_credentials=`` take them."""
        state = self._running()
        return {
            "AWS_ENDPOINT": f"http://{self._address('s3')}",
            "AWS_ACCESS_KEY_ID": state.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": state.s3_secret_key,
        }

    @property
    def public_url(self) -> str:
        """Where anybody reads objects without a key, as ``{public_url}/{bucket}/{key}``.

        Of buckets that are named ``public``, or begin with ``public-``; nothing is listed.
        """
        return f"http://{self._address('public')}"

    @property
    def pds_url(self) -> str:
        """URL of the PDS."""
        return f"http://{self._address('pds')}"

    @property
    def plc_url(self) -> str:
        """URL of the PLC directory."""
        return f"http://{self._address('plc')}"

    @property
    def invite_code(self) -> str:
        """Without this nobody makes another account on the PDS (``inviteCode`` of ``createAccount``)."""
        return self._running().invite_code

    @property
    def handle(self) -> str:
        """Handle of the account."""
        return self._running().handle

    @property
    def password(self) -> str:
        """Password of the account."""
        return self._running().password

    @property
    def did(self) -> str:
        """DID of the account."""
        self._running()
        return self._did

    def environ(self) -> dict[str, str]:
        """The variables by which programs of this project find the sandbox. No publish bucket is among them."""
        ports = self._running().ports
        s3 = self.s3
        return {
            "ATDATA_REDIS_URL": self.redis_url,
            "ATDATA_S3_ENDPOINT": s3["AWS_ENDPOINT"],
            "AWS_ACCESS_KEY_ID": s3["AWS_ACCESS_KEY_ID"],
            "AWS_SECRET_ACCESS_KEY": s3["AWS_SECRET_ACCESS_KEY"],
            "ATDATA_PDS_URL": self.pds_url,
            "ATDATA_PLC_URL": self.plc_url,
            "ATDATA_HANDLE": self.handle,
            "ATDATA_APP_PASSWORD": self.password,
            "ATDATA_ALLOW_PRIVATE": ",".join(
                f"{host}:{ports[name]}" for name in ("s3", "public", "pds", "plc") for host in (HOST, "localhost")
            ),
        }

    def check(self) -> None:
        """Raise ``SandboxError`` where a service has ended by itself."""
        if self._keeper is not None:
            self._keeper.check()

    def _check_arguments(self) -> None:
        for bucket in self._buckets:
            if not _BUCKET.fullmatch(bucket) or ".." in bucket:
                raise SandboxError(
                    f"{bucket!r} cannot be an S3 bucket. Use 3 to 63 of a-z, 0-9, dot and hyphen.", bucket=bucket
                )
        for name, key in self._keys.items():
            if not _KEY.fullmatch(key):
                raise SandboxError(f"{name} has characters that S3 keys do not have. Use letters and digits.")
        if len(set(self._ports.values())) < len(self._ports):
            raise SandboxError("Two services cannot share a port. Give each port once.")

    def _running(self) -> SandboxState:
        if self._state is None:
            raise SandboxError("The sandbox is not running. Use it inside `with Sandbox(...) as box:`.")
        return self._state

    def _address(self, service: str) -> str:
        return f"{HOST}:{self._running().ports[service]}"

    def _enter(self) -> None:
        until = time.monotonic() + START_SECONDS
        while True:
            if (hold := lock(self._root)) is not None:
                try:
                    self._start(hold)
                finally:
                    os.close(hold)
                break
            if self._attach():
                break
            if time.monotonic() > until:
                raise SandboxError(
                    f"Another program holds the sandbox in {self._root}, but its services do not answer."
                    " Stop that program, or give another folder.",
                    folder=str(self._root),
                )
            time.sleep(0.05)

    def _start(self, hold: int) -> None:
        state = SandboxState.load(self._root) or SandboxState()
        state.ports.update(self._ports)
        for name, key in self._keys.items():
            setattr(state, name, key)
        for name in TITLES:
            if name not in state.ports:
                state.ports[name] = free_port(besides=state.ports.values())
            elif is_taken(state.ports[name]):
                raise self._port_taken(name, state.ports[name])
        wanted = services(self._root, state)
        state.save(self._root)
        self._make_buckets()
        keeper = Keeper(wanted, hold=hold, remove=self._root if self._path is None else None)
        try:
            keeper.wait(START_SECONDS)
            self._take_account(state)
            state.save(self._root)
        except BaseException:
            keeper.stop()
            raise
        self._keeper, self._state = keeper, state

    def _attach(self) -> bool:
        state = SandboxState.load(self._root)
        if state is None or not all(service.ready() for service in services(self._root, state)):
            return False
        for name, port in self._ports.items():
            if state.ports[name] != port:
                raise SandboxError(
                    f"The sandbox in {self._root} is running already, with {TITLES[name]} on port"
                    f" {state.ports[name]} instead of {port}. Stop it first, or give another folder.",
                    folder=str(self._root),
                    port=port,
                )
        for name, key in self._keys.items():
            if getattr(state, name) != key:
                raise SandboxError(
                    f"The sandbox in {self._root} is running already, with another {name}."
                    " Stop it first, or give another folder.",
                    folder=str(self._root),
                )
        usual = state.handle
        self._take_account(state)
        # Another handle is this program's wish; the folder's own stays what it is.
        replace(state, handle=usual).save(self._root)
        self._state, self.attached = state, True
        self._make_buckets()
        return True

    def _take_account(self, state: SandboxState) -> None:
        if self._handle is not None:
            state.handle = self._handle
        if self._password is not None:
            state.passwords[state.handle] = self._password
        self._did = _ensure_account(f"http://{HOST}:{state.ports['pds']}", state)

    def _make_buckets(self) -> None:
        # A bucket of rclone's S3 server is a folder, seen at once also while it runs.
        for bucket in self._buckets:
            (self._root / "s3" / bucket).mkdir(mode=0o700, exist_ok=True)

    def _port_taken(self, name: str, port: int) -> SandboxError:
        chosen = name in ("redis", "s3", "pds")
        way_out = f"give another {name}_port" if chosen else f"delete {self._root / 'state.json'}"
        return SandboxError(
            f"Port {port}, which {TITLES[name]} needs, is in use by another program."
            f" Stop that program, or {way_out}.",
            service=name,
            port=port,
        )


def serve(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Callable[[Sandbox], dict[str, str]] = Sandbox.environ,
    as_json: bool = False,
    **arguments: Any,
) -> bool:
    """Run a sandbox in the foreground and print its variables as ``export NAME=value`` lines, or as a JSON object.

    It comes back after Ctrl-C, SIGTERM or SIGHUP; at once where another program runs the sandbox of that
    folder already. To be called in the main thread.

    Args:
        path: folder to keep everything in, as ``Sandbox`` takes it.
        environ: gives the variables to print.
        arguments: those of ``Sandbox``.

    Returns:
        Whether it ran the sandbox; False where another program does.

    Raises:
        SandboxError: it cannot start, or a service has ended by itself.
    """
    say = partial(print, sep="\n", flush=True, file=sys.stderr if as_json else sys.stdout)
    with _until_told_to_stop() as told, Sandbox(path, **arguments) as box:
        variables = environ(box)
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        if as_json:
            print(json.dumps(variables), flush=True)
            lines = []
        lines += [
            f"# S3 objects without a key: {box.public_url}/BUCKET/KEY, for a BUCKET named public or public-...",
            f"# Data and logs: {box.folder}{'' if path is not None else ' (removed at the end)'}",
        ]
        if box.attached:
            say(*lines, "# Another program runs this sandbox; it ends with that program.")
            return False
        say(*lines, "# Running. Ctrl-C stops it.")
        while not told.wait(1.0):
            box.check()
    say("# Stopped.")
    return True


def _keep_private(root: Path) -> None:
    """Close the folder to other users, whose keys it holds.

    Raises:
        SandboxError: it is another user's.
    """
    # Root may close it, but its owner may open it again.
    if root.stat().st_uid != os.geteuid():
        raise SandboxError(
            f"{root} belongs to another user, who could read what is kept there. Give a folder of your own.",
            folder=str(root),
        )
    root.chmod(0o700)


def _ensure_account(pds_url: str, state: SandboxState) -> str:
    """The DID of the account ``state.handle``, which is created where it is not there.

    Raises:
        SandboxError: the account is there with another password, or cannot be created.
    """
    handle, password = state.handle, state.password
    # No proxy of the environment has anything to do with a server on this machine.
    with httpx.Client(base_url=f"{pds_url}/xrpc/", timeout=30, trust_env=False) as client:
        known = client.get("com.atproto.identity.resolveHandle", params={"handle": handle})
        if known.is_success:
            reply = client.post(
                "com.atproto.server.createSession", json={"identifier": handle, "password": password}
            )
            if reply.is_success:
                return reply.json()["did"]
            raise SandboxError(
                f"The account {handle} of this sandbox has another password. Leave the password out, or give"
                " another handle or another folder.",
                handle=handle,
            )
        given = {
            "handle": handle,
            "password": password,
            "email": f"someone@{handle}",
            "inviteCode": state.invite_code,
        }
        reply = client.post("com.atproto.server.createAccount", json=given)
        if reply.is_success:
            return reply.json()["did"]
        raise SandboxError(
            f"The PDS did not create the account {handle}: {reply.json().get('message')}", handle=handle
        )


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
