"""Labs whose ways out are watched, and processes to be killed in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from atdata_pipelines.sandbox import Sandbox
from faulty.children import Children
from faulty.lane import Lane
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


@pytest.fixture
def new_lane(
    official_pds: PdsAddress,
    box: Sandbox,
    other_box: Sandbox,
    new_redis_url: Callable[[], str],
    tmp_path: Path,
) -> Iterator[Callable[[], Lane]]:
    """Make a lab with an account of its own; copies go to the second S3 server."""
    with ExitStack() as lanes:

        def make() -> Lane:
            folder = tmp_path / f"lane-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            lane = Lane(official_pds, box.s3, other_box.s3, new_redis_url(), folder)
            lanes.callback(lane.close)
            return lane

        yield make


@pytest.fixture
def lane(new_lane: Callable[[], Lane]) -> Lane:
    """One lab with an account."""
    return new_lane()
