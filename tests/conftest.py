"""What the whole suite shares: one sandbox, one moto server, and the material beside the repository."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest
from hypothesis import settings

from atdata_core.common import concurrency, retry_after
from atdata_core.stores.s3.objects import S3Endpoint
from atdata_pipelines.sandbox import Sandbox

if TYPE_CHECKING:
    from servers import PdsAddress

pytest_plugins = ["reliability", "servers", "logins", "crowd"]

_FOR_TESTS = {"ATDATA_UPSTREAM_PYTHON", "ATDATA_OFFICIAL_PDS"}
TESTS = Path(__file__).resolve().parent
MOMENT = 0.05
_DATABASES = cycle(range(1, 16))
_RESERVED = re.compile(r"(^|\.)(example\.(com|net|org)|example|invalid)$")


class PdsAccount(NamedTuple):
    """An account on a PDS."""

    handle: str
    password: str
    did: str


def pytest_configure(config: pytest.Config) -> None:
    # A developer's own settings must not reach the tests, nor the tests a developer's services.
    for name in list(os.environ):
        if name.startswith(("ATDATA_", "AWS_", "DAGSTER_")) and name not in _FOR_TESTS:
            del os.environ[name]
    # What a fixture of a whole module does comes before ``state_folder``, and must not find the developer's own.
    folder = Path(tempfile.mkdtemp(prefix="atdata-state-"))
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ["ATDATA_STATE_DIR"] = str(folder)
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    # Nothing here speaks TLS with anybody, and to read the authorities that certifi knows took each HTTP client
    # 25 ms: a tenth of all that the tests did.
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        os.environ.pop(name, None)
    (folder / "authorities").mkdir()
    (folder / "authorities" / "00000000.0").touch()
    os.environ["SSL_CERT_DIR"] = str(folder / "authorities")
    # A change is tried with few examples of a property, CI tries more; a test that wants still more says so.
    settings.register_profile("few", max_examples=40, deadline=None)
    settings.register_profile("many", max_examples=200, deadline=None)
    settings.load_profile("many" if os.environ.get("CI") else "few")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests come first: started last, one of them would keep one worker when the other is done.

    What is asked of the reference PDS, and what breaks services, takes longer than the rest, as a folder.
    """
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in ("contract", "faults"):
            item.add_marker("slow")
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


class Time:
    """Time that passes when somebody sleeps, most of it at once. ``slept`` keeps the seconds of each sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        # A server that really fails on a busy machine needs a moment.
        time.sleep(min(seconds, MOMENT))


@pytest.fixture(autouse=True)
def time_passes(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Waiting for a service takes a test no time, and no test waits for what another was told.

    A test that measures real waiting sets ``retry_after.ours`` to ``RetryAfter()`` itself.
    """
    passing = Time()
    monkeypatch.setattr(retry_after, "ours", retry_after.RetryAfter(passing.clock, passing.sleep))
    # Nor is a service slow because of what it answered to another test.
    concurrency._limit.cache_clear()
    return passing


@pytest.fixture(autouse=True)
def _no_example_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that RFC 2606 reserves name no host; without a network a resolver takes seconds to say so."""
    look_up = socket.getaddrinfo

    def found(host: Any, *args: Any, **options: Any) -> Any:
        if isinstance(host, str) and _RESERVED.search(host):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.fixture(scope="session")
def _state_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new path for each test; ``mktemp`` would look through those of all tests before it."""
    folder = tmp_path_factory.mktemp("states")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def state_folder(_state_folders: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's processes share sessions and counts of writes; not a developer's own folder."""
    folder = next(_state_folders)
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("ATDATA_STATE_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The passwords of one test mask nothing in what another one reads."""
    from atdata_core import secrets

    monkeypatch.setattr(secrets, "_kept", set())


@pytest.fixture
def closing() -> Iterator[Callable[[httpx.HTTPTransport], httpx.HTTPTransport]]:
    """Close a transport with the test: a client leaves open what it was given."""
    with ExitStack() as stack:
        yield lambda transport: stack.enter_context(transport)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of specifications and golden data beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("there is no folder `shared` beside the repository")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """What earlier versions of atdata wrote."""
    return shared / "golden"


@pytest.fixture(scope="session")
def lexicons(shared: Path) -> Path:
    """The published lexicons."""
    return shared / "lexicons"


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox of the session, with the bucket ``datasets-bucket``."""
    with Sandbox(tmp_path_factory.mktemp("sandbox"), buckets=["datasets-bucket"]) as running:
        yield running


@pytest.fixture
def new_redis_url(box: Sandbox) -> Callable[[], str]:
    """Give an empty Redis database, another one each time."""
    import redis

    def make() -> str:
        url = f"{box.redis_url.rpartition('/')[0]}/{next(_DATABASES)}"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        return url

    return make


@pytest.fixture
def redis_url(new_redis_url: Callable[[], str]) -> str:
    """An empty Redis database, another one for each test."""
    return new_redis_url()


@pytest.fixture(scope="session")
def s3(box: Sandbox) -> dict[str, str]:
    """Credentials of the sandbox's S3 server, as ``credentials=`` takes them."""
    return box.s3


@pytest.fixture
def bucket(box: Sandbox) -> str:
    """A new bucket of the sandbox's S3 server, which anybody reads at its public URL."""
    name = f"public-{secrets.token_hex(6)}"
    S3Endpoint.from_credentials(box.s3).client.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def _accounts_of_pds(pds: PdsAddress) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{pds.url}/xrpc/") as client:
        yield client


@pytest.fixture
def account(_accounts_of_pds: httpx.Client, pds: PdsAddress) -> PdsAccount:
    """A new account, with an empty repository, on the sandbox's PDS."""
    handle, password = f"user-{secrets.token_hex(6)}.test", secrets.token_urlsafe(12)
    reply = _accounts_of_pds.post(
        "com.atproto.server.createAccount",
        json={"handle": handle, "password": password, "email": f"{handle}@example.com", **pds.invite},
    )
    return PdsAccount(handle, password, reply.raise_for_status().json()["did"])


@pytest.fixture
def environ(box: Sandbox, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of the sandbox, set for this test; Redis is the database of ``redis_url``."""
    variables = box.environ() | {"ATDATA_REDIS_URL": redis_url}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[dict[str, str]]:
    """Credentials of a moto server: S3 in memory, with checksum attributes and multipart copies."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }
    server.stop()
