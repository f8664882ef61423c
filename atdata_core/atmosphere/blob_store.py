"""``PDSBlobStore``: shards as blobs of an account, for labs that have no bucket which anybody can read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO

from atdata_core.atmosphere.record_format.build import BLOB_TYPE
from atdata_core.atmosphere.record_format.parse import blob_address, blob_at, blob_cid, blob_sha256, blobs_of
from atdata_core.common.concurrency import concurrently, shard_in_memory
from atdata_core.common.plurals import number_of
from atdata_core.common.urls import displayed
from atdata_core.errors import (
    ServiceRefusedError,
    ShardChangedError,
    ShardConflictError,
    ShardMissingError,
    StorageError,
)
from atdata_core.protocols import ShardFacts, ShardStat, WriteProof
from atdata_core.stores import opening
from atdata_core.stores.data_store import DataStore

if TYPE_CHECKING:
    from atdata_core.atmosphere.client import AtmosphereClient

CHUNK = 1 << 20
"""Bytes of a shard that are in memory at a time; those under way lie in temporary files."""

BUCKET = "data_store=S3DataStore(..., public_url=...), in the pipeline ATDATA_PUBLISH_BUCKET."
WAYS_OUT = f"Write smaller shards (maxsize= of Repo.insert and write_shards), or copy them to a bucket: {BUCKET}"


class PDSBlobStore(DataStore):
    """Shards as blobs of the account that is logged in; each is called by its CID, which its bytes have.

    A PDS shows a blob to nobody before a record names it, and drops it with the last record that does. Until then
    the answer to the upload is what is known of it: the CID, which the PDS has made of the bytes that it took. Once
    the record is written, each blob is read as anybody reads it (``confirm``).

    A shard is read into a temporary file first, so that nothing is sent that is not what was to be copied, and what
    was broken off is sent anew; in memory are ``CHUNK`` bytes of each.

    Args:
        client: A client that is logged in.
    """

    shows_copies = False

    def __init__(self, client: AtmosphereClient) -> None:
        self._client = client
        self._limit: int | None = None

    def __repr__(self) -> str:
        return f"PDSBlobStore({self.did})"

    @property
    def client(self) -> AtmosphereClient:
        """The client of the account."""
        return self._client

    @property
    def did(self) -> str:
        """DID of the account."""
        return self.client.did

    @property
    def destination(self) -> str:
        """A name for the place, the same in every process and on whatever PDS the account is."""
        return blobs_of(self.did)

    def serves(self, url: str) -> bool:
        """Whether a URL is the address of a blob of the account."""
        return blob_at(url, self.did) is not None

    def copy_name(self, name: str, shard: ShardFacts) -> str:
        """The CID of a shard."""
        return blob_cid(shard.sha256)

    def shard_url(self, name: str) -> str:
        """Where anybody reads the blob of this CID, once a record names it."""
        return blob_address(self.client.service_of(self.did), self.did, name)

    def shard_name(self, url: str, *, endpoint: str | None = None) -> str | None:
        """The CID of a blob of the account; None for another URL."""
        return blob_at(url, self.did)

    def check_shards(self, shards: Sequence[ShardFacts]) -> None:
        """Refuse shards that are larger than the account's PDS takes, as far as it says what it takes.

        Raises:
            StorageError: They are too large; it says which, and what to do.
            ServiceError: The PDS does not answer.
        """
        if self._limit is None:
            self._limit = self.client.blob_limit()
        large = [shard for shard in shards if shard.size > self._limit]
        if large:
            raise StorageError(
                f"{len(large):,} of {number_of(len(shards), 'shard')} cannot be blobs: "
                f"{self.client.service_of(self.did)} takes {self._limit:,} bytes, and {displayed(large[0].url)} "
                f"has {large[0].size:,}. Nothing was uploaded. {WAYS_OUT}",
                urls=[displayed(shard.url) for shard in large],
            )

    def put_shard(self, name: str, stream: BinaryIO, *, size: int, sha256: str) -> str:
        """Upload a shard; where it will be read. ``name`` does not matter.

        Raises:
            ShardChangedError: The bytes are not those of the size and digest. Nothing was uploaded.
            StorageError: The PDS does not take it: it is too large, or of another type in its eyes.
            ServiceError: The PDS does not answer as it should.
        """
        with TemporaryFile(prefix="atdata-blob-") as file:
            digest, found = hashlib.sha256(), 0
            while found <= size and (chunk := stream.read(CHUNK)):
                file.write(chunk)
                digest.update(chunk)
                found += len(chunk)
            url = self.shard_url(blob_cid(sha256))
            if (found, digest.hexdigest()) != (size, sha256):
                raise ShardChangedError(
                    f"A shard changed while it was read for its upload: {size:,} bytes with SHA-256 {sha256} were "
                    f"expected, {found:,} with {digest.hexdigest()} came. Nothing was uploaded; run again.",
                    url=url,
                    expected=sha256,
                    found=digest.hexdigest(),
                )
            file.flush()
            self._check_answer(self.client.upload_blob(file, BLOB_TYPE, size=size), url, size, sha256)
        return url

    def send_shard(self, name: str, stream: BinaryIO, shard: ShardFacts) -> WriteProof:
        """As ``put_shard``; the answer proves what the PDS has."""
        url = self.put_shard(name, stream, size=shard.size, sha256=shard.sha256)
        return WriteProof(url, "server sha256", blob_cid(shard.sha256))

    def find_shard(self, url: str, shard: ShardFacts, *, etag: str | None = None) -> WriteProof | None:
        """The blob that a record names, or that was uploaded: ``etag`` is the CID that the answer gave then."""
        cid = blob_cid(shard.sha256)
        url = self.shard_url(cid)
        try:
            found = self.stat_shard(url)
        except ShardMissingError:
            return WriteProof(url, "server sha256", cid) if etag == cid else None
        if found.size != shard.size:
            raise ShardConflictError(
                f"{displayed(url)} has {found.size:,} bytes in place of {shard.size:,}, whatever its CID says. Ask "
                "whoever runs the PDS.",
                url=url,
                expected=shard.sha256,
                found=None,
            )
        return WriteProof(url, "server sha256", cid)

    def stat_shard(self, url: str) -> ShardStat:
        """Size of a blob; raises ``ShardMissingError`` where no record names it, or it is not there."""
        try:
            size = opening.stat_shard(url).size
        except ServiceRefusedError as error:
            raise _unseen(url, error) from None
        cid = blob_at(url, self.did)
        return ShardStat(size, cid, None if cid is None else blob_sha256(cid))

    def open_shard(self, url: str) -> BinaryIO:
        """The bytes of a blob as anybody gets them; raises as ``stat_shard``."""
        try:
            return opening.open_shard(url)
        except ServiceRefusedError as error:
            raise _unseen(url, error) from None

    def dropped(self, error: Exception, shards: Sequence[ShardFacts]) -> int | None:
        """Which of some shards a PDS did not find that refused a record: its message names the CID."""
        if not isinstance(error, ServiceRefusedError) or error.error != "BlobNotFound":
            return None
        return next((at for at, shard in enumerate(shards) if blob_cid(shard.sha256) in error.message), None)

    def confirm(self, shards: Sequence[ShardFacts]) -> None:
        """Read each blob to its end, as anybody reads it.

        Raises:
            ShardMissingError, ShardConflictError: It is not there, or holds other bytes.
            ServiceError: The PDS does not answer.
        """
        for _ in concurrently(self._confirm, shards):
            pass

    def _confirm(self, shard: ShardFacts) -> None:
        with shard_in_memory(shard.size):
            proof = self.prove_shard(shard.url, size=shard.size, sha256=shard.sha256)
        if proof is None:
            raise ShardMissingError(
                f"The record names the blob {displayed(shard.url)}, and its PDS does not give it. No label points "
                "at that record yet. Run again, or ask whoever runs the PDS.",
                url=shard.url,
            )

    def _check_answer(self, blob: dict[str, object], url: str, size: int, sha256: str) -> None:
        """Hold the reference that a PDS gave to what was sent."""
        service = self.client.service_of(self.did)
        ref, kind = blob.get("ref"), blob.get("mimeType")
        if ref != {"$link": blob_cid(sha256)} or blob.get("size") != size:
            raise ShardConflictError(
                f"{service} has not taken what was sent: {size:,} bytes with the CID {blob_cid(sha256)} were, its "
                f"answer says {blob.get('size')} and {ref}. Run again, or ask whoever runs the PDS.",
                url=url,
                expected=sha256,
                found=None,
            )
        if kind != BLOB_TYPE:
            raise StorageError(
                f"{service} takes a shard for {kind}, and a record names shards of the type {BLOB_TYPE} alone: the "
                "name of the first file in it, where it begins, looks like something else. Give its first sample "
                f"another key, or copy the shards to a bucket: {BUCKET}",
                urls=[displayed(url)],
            )


def _unseen(url: str, error: ServiceRefusedError) -> Exception:
    if error.status != 400:
        return error
    return ShardMissingError(
        f"There is no blob at {displayed(url)} that a record names (HTTP 400). Check the URL.", url=url
    )
