"""Sources: the shards of a dataset as objects, by the names of the package ``atdata``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from ..common.urls import displayed, expand, parse_s3
from ..errors import RefusedError, ShardNotListedError
from ..protocols import ShardStat
from ..stores.data_store import DataStore
from ..stores.opening import open_shard, stat_shard
from ..stores.s3.clients import checked_endpoint
from ..stores.s3.objects import S3Endpoint


class ListedShards:
    """What all sources have that list their shards and open each."""

    def list_shards(self) -> list[str]:
        """The names of the shards, in order."""
        raise NotImplementedError

    def open_shard(self, url: str) -> BinaryIO:
        """The bytes of one of them, as they arrive; raises ``ShardNotListedError`` (a ``KeyError``) for another."""
        raise NotImplementedError

    @property
    def shard_list(self) -> list[str]:
        """As ``list_shards``."""
        return self.list_shards()

    @property
    def shards(self) -> Iterator[tuple[str, BinaryIO]]:
        """Each shard's name and bytes, opened when it is asked for; close it."""
        return ((name, self.open_shard(name)) for name in self.list_shards())

    def check_listed(self, url: str) -> None:
        """Raises ``ShardNotListedError`` for what is none of the shards."""
        if url not in self.list_shards():
            shown = displayed(url)
            raise ShardNotListedError(
                f"Shard not found: {shown}. Take one of those that list_shards() gives.", url=shown
            )


@dataclass
class URLSource(ListedShards):
    """Shards by their URLs, as ``Dataset[MySample](url)`` takes them: brace patterns, or a list of such."""

    url: str | Sequence[str]

    def list_shards(self) -> list[str]:
        """The shards, patterns expanded; raises ``StorageError`` where they name none."""
        return expand(self.url)

    def open_shard(self, url: str) -> BinaryIO:
        """The shard's bytes as they arrive; raises as ``opening.open_shard``, and ``ShardNotListedError``."""
        self.check_listed(url)
        return open_shard(url)


@dataclass
class S3Source(ListedShards, DataStore):
    """Objects of one bucket, and the keys to read them.

    Without an address it is AWS; without keys those that boto3 finds are used. Without either, objects are opened
    as any ``s3://`` URL is.
    """

    bucket: str
    keys: list[str]
    endpoint: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    region: str | None = None

    @classmethod
    def from_urls(
        cls,
        urls: Sequence[str],
        *,
        endpoint: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        region: str | None = None,
    ) -> S3Source:
        """Of ``s3://bucket/key`` URLs, all of one bucket; raises ``RefusedError`` (a ``ValueError``) for others."""
        if not urls:
            raise RefusedError("urls cannot be empty: an S3Source names at least one shard.")
        for url in urls:
            if not url.lower().startswith("s3://"):
                raise RefusedError(f"Not an S3 URL: {displayed(url)}. Use s3://bucket/key, or a URLSource.")
        buckets, keys = zip(*map(parse_s3, urls), strict=True)
        if len(set(buckets)) > 1:
            raise RefusedError(
                f"The shards of an S3Source lie in the same bucket, not in {', '.join(sorted(set(buckets)))}. Use "
                "a URLSource, or one source for each."
            )
        return cls(buckets[0], list(keys), endpoint, access_key, secret_key, region)

    @classmethod
    def from_credentials(cls, credentials: Mapping[str, str], bucket: str, keys: list[str]) -> S3Source:
        """With ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, and maybe ``AWS_ENDPOINT`` and ``AWS_REGION``."""
        names = "AWS_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"
        return cls(bucket, keys, *map(credentials.get, names))

    @property
    def service(self) -> S3Endpoint | None:
        """The service and the keys for it; None where neither is said."""
        if self.access_key or self.secret_key:
            given = {
                "AWS_ENDPOINT": self.endpoint,
                "AWS_ACCESS_KEY_ID": self.access_key,
                "AWS_SECRET_ACCESS_KEY": self.secret_key,
                "AWS_REGION": self.region,
            }
            return S3Endpoint.from_credentials(given)
        if self.endpoint is None and self.region is None:
            return None
        address = None if self.endpoint is None else checked_endpoint(self.endpoint, "endpoint")
        return S3Endpoint(endpoint_url=address, region=self.region).configured()

    def serves(self, url: str) -> bool:
        """No URL but those of S3."""
        return False

    def list_shards(self) -> list[str]:
        """``s3://bucket/key`` of each."""
        return [f"s3://{self.bucket}/{key}" for key in self.keys]

    def open_shard(self, url: str) -> BinaryIO:
        """The shard's bytes as they arrive; raises as ``opening.open_shard``, and ``ShardNotListedError``."""
        self.check_listed(url)
        service = self.service
        return open_shard(url) if service is None else service.open(*parse_s3(url))

    def stat_shard(self, url: str) -> ShardStat:
        """What the service says of a shard; raises as ``open_shard``."""
        self.check_listed(url)
        service = self.service
        return stat_shard(url) if service is None else service.stat(*parse_s3(url))
