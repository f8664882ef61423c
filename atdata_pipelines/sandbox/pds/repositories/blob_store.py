"""Blobs: uploaded first, readable while a record names them, gone with the last such record."""

from __future__ import annotations

from typing import Any

from atdata_pipelines.sandbox.pds.database import Database
from atdata_pipelines.sandbox.pds.repositories.data_model import Blob, cid_of_blob
from atdata_pipelines.sandbox.pds.xrpc_errors import XrpcError, invalid

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

    def reference(self, did: str, collection: str, rkey: str, blobs: list[Blob]) -> None:
        """A record now names these blobs and no others.

        Raises:
            XrpcError: a blob was not uploaded, or is another than the record says.
        """
        self._database.run(
            "delete from record_blob where did = ? and collection = ? and rkey = ?", did, collection, rkey
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

    def named_by(self, did: str, collection: str, rkey: str) -> set[str]:
        """CIDs of the blobs that a record names."""
        rows = self._database.all(
            "select cid from record_blob where did = ? and collection = ? and rkey = ?", did, collection, rkey
        )
        return {row["cid"] for row in rows}

    def drop_unnamed(self, did: str, cids: set[str]) -> None:
        """Delete those of the blobs that no record names."""
        for cid in cids:
            self._database.run(
                "delete from blob where did = ?1 and cid = ?2"
                " and not exists (select 1 from record_blob where did = ?1 and cid = ?2)",
                did,
                cid,
            )

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
