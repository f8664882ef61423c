"""Labs whose ways out are watched, and processes to be killed in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from atdata_pipelines.sandbox import Sandbox
from faulty.children import Children
from faulty.edge import Edge
from faulty.lane import Lane, edge_around
from faulty.valkey import Valkey
from servers import PdsAddress


@pytest.fixture(scope="session")
def other_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A second Redis and a second S3 server."""
    with Sandbox(tmp_path_factory.mktemp("other-sandbox")) as running:
        yield running


@pytest.fixture(scope="session")
def children() -> Iterator[Children]:
    """Starts processes."""
    with Children() as running:
        yield running


@pytest.fixture(scope="session")
def edge(official_pds: PdsAddress, box: Sandbox, other_box: Sandbox) -> Iterator[Edge]:
    """The edge of tests that need one lab only."""
    with edge_around(official_pds, box.s3, other_box.s3, box.redis_url) as running:
        yield running


@pytest.fixture
def new_lane(
    official_pds: PdsAddress,
    box: Sandbox,
    other_box: Sandbox,
    new_redis_url: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Lane]]:
    """Make a lab with an account and, unless one is given, an edge of its own; copies go to another S3.

    The account is on the reference PDS, unless another one is given.
    """
    with ExitStack() as ends:
        lanes: list[Lane] = []

        def make(redis_url: str | None = None, *, edge: Edge | None = None, pds: PdsAddress | None = None) -> Lane:
            database, pds = redis_url or new_redis_url(), pds or official_pds
            if edge is None:
                edge = ends.enter_context(edge_around(pds[:2], box.s3, other_box.s3, database))
            folder = tmp_path / f"lane-{len(lanes)}"
            folder.mkdir()
            lane = Lane(edge, pds.url, box.s3, other_box.s3, database, folder, pds.invite)
            ends.callback(lane.close)
            lanes.append(lane)
            monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", ",".join(lane.edge.places for lane in lanes))
            return lane

        yield make


@pytest.fixture
def lane(new_lane: Callable[..., Lane], edge: Edge) -> Lane:
    """One lab with an account."""
    return new_lane(edge=edge)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Redis server of the test's own."""
    folder = tmp_path / "valkey"
    folder.mkdir()
    server = Valkey(folder)
    yield server
    server.kill()
