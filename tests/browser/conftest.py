"""Dagster's UI on a sandbox, as people start it, and a browser that looks at it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import dagster as dg
import httpx
import pytest
import redis

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.local import LocalIndex, Repo
from atdata_core.samples.metadata import pack
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.stores.s3.objects import S3Endpoint
from atdata_pipelines.config.dagster_instance import prepare_home
from atdata_pipelines.config.partitions import add_keys
from atdata_pipelines.demo.digits import LAB, METADATA, PUBLIC, Digit, digits
from atdata_pipelines.sandbox import Sandbox
from atdata_pipelines.sandbox.services import HOST, free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from dagster_ui import DagsterUi

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / ".artifacts" / "browser"
LOADED = "{ locationStatusesOrError { ... on WorkspaceLocationStatusEntries { entries { loadStatus } } } }"
STARTING = 120
"""Seconds that the UI may take to show the definitions; a third of that on a machine with nothing else to do."""

STOPPING = 30


class Lab:
    """A lab with small datasets of digits, beside the PDS that they are published to."""

    def __init__(self, box: Sandbox) -> None:
        self._box = box
        self.index = LocalIndex(redis.Redis.from_url(box.redis_url))
        self.index.publish_schema(Digit, version="1.0.0")
        self._objects = S3Endpoint.from_credentials(box.s3).client
        self._digits = list(islice(digits(), 60))

    def insert(self, name: str) -> str:
        """Store a dataset of two shards; its name."""
        repo = Repo(s3_credentials=self._box.s3, hive_path=f"{LAB}/{name}", redis=self.index.redis)
        with TemporaryDirectory() as folder:
            about, tar = Path(folder, "metadata.msgpack"), Path(folder, "digits.tar")
            about.write_bytes(pack(METADATA))
            with tar.open("wb") as file, ShardWriter(file) as shard:
                for number, sample in enumerate(self._digits):
                    shard.write({**sample.as_wds, "__key__": f"{number:06d}"})
            dataset = atdata.Dataset[Digit](str(tar), metadata_url=str(about))
            repo.insert(dataset, name=name, maxcount=30)
        return name

    def lose(self, name: str) -> None:
        """Delete the first shard of a dataset."""
        first = atdata.Dataset[Digit](self.index.get_entry_by_name(name).data_urls[0]).shard_list[0]
        bucket, _, key = first.removeprefix("s3://").partition("/")
        self._objects.delete_object(Bucket=bucket, Key=key)

    def published(self) -> dict[str, dict[str, Any]]:
        """The entry records on the PDS by the names of their datasets, as a stranger reads them."""
        records, _ = AtmosphereClient(self._box.pds_url).list_records(ENTRY, repo=self._box.did)
        return {record.value["name"]: {**record.value, "uri": record.uri} for record in records}


class Server(NamedTuple):
    """Where Dagster's UI is, and its DAGSTER_HOME."""

    url: str
    home: Path


def _unavailable(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window. Where it cannot be had the tests are skipped, in CI they fail."""
    if find_spec("playwright") is None:
        _unavailable("Playwright is not installed: `make browser` installs it")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        _unavailable("no Chromium is installed: on Debian, `apt-get install chromium`")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # A container's root has no sandbox of Chromium's; it opens nothing but the UI on this machine.
        running = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def place(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox that nothing else uses; what cannot be looked at is not started."""
    with Sandbox(tmp_path_factory.mktemp("browser"), buckets=(LAB, PUBLIC)) as running:
        yield running


@pytest.fixture(scope="session")
def lab(place: Sandbox) -> Lab:
    """The lab of the session."""
    return Lab(place)


@pytest.fixture(scope="session")
def server(place: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``dagster dev``: the UI, the daemon and the code server, with nothing in DAGSTER_HOME."""
    folder = tmp_path_factory.mktemp("ui")
    home = prepare_home(folder / "home")
    environ = {
        **os.environ,
        **place.environ(),
        "ATDATA_PUBLISH_BUCKET": PUBLIC,
        "ATDATA_PUBLISH_PUBLIC_URL": f"{place.public_url}/{PUBLIC}",
        "ATDATA_STATE_DIR": str(folder / "state"),
        "DAGSTER_HOME": str(home),
        "PYTHONWARNINGS": "ignore:Function `dev_command`",
        # The programs that it starts find these modules, too.
        "PYTHONPATH": str(ROOT),
    }
    port = free_port()
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(ROOT / "workspace.yaml"), "-h", HOST]
    said = folder / "said"
    with said.open("wb") as output:
        # In an empty folder: Dagster loads a .env of its working directory.
        running = subprocess.Popen(
            [*command, "-p", str(port)],
            cwd=folder,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_heed_interrupts,
            start_new_session=True,
        )
    try:
        url = f"http://{HOST}:{port}"
        _wait(lambda: _is_loaded(url), lambda: running.poll() is None, said)
        yield Server(url, home)
    finally:
        _stop(running)


def _heed_interrupts() -> None:
    # What a shell starts in the background ignores them, and so would what that starts.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _stop(running: subprocess.Popen[bytes]) -> None:
    running.send_signal(signal.SIGINT)
    try:
        running.wait(timeout=STOPPING)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def _is_loaded(url: str) -> bool:
    try:
        answer = httpx.post(f"{url}/graphql", json={"query": LOADED}, timeout=10).json()
    except (httpx.TransportError, ValueError):
        return False
    entries = answer["data"]["locationStatusesOrError"]["entries"]
    return bool(entries) and all(entry["loadStatus"] == "LOADED" for entry in entries)


def _wait(until: Callable[[], bool], runs: Callable[[], bool], said: Path) -> None:
    end = time.monotonic() + STARTING
    while not until():
        if not runs() or time.monotonic() > end:
            pytest.fail(f"The UI did not start:\n{said.read_text()[-4000:]}")
        time.sleep(0.2)


@pytest.fixture(scope="session")
def ui(browser: Browser, server: Server) -> Iterator[DagsterUi]:
    """The UI, as one person has it open."""
    from dagster_ui import DagsterUi

    context = browser.new_context(base_url=server.url, viewport={"width": 1500, "height": 1000})
    yield DagsterUi(context.new_page(), PICTURES)
    context.close()


@pytest.fixture
def known(server: Server) -> Callable[[list[str]], None]:
    """Make datasets partitions, as the sensor does."""

    def add(names: list[str]) -> None:
        with dg.DagsterInstance.from_config(str(server.home)) as instance:
            add_keys(instance, names)

    return add
