"""Checking one published shard: is it there, has it the bytes that were promised, what do its samples say."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO, cast

from ...atmosphere.published_shards import open_anonymously, own_endpoint
from ...atmosphere.record_format.parse import PublishedShard
from ...common.byte_progress import Progress, counted
from ...common.concurrency import shard_in_memory
from ...common.urls import displayed, parse_s3
from ...errors import AtdataError, SampleError, ShardCorruptError, ShardForbiddenError
from ...shards.packed_samples import typed_sample
from ...shards.tar_samples import PACKED, Strays, read_samples
from ...stores.shard_streams import stat_of
from .findings import Finding, Report, of_error

CHUNK = 1 << 20
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """What was found in one shard.

    ``read``: all of its bytes came. ``whole``: they are a tar without damage, so ``samples`` is exact.
    ``anonymous``: they came without any key. ``empty``: it is a tar without any file.
    """

    findings: tuple[Finding, ...] = ()
    size: int = 0
    samples: int = 0
    read: bool = False
    whole: bool = False
    anonymous: bool = False
    empty: bool = False


def check_shard(shard: PublishedShard, sample_type: type | None, progress: Progress | None = None) -> ShardCheck:
    """Read a shard to its end, anonymously where that is possible.

    One sample is in memory at a time. Without a ``sample_type`` samples are counted, not decoded.
    """
    try:
        stream, anonymous = _open(shard)
        stat = stat_of(stream)
        size = None if stat is None else stat.size
        with shard_in_memory(size, opened=stream) as is_open:
            if not is_open:
                stream, anonymous = _open(shard)
            with closing(stream):
                return _read(shard, stream, anonymous, sample_type, size, progress)
    except AtdataError as error:
        return ShardCheck((of_error("shards", shard.url, error),))


def _read(
    shard: PublishedShard,
    stream: BinaryIO,
    anonymous: bool,
    sample_type: type | None,
    size: int | None,
    progress: Progress | None,
) -> ShardCheck:
    content = _Content(counted(stream, shard.url, size, progress), shard, sample_type)
    try:
        content.read_all()
    except AtdataError as error:
        # What was seen so far may be no more than half of a story.
        return ShardCheck((of_error("shards", shard.url, error),), content.size, content.samples)
    return ShardCheck(
        tuple(content.findings()),
        content.size,
        content.samples,
        read=True,
        whole=content.damage is None,
        anonymous=anonymous,
        empty=content.damage is None and not content.samples and not content.strays.count,
    )


def _open(shard: PublishedShard) -> tuple[BinaryIO, bool]:
    """The shard's bytes, and whether anybody gets them without a key."""
    try:
        return open_anonymously(shard), True
    except ShardForbiddenError:
        own = own_endpoint(shard)
        if own is None:
            raise
        return own.open(*parse_s3(shard.url)), False


class _Content:
    """Bytes of a shard, digested and decoded while they pass."""

    def __init__(self, stream: BinaryIO, shard: PublishedShard, sample_type: type | None) -> None:
        self.size = 0
        self.samples = 0
        self.strays = Strays()
        self.damage: ShardCorruptError | None = None
        self._stream = stream
        self._shard = shard
        self._type = sample_type
        self._digest = hashlib.sha256()
        self._undecodable = 0
        self._first_problem = ""

    def read(self, size: int = -1) -> bytes:
        """The next bytes, as the tar reader asks for them."""
        data = self._stream.read(size)
        self._digest.update(data)
        self.size += len(data)
        return data

    def read_all(self) -> None:
        """Read to the end, also past damage: the digest is of all bytes."""
        try:
            for record in read_samples(cast(BinaryIO, self), url=self._shard.url, strays=self.strays):
                if PACKED in record:
                    self.samples += 1
                    self._decode(record)
        except ShardCorruptError as damage:
            self.damage = damage
        while self.read(CHUNK):
            pass

    def findings(self) -> list[Finding]:
        """What is not as it should be, once all was read."""
        report = Report()
        url, expected, digest = self._shard.url, self._shard.sha256, self._digest.hexdigest()
        if expected is not None and digest != expected:
            report.differs("shards", url, "other bytes than were published: SHA-256", expected, digest)
        if self.damage is not None:
            report.error("shards", url, self.damage)
        if self.strays.count:
            count, first = self.strays.count, self.strays.first
            problem = f"{count} {'file is' if count == 1 else 'files are'} no sample ({self.strays})"
            if not self.samples:
                problem = f"no file is a sample, of {count} ({self.strays})"
            report.differs("samples", url, f"{problem}; the first: {first[:_LONGEST_NAME]!r}")
        if self._undecodable:
            named = self._type.__name__ if self._type else ""
            problem = f"{self._undecodable} of {self.samples} samples are no {named} of the published schema"
            report.differs("samples", url, f"{problem}; the first: {self._first_problem}")
        return report.findings

    def _decode(self, record: dict[str, bytes | str]) -> None:
        if self._type is None:
            return
        try:
            typed_sample(record, self._shard.url, self._type)
        except SampleError as error:
            if not self._undecodable:
                self._first_problem = error.message.removeprefix(f"{displayed(self._shard.url)}, ")
            self._undecodable += 1
