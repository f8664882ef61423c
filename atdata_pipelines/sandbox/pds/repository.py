"""Repositories: records, signed commits that change them, and the blobs that records name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, NamedTuple

import libipld

from atdata_pipelines.sandbox.pds import car, tree
from atdata_pipelines.sandbox.pds.accounts import Keys
from atdata_pipelines.sandbox.pds.data_model import (
    Blob,
    Link,
    blobs_in,
    cid_of,
    cid_of_blob,
    encode,
    from_storage,
    parse_json,
    raw_cid,
    to_json,
)
from atdata_pipelines.sandbox.pds.database import Database
from atdata_pipelines.sandbox.pds.firehose import Firehose, RecordChange
from atdata_pipelines.sandbox.pds.syntax import TidClock, XrpcError, internal, invalid, is_nsid, is_rkey
from atdata_pipelines.sandbox.pds.tree import TreeBlock

MAX_WRITES = 200

UNSET: Any = object()
"""``swap`` was not given, which is not the same as null ("must not exist")."""


class Commit(NamedTuple):
    """The state of a repository after a change."""

    cid: str
    rev: str


@dataclass(frozen=True, slots=True)
class RepoWrite:
    """One change of one record. ``value`` is None for a deletion.

    ``checked`` says whether the caller let its lexicon be looked for: none is known here.
    """

    action: Literal["create", "update", "delete"]
    collection: str
    rkey: str
    value: dict[str, Any] | None = None
    block: bytes = b""
    cid: str | None = None
    blobs: tuple[Blob, ...] = ()
    swap: Any = UNSET
    checked: bool = True

    @property
    def path(self) -> str:
        """Its key in the tree."""
        return _path(self.collection, self.rkey)

    def to_json(self, did: str) -> dict[str, Any]:
        """As replies show it."""
        uri = f"at://{did}/{self.collection}/{self.rkey}"
        status = {"validationStatus": "unknown"} if self.checked else {}
        return {"uri": uri, "cid": self.cid} | status


MAX_BLOB_BYTES = 5 * 2**20
"""The reference PDS's own default."""


