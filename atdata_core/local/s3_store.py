"""``S3DataStore``: one bucket, with the keys to read and write it."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any, BinaryIO, cast
from urllib.parse import quote, unquote
from uuid import uuid4

from ..common.urls import displayed, parse_s3, plain_path, refuse_credentials
from ..errors import (
    AtdataError,
    NoDataUrlsError,
    RefusedError,
    SampleError,
    ServiceRefusedError,
    ServiceUnavailableError,
    ShardConflictError,
    ShardForbiddenError,
    ShardMissingError,
    ShardWarning,
    StorageError,
)
from ..protocols import ShardFacts, ShardStat, WriteProof
from ..samples.sample_types import packs_as_ours
from ..samples.schema import fields_digest, fields_of
from ..shards.dataset import Dataset
from ..shards.packed_samples import packed_of, shard_records, warn_of_files
from ..shards.shard_facts import sealed
from ..shards.tar_samples import PACKED, ShardWriter, Strays
from ..stores import opening
from ..stores.data_store import DataStore
from ..stores.s3.clients import same_service
from ..stores.s3.objects import S3Endpoint
from ..stores.s3.upload import S3Upload, Sent, copy_within, prove, send

PRESIGNED_SECONDS = 3600
"""How long a URL of ``read_url`` works."""


MAX_COUNT = 10_000
"""Samples of a shard, where the caller says nothing."""

MAX_SIZE = 1 << 30
"""Bytes after which a shard is full, where the caller says nothing."""

_CHUNK = 1 << 20
_LONGEST_NAME = 60
_Files = tuple[str, Mapping[str, Any]]
"""The key of a sample, and its files by their suffix."""


class S3DataStore(DataStore):
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
        credentials: Mapping[str, Any] | str | os.PathLike[str] | S3Endpoint,
        *,
        bucket: str,
        prefix: str = "",
        public_url: str | None = None,
    ) -> None:
        """Name the bucket; nothing is sent yet.

        Args:
            credentials: A dict, or the path of a ``.env`` file, with ``AWS_ACCESS_KEY_ID``,
                ``AWS_SECRET_ACCESS_KEY`` (or ``AWS_PROFILE``), and ``AWS_ENDPOINT`` where it is not AWS itself.
                ``AWS_S3_ADDRESSING_STYLE`` (``path``, ``virtual``, ``auto``) says how the service wants its buckets
                named, ``AWS_REQUEST_PAYER=requester`` that these keys pay. An endpoint is taken as it is.
            bucket: A bucket that is there.
            prefix: A path below which everything is written.
            public_url: An http(s) address whose paths are the bucket's keys.

        Raises:
            CredentialsError: no such file, or a key is missing.
            StorageError: no bucket, or a public URL that is no plain http(s) one.
        """
        known = isinstance(credentials, S3Endpoint)
        self.endpoint = credentials if known else S3Endpoint.from_credentials(credentials)
        if not bucket or "/" in bucket:
            raise StorageError(f"{bucket!r} is no bucket's name. Paths below it go into prefix.", urls=[])
        if public_url is not None:
            _check_public_url(public_url)
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.public_url = None if public_url is None else public_url.rstrip("/")

    @property
    def service(self) -> S3Endpoint:
        """The service and the credentials."""
        return self.endpoint

    @property
    def destination(self) -> str:
        """A name for the place, the same in every process."""
        place = f"{self.endpoint.endpoint_url or 'aws'}/{self.bucket}/{self.prefix}"
        return f"{place} as {self.public_url}" if self.public_url else place

    def serves(self, url: str) -> bool:
        """Whether a URL is one of its public ones."""
        return self.public_url is not None and url.startswith(f"{self.public_url}/")

    def write_shards(
        self,
        ds: Dataset[Any],
        *,
        prefix: str,
        cache_local: bool = False,
        maxcount: int = MAX_COUNT,
        maxsize: int = MAX_SIZE,
    ) -> list[str]:
        """Write a dataset's samples as new shards; their URLs.

        Shards are called ``data--{uuid}--000000.tar`` and so on. Samples keep their keys, and the files beside
        their ``.msgpack`` byte for byte; a warning tells what belongs to no sample and is left out.

        Args:
            ds: The dataset.
            prefix: A path below the store's own.
            cache_local: Write each shard to a temporary file before it is sent.
            maxcount: Samples to a shard.
            maxsize: Bytes after which the next shard begins.

        Raises:
            ShardMissingError: there is no such bucket, or a shard of ``ds`` is not there.
            NoDataUrlsError: ``ds`` has no samples.
            ServiceError: the service failed. Nothing is left behind.
        """
        written = self.write_shards_with_facts(
            ds, prefix=prefix, cache_local=cache_local, maxcount=maxcount, maxsize=maxsize
        )
        return [shard.url for shard in written]

    def write_shards_with_facts(
        self,
        ds: Dataset[Any],
        *,
        prefix: str,
        cache_local: bool = False,
        maxcount: int = MAX_COUNT,
        maxsize: int = MAX_SIZE,
    ) -> list[ShardFacts]:
        """As ``write_shards``; sizes, digests and numbers of samples as well, taken while writing."""
        below = plain_path(prefix.strip("/"))
        stem = f"{below}/data--{uuid4()}" if below else f"data--{uuid4()}"
        return self.write_named(
            ds,
            lambda number: f"{stem}--{number:06d}.tar",
            maxcount=maxcount,
            maxsize=maxsize,
            cache_local=cache_local,
        )

    def write_named(
        self,
        ds: Dataset[Any],
        name: Callable[[int], str],
        *,
        maxcount: int,
        maxsize: int,
        cache_local: bool = False,
    ) -> list[ShardFacts]:
        """As ``write_shards_with_facts``, with the name of the n-th shard, below the store's prefix.

        With ``cache_local`` each shard is written to a temporary file first. Every sample is checked to be of the
        dataset's type. Raises as ``write_shards``; whatever was written is removed then.
        """
        if maxcount < 1 or maxsize < 1:
            raise RefusedError(f"maxcount is {maxcount} and maxsize {maxsize}. Use 1 or more for both.")
        self._require_bucket()
        written: list[ShardFacts] = []
        samples = _samples(ds)
        # A type that packs in its own way may write what its fields do not say.
        schema = fields_digest({"fields": fields_of(ds.sample_type)}) if packs_as_ours(ds.sample_type) else None
        try:
            while (first := next(samples, None)) is not None:
                url = self.shard_url(name(len(written)))
                with S3Upload(self.endpoint, *self._place(url)) as upload:
                    shard = _write_shard(upload, chain([first], samples), maxcount, maxsize, cache_local)
                    upload.commit()
                written.append(
                    ShardFacts(
                        url=url,
                        size=upload.size,
                        sha256=upload.sha256,
                        md5=upload.md5,
                        samples=shard.samples,
                        etag=upload.etag,
                        endpoint=self.endpoint.endpoint_url,
                        region=self.endpoint.region,
                        # Of other files the schema says nothing.
                        schema=schema if shard.files == shard.samples else None,
                    )
                )
            if not written:
                raise NoDataUrlsError(f"{ds!r} has no samples, so there is nothing to store.", name=None)
        except BaseException:
            self.remove_shards(shard.url for shard in written)
            raise
        return [sealed(shard) for shard in written]

    def remove_shards(self, urls: Iterable[str]) -> None:
        """Remove shards that were written for nothing, as far as the service can be reached."""
        for url in urls:
            # The error that led here says more.
            with suppress(AtdataError):
                self._delete(*self._place(url))

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
        self._delete(*self._place(url))
        return True

    def put_shard(self, name: str, stream: BinaryIO, *, size: int, sha256: str) -> str:
        """Write a shard byte for byte; its URL. 8 MiB of it are in memory.

        Where the same bytes are already there, nothing is written. A shard that is larger is sent in parts; where
        that breaks off for a reason that may pass, they stay, and the next call sends those that are missing.

        Raises:
            ShardConflictError: another object has that name; it stays.
            ShardChangedError: the stream does not have this size and digest; nothing is left.
            ShardMissingError: there is no such bucket.
            ServiceError: the service failed.
        """
        url = self.shard_url(name)
        if self.prove_shard(url, size=size, sha256=sha256) is None:
            self._send(url, stream, size, sha256, None)
        return url

    def prove_shard(self, url: str, *, size: int, sha256: str, md5: str | None = None) -> str | None:
        """How it is known that these bytes lie at ``url``: the cheapest proof that the service offers.

        Returns:
            ``"server sha256"``, ``"etag md5"`` or ``"read back"``; None where nothing lies there.

        Raises:
            ShardConflictError: something else lies there.
            ShardMissingError: there is no such bucket.
        """
        place = self._place(url)
        try:
            stat = self.endpoint.stat(*place)
        except ShardMissingError as error:
            if error.key is None:
                raise
            return None
        return prove(self.endpoint, place, url, stat, size=size, sha256=sha256, etags=(md5,)).proof

    def find_shard(self, url: str, shard: ShardFacts, *, etag: str | None = None) -> WriteProof | None:
        """As ``prove_shard``, for the bytes of ``shard``; None also where there is no such bucket.

        ``etag`` is one by which they were known there before.
        """
        place = self._place(url)
        stat = self.endpoint.find(*place)
        if stat is None:
            return None
        etags = (shard.md5, etag)
        return prove(self.endpoint, place, url, stat, size=shard.size, sha256=shard.sha256, etags=etags)

    def require_place(self) -> None:
        """Raises ``ShardMissingError`` where there is no such bucket."""
        if not self.endpoint.has_bucket(self.bucket):
            self._require_bucket()

    def is_empty(self, folder: str) -> bool:
        """Whether nothing lies below a folder, by one request; False also where the service will not say."""
        return self.endpoint.is_empty(*self._place(self.shard_url(folder)))

    def send_shard(self, name: str, stream: BinaryIO, shard: ShardFacts) -> WriteProof:
        """As ``put_shard``, for the bytes of ``shard``, without looking first; raises the same."""
        url = self.shard_url(name)
        sent = self._send(url, stream, shard.size, shard.sha256, shard.md5)
        return self._landed(url, shard, *(sent or (None, None)))

    def can_copy(self, shard: ShardFacts) -> bool:
        """Whether a shard lies on this store's S3 service, with an ETag by which it is known again."""
        here = shard.url.startswith("s3://") and same_service(shard.endpoint, self.endpoint.endpoint_url)
        return here and shard.etag is not None

    def copy_shard(self, name: str, shard: ShardFacts) -> WriteProof | None:
        """Have the service copy such a shard, without looking first; None where it does not, and nothing is there.

        Raises:
            ShardConflictError: something else was written there at the same time.
            ServiceError: the service failed.
        """
        url = self.shard_url(name)
        place = self._place(url)
        answered = copy_within(self.endpoint, parse_s3(shard.url), place, size=shard.size, etag=shard.etag or "")
        if answered is None:
            return None
        try:
            return self._landed(url, shard, shard.md5, answered)
        except ShardConflictError:
            # A service that takes no notice of the ETag it is given copies what the source holds by now.
            stat = self.endpoint.find(*place)
            if stat is None or not answered or stat.etag != answered:
                raise
            self._delete(*place)
            return None

    def _send(self, url: str, stream: BinaryIO, size: int, sha256: str, md5: str | None) -> Sent | None:
        """Write a shard; None where something with the same bytes was there first."""
        try:
            return send(self.endpoint, *self._place(url), stream, size=size, sha256=sha256, md5=md5)
        except ServiceRefusedError as error:
            if error.status not in (409, 412):
                raise
        # Something was there first: as good as ours, if it holds the same bytes.
        if self.prove_shard(url, size=size, sha256=sha256, md5=md5) is None:
            raise ServiceUnavailableError(
                f"Something else was writing {url} at the same time. Try again.",
                service=self.endpoint.name,
                status=409,
            )
        return None

    def _landed(self, url: str, shard: ShardFacts, digest: str | None, answered: str | None) -> WriteProof:
        """The proof of what was just written.

        The ETag in the answer is taken for one where it is the digest of the right bytes; else the object is looked
        at. (An answer to a copy may name the source's, as rclone's does. No record rests on it: before one is
        written, every object is looked at where it lies.)
        """
        if answered and answered == digest:
            return WriteProof(url, "etag md5", answered)
        return self._found(url, shard, digest)

    def _require_bucket(self) -> None:
        """Raises ``ShardMissingError`` where the bucket is not there, and what the server raises."""
        # Who may write objects need not be allowed to look at the bucket.
        with suppress(ShardForbiddenError), self.endpoint.errors(self.bucket):
            self.endpoint.client.head_bucket(Bucket=self.bucket)

    def _delete(self, bucket: str, key: str) -> None:
        with self.endpoint.errors(bucket, key):
            self.endpoint.client.delete_object(Bucket=bucket, Key=key)

    def open_shard(self, url: str) -> BinaryIO:
        """A shard's bytes as they arrive; a URL that is not in S3 is opened plainly."""
        if self._is_ours(url):
            return self.endpoint.open(*self._place(url))
        return opening.open_shard(url)

    def stat_shard(self, url: str) -> ShardStat:
        """Size, ETag and digest of a shard, without its bytes."""
        if self._is_ours(url):
            return self.endpoint.stat(*self._place(url))
        return opening.stat_shard(url)

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

    def __repr__(self) -> str:
        return f"S3DataStore(bucket={self.bucket!r}, prefix={self.prefix!r}, endpoint={self.endpoint.name!r})"

    def _url(self, key: str) -> str:
        if self.public_url is None:
            return f"s3://{self.bucket}/{key}"
        return f"{self.public_url}/{quote(key, safe='/~!$()*+,;=:@')}"

    def _is_ours(self, url: str) -> bool:
        return url.startswith("s3://") or self.serves(url)

    def _place(self, url: str) -> tuple[str, str]:
        """Bucket and key of a URL."""
        if self.public_url is not None and self.serves(url):
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


