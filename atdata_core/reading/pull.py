"""The shards of a published dataset as files of a folder: fetched once, checked, taken up after a break."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from ..atmosphere.atmosphere_index import AtmosphereIndex
from ..atmosphere.published_shards import PublishedShards, other_bytes
from ..atmosphere.record_format.parse import expanded
from ..common.byte_progress import Progress, tell_bytes
from ..common.concurrency import concurrently, shard_in_memory
from ..common.names import distinct, file_name, quoted
from ..common.urls import displayed
from ..errors import AtdataError, NoDataUrlsError, PullError
from ..stores.shard_streams import CHUNK, PartRead, ResumableRead
from .pull_journal import Begun, Complete, PullJournal, another, no_link

if TYPE_CHECKING:
    from ..atmosphere import AtmosphereClient, AtmosphereIndexEntry
    from ..atmosphere.record_format.parse import PublishedShard


@dataclass(frozen=True, slots=True)
class PulledShard:
    """A shard as a file.

    ``sha256`` is the digest that its bytes have; ``checked`` says that it is the one that the record gives, which
    some old records do not. ``fetched`` are the bytes that came over the network this time.
    """

    url: str
    path: Path
    size: int
    sha256: str
    checked: bool
    fetched: int


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a folder holds of a dataset: all of its shards, in order.

    ``left`` are files of an earlier version of the dataset, which were pulled here and are none of its shards now.
    """

    name: str
    uri: str
    folder: Path
    shards: tuple[PulledShard, ...]
    left: tuple[Path, ...]

    @property
    def dataset(self) -> str:
        """What it is of, in all of its versions: its account and its name."""
        return _dataset(self.uri, self.name)


def pull(
    where: str,
    folder: str | os.PathLike[str],
    *,
    client: AtmosphereClient | None = None,
    progress: Progress | None = None,
) -> Pulled:
    """Bring the shards of a published dataset into a folder, several side by side.

    A file has its name once its bytes have the digest of the record; until then it is ``NAME.part``, and goes on
    from there when this is called again, where its server gives parts. What is there is not fetched again.

    Args:
        where: An at-uri, or ``@handle/name``.
        folder: It need not be there yet.
        client: Who asks for the record; nobody who is logged in by default.
        progress: Told of shards, and of bytes.

    Raises:
        EntryNotFoundError: (a ``KeyError``) there is no such dataset.
        NoDataUrlsError: It names no shards.
        PullError: Some shards did not come, or the folder takes none; what came stays. The first cause is its
            ``__cause__``.
    """
    if client is None:
        from ..atmosphere.client import AtmosphereClient

        client = AtmosphereClient()
    entry = AtmosphereIndex(client).get_dataset(where)
    target = Path(folder)
    journal = PullJournal(target, _dataset(entry.uri, entry.name))
    try:
        with journal.opened():
            return _Pull(entry, target, journal, progress).all()
    except OSError as error:
        if isinstance(error, AtdataError):
            raise
        named = displayed(str(error.filename or target))
        raise PullError(
            f"{named} cannot be written: {error.strerror or error}. Make room, or change its permissions, and run "
            "this again: it goes on where it stopped. Or name another folder.",
            folder=str(target),
        ) from error


def _dataset(uri: str, name: str) -> str:
    return f"{uri.removeprefix('at://').partition('/')[0]}/{name}"


def file_names(shards: Sequence[PublishedShard], dataset: str) -> list[str]:
    """What the files of shards are called, one name each, whatever their URLs say.

    As the tar that a URL names; else, as of blobs, by the dataset and the place among its shards. The place stands
    before a name that another shard has already.
    """
    taken: set[str] = set()
    return [
        distinct(_named_tar(shard.url) or f"{file_name(dataset)}-{number:06d}.tar", number, taken)
        for number, shard in enumerate(shards)
    ]


def _named_tar(url: str) -> str | None:
    try:
        path = url if url[:5].lower() == "s3://" else unquote(urlsplit(url).path)
    except ValueError:
        return None
    name = file_name(path.rpartition("/")[2])
    return name if ".tar" in name.casefold() and not name.casefold().endswith(".part") else None


