"""Reading published shards once, to say in a record what they hold."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from atdata_core.access import open_shard
from atdata_core.errors import StorageError
from atdata_core.protocols import ShardFacts
from atdata_core.tar import read_samples
from atdata_core.urls import displayed, refuse_credentials, scheme

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from atdata_core.access.s3 import S3Endpoint


def survey(urls: Sequence[str], *, store: object | None = None) -> list[ShardFacts]:
    """Size, SHA-256 and number of samples of each shard.

    Args:
        urls: Patterns expanded.
        store: The store that they lie in, for its credentials; the environment's by default.

    Raises:
        StorageError: A path of this machine, or a credential in a URL.
        ShardMissingError, ShardForbiddenError, ShardCorruptError: A shard cannot be read.
    """
    for url in urls:
        refuse_credentials(url)
        if scheme(url) == "file":
            raise StorageError(
                f"{displayed(url)} is a path of this machine, which nobody else can read. Insert the dataset into "
                "a local index and promote it with a data store (promote_to_atmosphere(..., data_store=...)).",
                urls=[url],
            )
    return [_facts(url, store) for url in urls]


def _facts(url: str, store: object | None) -> ShardFacts:
    with open_shard(url, store=store) as stream:
        counted = _Counted(stream)
        samples = sum(1 for _ in read_samples(io.BufferedReader(counted, 1 << 20), url=url))
    endpoint = _endpoint(store) if scheme(url) == "s3" else None
    return ShardFacts(
        url=url,
        size=counted.size,
        sha256=counted.digest.hexdigest(),
        samples=samples,
        endpoint=endpoint.endpoint_url if endpoint else None,
        region=endpoint.region if endpoint else None,
    )


def _endpoint(store: object | None) -> S3Endpoint | None:
    """The endpoint that ``open_shard`` used."""
    from atdata_core.access.s3 import S3Endpoint

    own: Any = getattr(store, "endpoint", None)
    return own if isinstance(own, S3Endpoint) else S3Endpoint.from_environment()


class _Counted(io.RawIOBase):
    """A stream that counts and digests what passes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = 0
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._stream.read(len(view))
        view[: len(data)] = data
        self.size += len(data)
        self.digest.update(data)
        return len(data)