def _write_shard(
    upload: S3Upload, samples: Iterator[_Files], maxcount: int, maxsize: int, cache_local: bool
) -> ShardWriter:
    if not cache_local:
        return _fill(cast(BinaryIO, upload), samples, maxcount, maxsize)
    with tempfile.TemporaryFile() as cache:
        shard = _fill(cast(BinaryIO, cache), samples, maxcount, maxsize)
        cache.seek(0)
        while chunk := cache.read(_CHUNK):
            upload.write(chunk)
    return shard


def _fill(stream: BinaryIO, samples: Iterator[_Files], maxcount: int, maxsize: int) -> ShardWriter:
    with ShardWriter(stream) as writer:
        for key, files in samples:
            writer.write_files(key, files)
            if writer.samples >= maxcount or writer.size >= maxsize:
                break
    return writer


def _samples(ds: Dataset[Any]) -> Iterator[_Files]:
    """Every sample with its key, packed as this version packs (arrays as ``.npy``), and the files beside it.

    Not ``ds.ordered()``: that leaves shards to other ranks and workers, and forgets the keys.
    """
    unpack = ds.unpacker()
    last: str | None = None
    beside: Counter[str] = Counter()
    for number, url in enumerate(ds.shard_list):
        loose = Strays(beside=False)
        for record in shard_records(url, store=ds.data_store, strays=loose):
            packed = packed_of(record, url, ds.stored_type)
            key = str(record.pop("__key__"))
            if key == last:
                # The end of one shard and the start of the next; a reader would take them for one sample.
                key = f"{number:06d}-{key}"
            last = key
            if len(record) > 1:
                beside.update(f".{suffix}" for suffix in record if suffix != PACKED)
            yield key, record | {PACKED: _repacked(unpack, url, key, bytes(packed))}
        if loose.count:
            warnings.warn(
                f"{displayed(url)}: {loose.count:,} of its files belong to no sample ({loose}), first "
                f"{loose.first[:_LONGEST_NAME]!r}. They are not written with the samples.",
                ShardWarning,
                stacklevel=2,
            )
    warn_of_files(beside, repr(ds))


def _repacked(unpack: Callable[[bytes], Any], url: str, key: str, payload: bytes) -> bytes:
    try:
        return unpack(payload).packed
    except SampleError as error:
        raise SampleError(
            f"{displayed(url)}, sample {key!r}: {error}", **{**error.facts, "url": displayed(url), "key": key}
        ) from None