class _Digest(Protocol):
    """What ``hashlib`` gives."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class _Pull:
    """One dataset on its way into one folder."""

    def __init__(
        self, entry: AtmosphereIndexEntry, folder: Path, journal: PullJournal, progress: Progress | None
    ) -> None:
        self._entry = entry
        self._folder = folder
        self._journal = journal
        self._progress = progress
        self._shards = expanded(entry.shards)
        if not self._shards:
            raise NoDataUrlsError(f"{entry.uri} names no shards. Ask the publisher.", name=entry.name)
        self._reader = PublishedShards(self._shards)
        self._stopped = False
        self._lock = threading.Lock()
        self._transfers: set[ResumableRead] = set()

    def all(self) -> Pulled:
        """Pull each shard; raises as ``pull``, once the others are done where it is for one shard."""
        names = file_names(self._shards, self._entry.name)
        came: list[PulledShard] = []
        failed: dict[str, AtdataError] = {}
        if self._progress:
            self._progress(0, len(names))
        each = zip(self._shards, names, strict=True)
        with closing(concurrently(self._one, each, failed=self._stop)) as pulled:
            for shard, found in zip(self._shards, pulled, strict=True):
                if isinstance(found, PulledShard):
                    came.append(found)
                else:
                    failed[shard.url] = found
                if self._progress:
                    self._progress(len(came), len(names))
        if failed:
            raise self._error(failed) from next(iter(failed.values()))
        before = (self._folder / name for name in sorted(self._journal.complete.keys() - set(names)))
        left = tuple(path for path in before if self._journal.ours(path))
        return Pulled(self._entry.name, self._entry.uri, self._folder, tuple(came), left)

    def _error(self, failed: dict[str, AtdataError]) -> PullError:
        first = next(iter(failed.values()))
        more = f" So did {len(failed) - 1:,} more." if len(failed) > 1 else ""
        count = f"{len(failed):,} of {len(self._shards):,} shards of {quoted(self._entry.name)}"
        return PullError(
            f"{count} did not come: {first.message}{more} What came stays in {self._folder}; run this again for "
            "the rest.",
            folder=str(self._folder),
            failed={displayed(url): error.message for url, error in failed.items()},
        )

    def _stop(self, _: BaseException) -> None:
        """End what other threads do, soon."""
        with self._lock:
            self._stopped = True
            for body in self._transfers:
                body.stop()

    def _one(self, each: tuple[PublishedShard, str]) -> PulledShard | AtdataError:
        """A shard by the name of its file, or why it did not come; raises what ends them all."""
        shard, name = each
        path, fetched = self._folder / name, 0
        try:
            found = self._there(shard, path)
            if found is None:
                # As many at a time as of large ones take a link whole.
                with shard_in_memory(shard.size):
                    sha256, fetched = self._fetched(shard, path)
                found = self._journal.publish(path, sha256)
        except AtdataError as error:
            return error
        return PulledShard(shard.url, path, found.size, found.sha256, shard.sha256 is not None, fetched)

    def _there(self, shard: PublishedShard, path: Path) -> Complete | None:
        """The file of a shard, where it has the shard's bytes; it is read where it is not as it was."""
        ours = self._journal.ours(path)
        known = self._journal.complete.get(path.name)
        if not os.path.lexists(path):
            return None
        if not path.is_file():
            raise another(path)
        stat = path.stat()
        expected = shard.sha256 or (known.sha256 if known and ours else None)
        if known and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            if known.sha256 == expected:
                return known
        elif expected == (sha256 := _digest_of(path).hexdigest()):
            return self._journal.found(path, known.dataset if known else "", sha256)
        if not ours:
            raise another(path)
        return None

    def _fetched(self, shard: PublishedShard, path: Path) -> tuple[str, int]:
        """Bring all bytes of a shard into the part of a file; their digest, and how many came over the network."""
        part = self._journal.part(path)
        digest, size, begun = hashlib.sha256(), 0, self._journal.begun.get(part.name)
        if part.exists():
            digest, size = _digest_of(part), part.stat().st_size
        if size and (sha256 := digest.hexdigest()) == shard.sha256:
            return sha256, 0
        known = None
        if begun is not None and begun.url == shard.url and begun.version is not None and begun.size is not None:
            known = PartRead(size, begun.version, begun.size) if 0 < size < begun.size else None
        fetched = 0
        while True:
            with closing(self._reader.transfer(shard.url, known)) as body:
                digest = digest if body.begins else hashlib.sha256()
                fetched += self._write(shard, body, path, digest)
            sha256 = digest.hexdigest()
            if shard.sha256 in (None, sha256):
                return sha256, fetched
            self._journal.drop(path)
            if not body.begins:
                raise other_bytes(shard.url, shard.sha256, sha256)
            # What was there before was of other bytes.
            known = None

    def _write(self, shard: PublishedShard, body: ResumableRead, path: Path, digest: _Digest) -> int:
        """Write what comes to the part of a file, and digest it; how many bytes it were."""
        part = self._journal.part(path)
        left = None if body.size is None else body.size - body.begins
        fetched = 0
        there = part.exists()
        if not there:
            self._journal.note(Begun(part.name, shard.url))
        with self._under_way(body), open(part, "r+b" if there else "xb", opener=no_link) as file:
            file.seek(body.begins)
            file.truncate()
            # Not before: what the file held may be of another version.
            self._journal.note(Begun(part.name, shard.url, body.version, body.size))
            while chunk := body.take(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                fetched += len(chunk)
                tell_bytes(self._progress, shard.url, len(chunk), left)
            file.flush()
            os.fsync(file.fileno())
        return fetched

    @contextmanager
    def _under_way(self, body: ResumableRead) -> Generator[None]:
        with self._lock:
            self._transfers.add(body)
            if self._stopped:
                body.stop()
        try:
            yield
        finally:
            with self._lock:
                self._transfers.remove(body)


def _digest_of(path: Path) -> _Digest:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")
