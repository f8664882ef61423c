"""Datasets that are published just so, by a server of the test's own."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from atdata_core import packable
from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata_core.atmosphere.record_format.build import entry_record
from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.protocols import ShardFacts
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.state.ledger import timestamp
from shard_server import ShardServer


@packable
class Measurement:
    """Some numbers and which they are."""

    values: NDArray[np.float32]
    number: int


@pytest.fixture
def measurement() -> type:
    return Measurement


@pytest.fixture
def tar() -> Callable[..., bytes]:
    """The bytes of a shard of one sample, about as large as is said."""

    def make(number: int, size: int = 20_000) -> bytes:
        stream = io.BytesIO()
        with ShardWriter(stream) as writer:
            sample = Measurement(np.full(size // 4, number, np.float32), number)
            writer.write({**sample.as_wds, "__key__": f"{number:06d}"})
        return stream.getvalue()

    return make


@pytest.fixture
def server(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardServer]:
    """A web server, which a record may point at."""
    made = ShardServer()
    monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", ",".join([environ["ATDATA_ALLOW_PRIVATE"], made.place]))
    with made.serving():
        yield made


@pytest.fixture
def publisher(environ: dict[str, str], pds: Any, account: Any) -> AtmosphereClient:
    """A client that is logged in."""
    client = AtmosphereClient(pds.url)
    client.login(account.handle, account.password)
    return client


@pytest.fixture
def publish(publisher: AtmosphereClient) -> Callable[..., str]:
    """Publish shards (bytes by URL, in order); the at-uri of the entry."""

    def make(shards: dict[str, bytes], name: str = "digits", **changes: Any) -> str:
        facts = [
            ShardFacts(url, len(data), hashlib.sha256(data).hexdigest(), samples=1, **changes)
            for url, data in shards.items()
        ]
        record = entry_record(
            name=name, schema_uri=AtmosphereIndex(publisher).publish_schema(Measurement), shards=facts,
            description=None, tags=None, license=None, metadata=None, created_at=timestamp(),
        )  # fmt: skip
        return str(publisher.create_record(ENTRY, record))

    return make
