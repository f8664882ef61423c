"""The base class of data stores: a store implements what it can, the rest follows.

Somebody's own class need not inherit it: ``as_data_store`` makes it one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, BinaryIO
from uuid import uuid4
from weakref import WeakKeyDictionary

from ..common.urls import displayed, refuse_credentials
from ..errors import ShardConflictError, ShardMissingError, StorageError
from ..protocols import ShardFacts, ShardStat, WriteProof
from . import opening
from .opening import derived, implements
from .s3.objects import S3Endpoint
from .shard_streams import sha256_of

_objects: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


class DataStore:
    """A place where shards lie.

    One that promotion can copy to has ``put_shard``, or at least ``write_shards``. With ``shard_url`` besides, a
    copy is found again where it lies; with ``shard_name`` and ``remove_shard`` it can be removed.
    """

    shows_copies: bool = True
    """Whether a copy can be looked at before a record names it. Where not, ``confirm`` looks afterwards."""

    @property
    def service(self) -> S3Endpoint | None:
        """The S3 service that it lies on, with the keys for it; None where it lies on none."""
        return None

    @property
    def kind(self) -> str:
        """Its class, for people."""
        return type(self).__name__

    @property
    def destination(self) -> str:
        """A name for where it puts things; the same in every process for a class that has a ``repr`` of its own."""
        return _destination_of(self)

    @property
    def takes_copies(self) -> bool:
        """Whether it takes shards byte for byte."""
        return implements(self, "put_shard")

    @property
    def foresees_copies(self) -> bool:
        """Whether it also tells beforehand where a copy will lie."""
        return self.takes_copies and implements(self, "shard_url")

    @property
    def removes_copies(self) -> bool:
        """Whether it can tell its shards from others, and remove them."""
        return self.foresees_copies and implements(self, "shard_name") and implements(self, "remove_shard")

    def read_url(self, url: str) -> str:
        """A URL by which the shard can be read."""
        return url

    def supports_streaming(self) -> bool:
        """Whether shards can be read while they arrive."""
        return True

    def serves(self, url: str) -> bool:
        """Whether it is to be asked for a URL that is none of S3."""
        return True

    @derived
    def open_shard(self, url: str) -> BinaryIO:
        """The shard's bytes, as they arrive; raises as ``opening.open_shard``."""
        return opening.open_shard(url, store=self)

    @derived
    def stat_shard(self, url: str) -> ShardStat:
        """What is known of the shard without its bytes; raises as ``open_shard`` does."""
        return opening.stat_shard(url, store=self)

    def write_shards(self, ds: Any, *, prefix: str) -> list[str]:
        """Write a dataset's samples as shards below ``prefix``; their URLs."""
        raise StorageError(
            f"{self.kind} cannot take shards: a data store has write_shards, read_url and "
            "supports_streaming (atdata.protocols.AbstractDataStore), or put_shard for exact copies.",
            urls=[],
        )

    @derived
    def put_shard(self, name: str, stream: BinaryIO, *, size: int, sha256: str) -> str:
        """Write ``stream`` as ``name`` (below the store's prefix); its URL.

        Raises ``ShardChangedError`` where the stream's bytes do not have this size and digest, and leaves nothing
        then.
        """
        raise StorageError(f"{self.kind} does not take shards byte for byte: it has no put_shard.", urls=[])

    @derived
    def shard_url(self, name: str) -> str:
        """The URL that ``put_shard`` gives for ``name``."""
        raise StorageError(f"{self.kind} tells where a shard lies only once it is written.", urls=[])

    @derived
    def shard_name(self, url: str, *, endpoint: str | None = None) -> str | None:
        """The inverse of ``shard_url``; None for a URL of another place.

        ``endpoint`` is the S3 service of an ``s3://`` URL, None for AWS.
        """
        return None

    def copy_name(self, name: str, shard: ShardFacts) -> str:
        """What the copy of a shard is called here: ``name``, where its place does not come from its bytes."""
        return name

    def check_shards(self, shards: Sequence[ShardFacts]) -> None:
        """Raises ``StorageError`` where some of the shards are too large to be put here."""

    def require_place(self) -> None:
        """Raises ``ShardMissingError`` where shards cannot be put here: there is no such bucket."""

    def is_empty(self, folder: str) -> bool:
        """Whether nothing lies below ``folder`` (below the store's prefix); False also where it cannot tell."""
        return False

    def prove_shard(self, url: str, *, size: int, sha256: str, md5: str | None = None) -> str | None:
        """How it is known that these bytes lie at ``url``; here they are read.

        ``"server sha256"``, ``"etag md5"`` or ``"read back"``; None where nothing lies there. Raises
        ``ShardConflictError`` where something else does.
        """
        try:
            with self.open_shard(url) as stream:
                found = sha256_of(stream)
        except ShardMissingError:
            return None
        if found != sha256:
            raise ShardConflictError(
                f"{displayed(url)} does not hold what was sent: SHA-256 should be {sha256}, is {found}. "
                "Look at what else writes to that store, then run again.",
                url=url,
                expected=sha256,
                found=found,
            )
        return "read back"

    def find_shard(self, url: str, shard: ShardFacts, *, etag: str | None = None) -> WriteProof | None:
        """The bytes of ``shard`` at ``url``, proven as by ``prove_shard``; None where nothing lies there.

        ``etag`` is one by which they were known there before.
        """
        found = None
        if implements(self, "stat_shard"):
            try:
                stat = self.stat_shard(url)
            except ShardMissingError:
                return None
            found = stat.etag
            if found and (stat.size, found) == (shard.size, etag):
                return WriteProof(url, "etag md5", found)
        proof = self.prove_shard(url, size=shard.size, sha256=shard.sha256, md5=shard.md5)
        return None if proof is None else WriteProof(url, proof, found)

    def send_shard(self, name: str, stream: BinaryIO, shard: ShardFacts) -> WriteProof:
        """Write ``stream``, which has the bytes of ``shard``, as ``name``; raises as ``put_shard``."""
        url = self.put_shard(name, stream, size=shard.size, sha256=shard.sha256)
        refuse_credentials(url)
        return self._found(url, shard)

    def can_copy(self, shard: ShardFacts) -> bool:
        """Whether ``shard``, by its URL and endpoint, lies where the store's service may copy it from."""
        return False

    def copy_shard(self, name: str, shard: ShardFacts) -> WriteProof | None:
        """Have the service copy such a shard to ``name``, without looking first what lies there.

        None where it does not copy it after all, and nothing was written. Raises as ``find_shard``.
        """
        return None

    def dropped(self, error: Exception, shards: Sequence[ShardFacts]) -> int | None:
        """Which of some copies was there no more when a record that names it was refused; None: it was not that."""
        return None

    def confirm(self, shards: Sequence[ShardFacts]) -> None:
        """Look at copies that only the record shows which names them now; raises as ``prove_shard``, and if one
        is not there."""

    @derived
    def remove_shard(self, url: str, *, size: int, sha256: str, md5: str | None = None) -> bool:
        """Remove a shard that holds these bytes; False where nothing is there.

        Raises ``ShardConflictError`` where something else lies there, and leaves it.
        """
        raise StorageError(f"{self.kind} cannot remove shards.", urls=[displayed(url)])

    def _found(self, url: str, shard: ShardFacts, etag: str | None = None) -> WriteProof:
        """What ``find_shard`` says of a shard that was just written."""
        found = self.find_shard(url, shard, etag=etag)
        if found is None:
            raise StorageError(
                f"{displayed(url)} was written but is not there. Look at the bucket's rules, then run again.",
                urls=[url],
            )
        return found


