"""Opening shards where a record says they lie, and holding them to the digests that it gives."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from atdata_core.atmosphere.record_format.parse import PublishedShard
from atdata_core.common.urls import displayed, parse_s3, scheme
from atdata_core.errors import ShardChangedError, StorageError
from atdata_core.protocols import ShardStat
from atdata_core.stores.opening import open_shard, stat_shard, transfer_guarded
from atdata_core.stores.shard_cache import CacheCopy, ShardCache

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from atdata_core.stores.s3.objects import S3Endpoint
    from atdata_core.stores.shard_streams import PartRead, ResumableRead

BUFFER = 1 << 20


class PublishedShards:
    """A reader of the shards of one record, without login; it can be pickled.

    Addresses come from the network: private ones are refused unless they are configured. S3 is asked
    anonymously, except at the endpoints of the environment, whose keys are used.
    """

    def __init__(self, shards: Iterable[PublishedShard], *, verify: bool = True) -> None:
        self._shards = {shard.url: shard for shard in shards}
        # What a pattern stands for is not listed, and has neither digest nor endpoint.
        self._patterns = any(shard.pattern for shard in self._shards.values())
        self._verify = verify

    def open_shard(self, url: str) -> BinaryIO:
        """The shard's bytes as they arrive; ``ShardChangedError`` at their end where they are others.

        Raises:
            ShardMissingError, ShardForbiddenError, ServiceUnavailableError: It cannot be read.
            PrivateAddressError, StorageError: The record points where nobody should go, or does not name it.
        """
        shard = self._recorded(url)
        sha256 = shard.sha256
        cache = None if sha256 is None else ShardCache.from_environment()
        if sha256 is None or (cache is None and not self._verify):
            return self._open(shard)

        def other(found: str) -> None:
            if kept is not None and cache is not None:
                cache.remove(sha256)
            if self._verify:
                raise other_bytes(shard.url, sha256, found, kept_in=cache.folder if kept and cache else None)

        kept = cache.open(sha256) if cache else None
        stream = kept or self._open(shard)
        copy = cache.copy(sha256) if cache and not kept else None
        return io.BufferedReader(_Checked(stream, sha256, other, copy), BUFFER)

    def stat_shard(self, url: str) -> ShardStat:
        """What the server says of the shard; raises as ``open_shard`` does."""
        shard = self._recorded(url)
        if scheme(shard.url) == "s3":
            return _endpoint(shard).stat(*parse_s3(shard.url))
        return stat_shard(shard.url, guarded=True)

    def transfer(self, url: str, part: PartRead | None = None) -> ResumableRead:
        """The shard's bytes, unchecked, and from where a part ends if the server goes on there; raises as above."""
        shard = self._recorded(url)
        if scheme(shard.url) == "s3":
            return _endpoint(shard).transfer(*parse_s3(shard.url), part=part)
        return transfer_guarded(shard.url, part)

    def _recorded(self, url: str) -> PublishedShard:
        """The shard as the record gives it: another URL has no digest that it could be held to."""
        if url in self._shards:
            return self._shards[url]
        if self._patterns:
            return PublishedShard(url)
        raise StorageError(
            f"{displayed(url)} is no shard of the record that is read. Open it with another dataset: "
            "Dataset[MySample](url).",
            urls=[displayed(url)],
        )

    def _open(self, shard: PublishedShard) -> BinaryIO:
        if scheme(shard.url) == "s3":
            return _endpoint(shard).open(*parse_s3(shard.url))
        return open_shard(shard.url, guarded=True)


def other_bytes(url: str, expected: str, found: str, *, kept_in: Path | None = None) -> ShardChangedError:
    """The error of a shard whose digest is another one than its record gives; ``kept_in``: of what a cache kept."""
    told, do = displayed(url), "ask the publisher"
    if kept_in is not None:
        told, do = f"What {kept_in} kept of {told}", "read again: it was removed, and is fetched anew"
    return ShardChangedError(
        f"{told} does not hold the bytes that its record promises (SHA-256 {found}, promised {expected}). "
        f"Do not use its samples; {do}.",
        url=url,
        expected=expected,
        found=found,
    )


def open_anonymously(shard: PublishedShard) -> BinaryIO:
    """A published shard's bytes as anybody gets them, unchecked; raises as ``PublishedShards.open_shard``."""
    if scheme(shard.url) == "s3":
        return _anonymous(shard).open(*parse_s3(shard.url))
    return open_shard(shard.url, guarded=True)


def own_endpoint(shard: PublishedShard) -> S3Endpoint | None:
    """The environment's endpoint with its keys, where the shard lies at it; else None."""
    from atdata_core.stores.s3.objects import S3Endpoint

    if scheme(shard.url) != "s3":
        return None
    for own in (S3Endpoint.from_environment(), _publish_endpoint()):
        if own is not None and _same(own.endpoint_url, shard.endpoint) and own.signs:
            return own
    return None


def _endpoint(shard: PublishedShard) -> S3Endpoint:
    """The endpoint of a shard: with the environment's keys where it is the environment's own."""
    return own_endpoint(shard) or _anonymous(shard)


def _anonymous(shard: PublishedShard) -> S3Endpoint:
    from atdata_core.stores.private_addresses import check_public
    from atdata_core.stores.s3.objects import S3Endpoint

    if shard.endpoint is not None:
        check_public(shard.endpoint)
    return S3Endpoint.anonymous_at(shard.endpoint, shard.region, guarded=True)


def _publish_endpoint() -> S3Endpoint | None:
    from atdata_core.stores.s3.clients import checked_endpoint
    from atdata_core.stores.s3.objects import S3Endpoint

    names = {
        "AWS_ENDPOINT": "ATDATA_PUBLISH_ENDPOINT",
        "AWS_ACCESS_KEY_ID": "ATDATA_PUBLISH_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY": "ATDATA_PUBLISH_SECRET_ACCESS_KEY",
    }
    found = {name: os.environ[variable] for name, variable in names.items() if os.environ.get(variable)}
    if len(found) < len(names):
        return None
    checked_endpoint(found["AWS_ENDPOINT"], names["AWS_ENDPOINT"])
    if style := os.environ.get("ATDATA_PUBLISH_ADDRESSING_STYLE"):
        found["AWS_S3_ADDRESSING_STYLE"] = style
    return S3Endpoint.from_credentials(found)


def _same(one: str | None, other: str | None) -> bool:
    return (one or "").rstrip("/") == (other or "").rstrip("/")


class _Checked(io.RawIOBase):
    """A stream of which ``other`` is told at its end where its bytes are not those of a digest; else it is kept.

    Attributes:
        checked: That stream.
    """

    def __init__(
        self, stream: BinaryIO, sha256: str, other: Callable[[str], None], copy: CacheCopy | None = None
    ) -> None:
        self.checked = stream
        self._expected = sha256
        self._other = other
        self._copy = copy
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        data = self.checked.read(len(memoryview(buffer).cast("B")))
        memoryview(buffer).cast("B")[: len(data)] = data
        self._digest.update(data)
        if self._copy is not None:
            self._copy.write(data)
        if not data:
            if (found := self._digest.hexdigest()) != self._expected:
                self._other(found)
            elif self._copy is not None:
                self._copy.keep()
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self.checked.close()
            if self._copy is not None:
                self._copy.discard()
        super().close()
