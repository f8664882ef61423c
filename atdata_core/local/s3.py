"""``S3DataStore``: one bucket, with the keys to read and write it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, BinaryIO
from urllib.parse import quote, unquote
from uuid import uuid4

from .. import access
from ..access.s3 import S3Endpoint
from ..access.upload import S3Upload
from ..dataset import Dataset
from ..errors import (
    ServiceRefusedError,
    ServiceUnavailableError,
    ShardChangedError,
    ShardConflictError,
    ShardMissingError,
    StorageError,
)
from ..protocols import ShardFacts, ShardStat
from ..urls import displayed, parse_s3, plain_path, refuse_credentials
from .writing import MAX_COUNT, MAX_SIZE, remove, write_dataset

PRESIGNED_SECONDS = 3600
"""How long a URL of ``read_url`` works."""

_CHUNK = 1 << 20


class S3DataStore:
    """Shards in one S3 bucket.

    Attributes:
        endpoint: The service and the credentials.
        bucket: The bucket's name.
        prefix: Keys of ``put_shard`` and ``write_shards`` begin with it.
        public_url: Where everybody reads the bucket over http(s), where there is such a place; shards are
            then named, and published, by it.
    """

    def __init__(
        self,
        credentials: Mapping[str, Any] | str | os.PathLike[str],
        *,
        bucket: str,
        prefix: str = "",
        public_url: str | None = None,
    ) -> None:
        """Name the bucket; nothing is sent yet.

        Args:
            credentials: A dict, or the path of a ``.env`` file, with ``AWS_ACCESS_KEY_ID``,
                ``AWS_SECRET_ACCESS_KEY``, and ``AWS_ENDPOINT`` where it is not AWS itself.
            bucket: A bucket that is there.
            prefix: A path below which everything is written.
            public_url: An http(s) address whose paths are the bucket's keys.

        Raises:
            CredentialsError: no such file, or a key is missing.
            StorageError: no bucket, or a public URL that is no plain http(s) one.
        """
        self.endpoint = S3Endpoint.from_credentials(credentials)
        if not bucket or "/" in bucket:
            raise StorageError(f"{bucket!r} is no bucket's name. Paths below it go into prefix.", urls=[])
        if public_url is not None:
            _check_public_url(public_url)
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.public_url = None if public_url is None else public_url.rstrip("/")

    def write_shards(
        self, ds: Dataset[Any], *, prefix: str, maxcount: int = MAX_COUNT, maxsize: int = MAX_SIZE
    ) -> list[str]:
        """Write a dataset's samples as new shards; their URLs.

        Shards are called ``data--{uuid}--000000.tar`` and so on. Samples keep their keys.

        Args:
            ds: The dataset.
            prefix: A path below the store's own.
            maxcount: Samples to a shard.
            maxsize: Bytes after which the next shard begins.

        Raises:
            ShardMissingError: there is no such bucket, or a shard of ``ds`` is not there.
            NoDataUrlsError: ``ds`` has no samples.
            ServiceError: the service failed. Nothing is left behind.
        """
        written = self.write_shards_with_facts(ds, prefix=prefix, maxcount=maxcount, maxsize=maxsize)
        return [shard.url for shard in written]

    def write_shards_with_facts(
        self, ds: Dataset[Any], *, prefix: str, maxcount: int = MAX_COUNT, maxsize: int = MAX_SIZE
    ) -> list[ShardFacts]:
        """As ``write_shards``; sizes, digests and numbers of samples as well, taken while writing."""
        path = "/".join(part for part in (self.prefix, plain_path(prefix.strip("/"))) if part)
        stem = f"{path}/data--{uuid4()}" if path else f"data--{uuid4()}"
        written = write_dataset(
            ds,
            self.endpoint,
            self.bucket,
            lambda number: f"{stem}--{number:06d}.tar",
            maxcount=maxcount,
            maxsize=maxsize,
        )
        return [self._named(shard) for shard in written]

    def remove_shards(self, urls: Iterable[str]) -> None:
        """Remove shards that were written for nothing, as far as the service can be reached."""
        remove(self.endpoint, self.bucket, [self._place(url)[1] for url in urls])

    def shard_url(self, name: str) -> str:
        """The URL that ``put_shard`` gives for ``name``."""
        return self._url(f"{self.prefix}/{name}" if self.prefix else name)

    def shard_name(self, url: str, *, endpoint: str | None = None) -> str | None:
        """The inverse of ``shard_url``; None for a URL of another place.

        Args:
            url: As a record or an index names a shard.
            endpoint: The S3 service of an ``s3://`` URL; None is AWS.
        """
        if not self._is_ours(url) or (url.startswith("s3://") and endpoint != self.endpoint.endpoint_url):
            return None
        bucket, key = self._place(url)
        below = f"{self.prefix}/" if self.prefix else ""
        return key.removeprefix(below) if bucket == self.bucket and key.startswith(below) else None

    def remove_shard(self, url: str, *, size: int, sha256: str, md5: str | None = None) -> bool:
        """Remove a shard that holds these bytes; False where nothing is there.

        Raises:
            ShardConflictError: something else lies there; it stays.
            ShardForbiddenError, ServiceError: it cannot be looked at, or removed.
        """
        if self.prove_shard(url, size=size, sha256=sha256, md5=md5) is None:
            return False
        bucket, key = self._place(url)
        with self.endpoint.errors(bucket, key):
            self.endpoint.client.delete_object(Bucket=bucket, Key=key)
        return True

    def put_shard(self, name: str, stream: BinaryIO, *, size: int, sha256: str) -> str:
        """Write a shard byte for byte; its URL. At most some 48 MiB of it are in memory.

        Where the same bytes are already there, nothing is written.

        Raises:
            ShardConflictError: another object has that name; it stays.
            ShardChangedError: the stream does not have this size and digest; nothing is left.
            ShardMissingError: there is no such bucket.
            ServiceError: the service failed; nothing is left.
        """
        url = self.shard_url(name)
        if self.prove_shard(url, size=size, sha256=sha256) is not None:
            return url
        with S3Upload(self.endpoint, *self._place(url), only_new=True) as upload:
            while upload.size <= size and (chunk := stream.read(_CHUNK)):
                upload.write(chunk)
            if (upload.size, upload.sha256) != (size, sha256):
                raise ShardChangedError(
                    f"The bytes to be written as {url} are not those that were recorded: {size} bytes with "
                    f"SHA-256 {sha256} were expected, {upload.size} or more with {upload.sha256} came. "
                    "Insert the dataset again if it was changed on purpose.",
                    url=url,
                    expected=sha256,
                    found=upload.sha256,
                )
            try:
                upload.commit()
            except ServiceRefusedError as error:
                if error.status not in (409, 412):
                    raise
                self._was_first(url, size, sha256)
        return url

    def _was_first(self, url: str, size: int, sha256: str) -> None:
        """Return if the object that was there first holds the same bytes."""
        if self.prove_shard(url, size=size, sha256=sha256) is None:
            raise ServiceUnavailableError(
                f"Something else was writing {url} at the same time. Try again.",
                service=self.endpoint.name,
                status=409,
            )

    def prove_shard(self, url: str, *, size: int, sha256: str, md5: str | None = None) -> str | None:
        """How it is known that these bytes lie at ``url``: the cheapest proof that the service offers.

        Returns:
            ``"server sha256"``, ``"etag md5"`` or ``"read back"``; None where nothing lies there.

        Raises:
            ShardConflictError: something else lies there.
            ShardMissingError: there is no such bucket.
        """
        bucket, key = self._place(url)
        try:
            stat = self.endpoint.stat(bucket, key)
        except ShardMissingError as error:
            if error.key is None:
                raise
            return None
        if stat.size != size:
            raise _conflict(url, f"{size} bytes", f"{stat.size} bytes")
        if stat.sha256 is not None:
            if stat.sha256 != sha256:
                raise _conflict(url, sha256, stat.sha256)
            return "server sha256"
        if md5 is not None and stat.etag == md5:
            return "etag md5"
        found = hashlib.sha256()
        with self.endpoint.open(bucket, key) as body:
            while chunk := body.read(_CHUNK):
                found.update(chunk)
        if found.hexdigest() != sha256:
            raise _conflict(url, sha256, found.hexdigest())
        return "read back"

    def open_shard(self, url: str) -> BinaryIO:
        """A shard's bytes as they arrive; a URL that is not in S3 is opened plainly."""
        if self._is_ours(url):
            return self.endpoint.open(*self._place(url))
        return access.open_shard(url)

    def stat_shard(self, url: str) -> ShardStat:
        """Size, ETag and digest of a shard, without its bytes."""
        if self._is_ours(url):
            return self.endpoint.stat(*self._place(url))
        return access.stat_shard(url)

    def read_url(self, url: str) -> str:
        """A URL that anybody can open over http(s) now: the public one, else one signed for an hour.

        A signed URL holds a signature: it is for reading, never for a record, an index or a log.
        """
        if not self._is_ours(url):
            return url
        bucket, key = self._place(url)
        if self.public_url is not None and bucket == self.bucket:
            return self._url(key)
        with self.endpoint.errors(bucket, key):
            return self.endpoint.client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=PRESIGNED_SECONDS
            )

    def supports_streaming(self) -> bool:
        """True."""
        return True

    def __repr__(self) -> str:
        return f"S3DataStore(bucket={self.bucket!r}, prefix={self.prefix!r}, endpoint={self.endpoint.name!r})"

    def _url(self, key: str) -> str:
        if self.public_url is None:
            return f"s3://{self.bucket}/{key}"
        return f"{self.public_url}/{quote(key, safe='/~!$()*+,;=:@')}"

    def _named(self, shard: ShardFacts) -> ShardFacts:
        """The facts under the URL that this store gives the shard."""
        if self.public_url is None:
            return shard
        return replace(shard, url=self._url(parse_s3(shard.url)[1]))

    def _is_ours(self, url: str) -> bool:
        return url.startswith("s3://") or self._is_public(url)

    def _is_public(self, url: str) -> bool:
        return self.public_url is not None and url.startswith(f"{self.public_url}/")

    def _place(self, url: str) -> tuple[str, str]:
        """Bucket and key of a URL."""
        if self.public_url is not None and self._is_public(url):
            return self.bucket, unquote(url.removeprefix(f"{self.public_url}/"))
        return parse_s3(url)


def _check_public_url(url: str) -> None:
    # It is published with every shard.
    refuse_credentials(url)
    if not url.startswith(("http://", "https://")) or "?" in url or "#" in url:
        raise StorageError(
            f"public_url {displayed(url)!r} is no address to which a shard's path can be added. Use one like "
            "https://data.example.org/bucket.",
            urls=[displayed(url)],
        )


def _conflict(url: str, expected: str, found: str) -> ShardConflictError:
    return ShardConflictError(
        f"Another object lies at {url}: {expected} expected, {found} found. It is left as it is; remove it or "
        "choose another prefix.",
        url=url,
        expected=expected,
        found=found,
    )