class _Adapted(DataStore):
    """Somebody's own store: what it has itself, and what follows."""

    def __init__(self, own: Any) -> None:
        self._own = own
        for name, method in vars(DataStore).items():
            if callable(method) and not name.startswith("_") and implements(own, name):
                setattr(self, name, getattr(own, name))

    @property
    def service(self) -> S3Endpoint | None:
        found = getattr(self._own, "endpoint", None)
        return found if isinstance(found, S3Endpoint) else None

    @property
    def kind(self) -> str:
        return type(self._own).__name__

    @property
    def destination(self) -> str:
        return _destination_of(self._own)

    def serves(self, url: str) -> bool:
        public = getattr(self._own, "public_url", None)
        if isinstance(public, str):
            return url.startswith(public.rstrip("/") + "/")
        return self.service is None and implements(self._own, "read_url")


def as_data_store(store: Any) -> DataStore:
    """A store as the base class has it; somebody's own keeps what it does itself."""
    return store if isinstance(store, DataStore) else _Adapted(store)


def _destination_of(store: Any) -> str:
    kind = f"{type(store).__module__}.{type(store).__qualname__}"
    said = None if isinstance(store, DataStore) else getattr(store, "destination", None)
    if isinstance(said, str):
        return f"{kind} {said}"
    if type(store).__repr__ is object.__repr__:
        # Another object of the class may write elsewhere, so copies are known again by this one alone.
        return f"{kind} {_objects.setdefault(store, uuid4().hex)}"
    # Hashed, because somebody's repr may hold a secret.
    return f"{kind} {hashlib.sha256(repr(store).encode()).hexdigest()[:32]}"