class Blobs:
    """The blobs of all accounts. Writes are made inside the transaction of the record's commit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def upload(self, did: str, data: bytes, mime: str) -> dict[str, Any]:
        """Keep bytes until a record names them; the reference to put into that record, as JSON."""
        cid = cid_of_blob(data)
        self._database.run("insert or ignore into blob values (?, ?, ?, ?)", did, cid, mime, data)
        return {"$type": "blob", "ref": {"$link": cid}, "mimeType": mime, "size": len(data)}

    def reference(self, did: str, collection: str, rkey: str, blobs: Sequence[Blob]) -> set[str]:
        """A record now names these blobs and no others; the CIDs of those that it named before.

        Raises:
            XrpcError: a blob was not uploaded, or is another than the record says.
        """
        before = self._database.all(
            "delete from record_blob where did = ? and collection = ? and rkey = ? returning cid",
            did,
            collection,
            rkey,
        )
        for blob in blobs:
            kept = self._database.one(
                "select mime, length(data) as size from blob where did = ? and cid = ?", did, blob.cid
            )
            if kept is None:
                raise XrpcError("BlobNotFound", f"Could not find blob: {blob.cid}")
            if kept["mime"] != blob.mime:
                raise XrpcError("InvalidMimeType", f"Referenced MimeType does not match stored blob: {blob.cid}")
            if blob.size != kept["size"]:
                raise XrpcError("InvalidSize", f"Referenced size does not match stored blob: {blob.cid}")
            self._database.run(
                "insert or ignore into record_blob values (?, ?, ?, ?)", did, collection, rkey, blob.cid
            )
        return {row["cid"] for row in before}

    def drop_unnamed(self, did: str, cids: set[str]) -> None:
        """Delete those of the blobs that no record names."""
        for cid in cids:
            self._database.run(
                "delete from blob where did = ?1 and cid = ?2"
                " and not exists (select 1 from record_blob where did = ?1 and cid = ?2)",
                did,
                cid,
            )

    def list(self, did: str, *, limit: int, cursor: str | None) -> list[str]:
        """A page of the CIDs of those that a record names."""
        rows = self._database.all(
            "select distinct cid from record_blob where did = ? and cid > ? order by cid limit ?",
            did,
            cursor or "",
            limit,
        )
        return [row["cid"] for row in rows]

    def read(self, did: str, cid: str) -> tuple[bytes, str]:
        """A blob's bytes and type.

        Raises:
            XrpcError: there is none that a record names.
        """
        row = self._database.one(
            "select data, mime from blob where did = ?1 and cid = ?2"
            " and exists (select 1 from record_blob where did = ?1 and cid = ?2)",
            did,
            cid,
        )
        if row is None:
            raise invalid("Blob not found")
        return row["data"], row["mime"]


class Repositories:
    """The repositories of all accounts. Their trees are built when they are first needed, and kept in memory."""

    def __init__(self, database: Database, blobs: Blobs, keys: Keys, firehose: Firehose) -> None:
        self._database = database
        self._blobs = blobs
        self._keys = keys
        self._firehose = firehose
        self._trees: dict[str, tree.Node | None] = {}
        self._clock = TidClock()

    def create(self, did: str) -> None:
        """An empty repository; to be called in a transaction."""
        commit = self._advance(did, None, None)
        signed = self._signed(did, commit)
        self._firehose.commit(did, commit.rev, [signed, *tree.all_blocks(None)])
        self._firehose.sync(did, commit.rev, signed)

    def sign(self, did: str) -> None:
        """A commit that changes nothing, over the records as they are; to be called in a transaction."""
        commit = self._advance(did, self.head(did), self._tree(did))
        self._firehose.sync(did, commit.rev, self._signed(did, commit))

    def prepare(
        self,
        action: Literal["create", "update"],
        collection: str,
        rkey: str | None,
        record: Any,
        *,
        validate: bool | None = None,
        swap: Any = UNSET,
    ) -> RepoWrite:
        """Check a record and compute its CID; a key is made where none is given.

        Raises:
            XrpcError: the record, its ``$type`` or its key is not acceptable.
        """
        if not isinstance(record, dict):
            raise invalid("Expected object value type at input/record")
        check_key(collection, rkey)
        kind = record.setdefault("$type", collection)
        if kind != collection:
            raise invalid(f"Invalid $type: expected {collection}, got {kind}")
        if validate:
            raise invalid(f"Unknown lexicon type: {collection}")
        blobs = tuple(blobs_in(record))
        rkey = rkey or self._clock.next()
        block = encode(record)
        return RepoWrite(
            action, collection, rkey, record, block, cid_of(block), blobs, swap, checked=validate is None
        )

    def commit(self, did: str, writes: Sequence[RepoWrite], swap_commit: str | None = None) -> Commit:
        """Make all writes or none.

        Raises:
            XrpcError: ``InvalidSwap`` where something else is there than the caller last saw; 500 where
                a record to create exists or one to delete does not.
        """
        if len(writes) > MAX_WRITES:
            raise invalid(f"Too many writes. Max: {MAX_WRITES}")
        with self._database.transaction():
            current = self.head(did)
            if swap_commit is not None and swap_commit != current.cid:
                raise XrpcError("InvalidSwap", f"Commit was at {current.cid}")
            named_before: set[str] = set()
            before: dict[str, str | None] = {}
            known = grown = self._tree(did)
            for write in writes:
                cid, named = self._apply(did, write)
                before.setdefault(write.path, cid)
                named_before |= named
                if write.cid is None:
                    grown = tree.remove(grown, write.path.encode())
                else:
                    grown = tree.put(grown, write.path.encode(), raw_cid(write.cid))
            self._blobs.drop_unnamed(did, named_before)
            commit = self._advance(did, current, grown)
            # Of a record that is changed several times, listeners get to know what it was and what it is now.
            last = {write.path: write for write in writes}
            changes = [RecordChange(path, before[path], write.cid) for path, write in last.items()]
            self._firehose.commit(
                did,
                commit.rev,
                chain(
                    [self._signed(did, commit)],
                    *(tree.ways_around(grown, path.encode()) for path in last),
                    (tree.block_of(write.block) for write in last.values() if write.block),
                ),
                since=current.rev,
                tree_before=tree.root(known),
                changes=[change for change in changes if change.before != change.after],
            )
        self._trees[did] = grown
        return commit

    def head(self, did: str) -> Commit:
        """The last commit.

        Raises:
            XrpcError: there is no such repository.
        """
        row = self._database.one("select cid, rev from repo where did = ?", did)
        if row is None:
            raise XrpcError("RepoNotFound", f"Could not find repo for DID: {did}")
        return Commit(row["cid"], row["rev"])

    def prove(self, did: str, collection: str, rkey: str) -> bytes:
        """A CAR that shows what the last commit has under that key: a record, or nothing.

        Raises:
            XrpcError: there is no such repository.
        """
        signed = self._signed(did, self.head(did))
        rows = self._database.all(
            "select value from record where did = ? and collection = ? and rkey = ?", did, collection, rkey
        )
        way = tree.way_to(self._tree(did), _path(collection, rkey).encode())
        return b"".join(car.sections(signed, chain(way, map(_block, rows))))

    def export(self, did: str) -> Iterator[bytes]:
        """The parts of a CAR of the whole repository as it is now; those may be made on another thread.

        Raises:
            XrpcError: there is no such repository.
        """
        signed = self._signed(did, self.head(did))
        rows = self._database.all("select value from record where did = ?", did)
        return car.sections(signed, chain(tree.all_blocks(self._tree(did)), map(_block, rows)))

    def find(self, did: str, collection: str, rkey: str) -> dict[str, Any] | None:
        """The record under that key, as replies show it: ``uri``, ``cid``, ``value``."""
        row = self._database.one(
            "select rkey, cid, value from record where did = ? and collection = ? and rkey = ?",
            did,
            collection,
            rkey,
        )
        return _record(did, collection, row) if row else None

    def list(
        self, did: str, collection: str, *, limit: int, cursor: str | None, reverse: bool
    ) -> list[dict[str, Any]]:
        """A page of records, highest key first; with ``reverse`` lowest first."""
        sign, order = (">", "asc") if reverse else ("<", "desc")
        rows = self._database.all(
            "select rkey, cid, value from record where did = ?1 and collection = ?2"
            f" and (?3 is null or rkey {sign} ?3) order by rkey {order} limit ?4",
            did,
            collection,
            cursor,
            limit,
        )
        return [_record(did, collection, row) for row in rows]

    def collections(self, did: str) -> list[str]:
        """The collections that hold a record."""
        rows = self._database.all("select distinct collection from record where did = ? order by collection", did)
        return [row["collection"] for row in rows]

    def _apply(self, did: str, write: RepoWrite) -> tuple[str | None, set[str]]:
        """Change one record; its CID and the blobs that it named before."""
        key = (did, write.collection, write.rkey)
        row = self._database.one("select cid from record where did = ? and collection = ? and rkey = ?", *key)
        before = row["cid"] if row else None
        if write.swap is not UNSET and write.swap != before:
            raise XrpcError("InvalidSwap", f"Record was at {before or 'null'}")
        if (before is None) != (write.action == "create"):
            raise internal()
        if write.action == "delete":
            self._database.run("delete from record where did = ? and collection = ? and rkey = ?", *key)
        else:
            self._database.run(
                "insert or replace into record values (?, ?, ?, ?, ?)",
                *key,
                write.cid,
                json.dumps(to_json(write.value), ensure_ascii=False, separators=(",", ":")),
            )
        return before, self._blobs.reference(*key, write.blobs)

    def _signed(self, did: str, commit: Commit) -> TreeBlock:
        """The block of the last commit."""
        row = self._database.one("select block from signed_commit where did = ?", did)
        assert row is not None
        return raw_cid(commit.cid), row["block"]

    def _tree(self, did: str) -> tree.Node | None:
        if did not in self._trees:
            rows = self._database.all("select collection, rkey, cid from record where did = ?", did)
            records = sorted((_path(row["collection"], row["rkey"]).encode(), raw_cid(row["cid"])) for row in rows)
            self._trees[did] = tree.build(records)
        return self._trees[did]

    def _advance(self, did: str, current: Commit | None, grown: tree.Node | None) -> Commit:
        rev = self._clock.next(after=current.rev if current else None)
        root = Link(libipld.encode_cid(tree.root(grown)))
        unsigned = {"did": did, "version": 3, "data": root, "rev": rev, "prev": None}
        block = encode({**unsigned, "sig": self._keys.sign(did, encode(unsigned))})
        commit = Commit(cid_of(block), rev)
        self._database.run("insert or replace into repo values (?, ?, ?)", did, commit.cid, commit.rev)
        self._database.run("insert or replace into signed_commit values (?, ?)", did, block)
        return commit


def check_key(collection: str, rkey: str | None) -> None:
    """Raise ``XrpcError`` (400) where a collection or a record key (None: to be made) is malformed."""
    if not is_nsid(collection):
        raise invalid(f"Invalid NSID: {collection}")
    if rkey is not None and not is_rkey(rkey):
        raise invalid(f"Invalid record key: {rkey}")


def _path(collection: str, rkey: str) -> str:
    return f"{collection}/{rkey}"


def _block(row: Any) -> TreeBlock:
    return tree.block_of(encode(parse_json(row["value"].encode())))


def _record(did: str, collection: str, row: Any) -> dict[str, Any]:
    uri = f"at://{did}/{collection}/{row['rkey']}"
    return {"uri": uri, "cid": row["cid"], "value": from_storage(row["value"])}
