"""What happens in all repositories, in one order, for whoever listens: ``com.atproto.sync.subscribeRepos``.

https://atproto.com/specs/sync, /specs/event-stream. An event is kept in the transaction of what it tells of, as the
bytes that listeners get, so that a restart loses none and gives none twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import libipld

from atdata_pipelines.sandbox.pds import car
from atdata_pipelines.sandbox.pds.data_model import Link, encode
from atdata_pipelines.sandbox.pds.database import Database
from atdata_pipelines.sandbox.pds.tree import TreeBlock

KEPT_BYTES = 64 * 2**20
"""Of the newest events, so many bytes are kept for listeners that come later."""


class RecordChange(NamedTuple):
    """What a commit did to one record: its CID before and after, None where there is none."""

    path: str
    before: str | None
    after: str | None

    def to_op(self) -> dict[str, Any]:
        """As events show it."""
        action = "create" if self.before is None else "delete" if self.after is None else "update"
        op = {"action": action, "path": self.path, "cid": self.after and Link(self.after)}
        return op if self.before is None else op | {"prev": Link(self.before)}


class Firehose:
    """The events in the database. Whatever tells of one does so in the transaction of what happened."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._news = asyncio.Event()

    def identity(self, did: str, handle: str) -> None:
        """An account has this handle, and the DID document that can be had now."""
        self._tell("#identity", did=did, handle=handle)

    def account(self, did: str) -> None:
        """An account is there, and active."""
        self._tell("#account", did=did, active=True)

    def sync(self, did: str, rev: str, commit: TreeBlock) -> None:
        """A repository is at this commit, whatever was told before."""
        self._tell("#sync", did=did, rev=rev, blocks=b"".join(car.sections(commit)))

    def commit(
        self,
        did: str,
        rev: str,
        blocks: Iterable[TreeBlock],
        *,
        since: str | None = None,
        tree_before: bytes | None = None,
        changes: Iterable[RecordChange] = (),
    ) -> None:
        """A repository was changed.

        Args:
            did: Whose it is.
            rev: Its revision.
            blocks: The new commit, and after it what a reader who has the tree before needs to check the change.
            since: The revision before; None where the repository is new.
            tree_before: The CID of the tree before.
            changes: What became of records.
        """
        commit, *others = blocks
        self._tell(
            "#commit",
            repo=did,
            rev=rev,
            since=since,
            commit=Link(libipld.encode_cid(commit[0])),
            blocks=b"".join(car.sections(commit, others)),
            ops=[change.to_op() for change in changes],
            **({"prevData": Link(libipld.encode_cid(tree_before))} if tree_before else {}),
            rebase=False,
            tooBig=False,
            blobs=[],
        )

    async def listen(self, cursor: int | None) -> AsyncIterator[bytes]:
        """The events after ``cursor``, or from now on; it ends only after an error that it tells."""
        newest = self._newest()[0]
        at = newest if cursor is None else cursor
        if at > newest:
            yield error_frame("FutureCursor", "Cursor in the future.")
            return
        while True:
            news = self._news
            row = self._database.one("select seq, frame from event where seq > ? order by seq limit 1", at)
            if row is None:
                await news.wait()
                continue
            if row["seq"] != at + 1 and at == cursor:
                message = "Requested cursor exceeded limit. Possibly missing events"
                yield _frame("#info", {"name": "OutdatedCursor", "message": message})
            elif row["seq"] != at + 1:
                yield error_frame("ConsumerTooSlow", "Stream consumer too slow")
                return
            yield row["frame"]
            at = row["seq"]

    def _tell(self, kind: str, **fields: Any) -> None:
        seq, begins = self._newest()
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        frame = _frame(kind, {"seq": seq + 1, "time": time, **fields})
        self._database.run("insert into event values (?, ?, ?)", seq + 1, begins, frame)
        oldest = begins + len(frame) - KEPT_BYTES
        self._database.run("delete from event where begins < ? and seq <= ?", oldest, seq)
        # Who waits looks into the database after this transaction: all run on one thread.
        self._news.set()
        self._news = asyncio.Event()

    def _newest(self) -> tuple[int, int]:
        """The number of the newest event, and how many bytes there were up to its end."""
        row = self._database.one("select seq, begins + length(frame) as ends from event order by seq desc limit 1")
        return (row["seq"], row["ends"]) if row else (0, 0)


def error_frame(name: str, message: str) -> bytes:
    """The last that a listener gets."""
    return encode({"op": -1}) + encode({"error": name, "message": message})


def _frame(kind: str, body: Mapping[str, Any]) -> bytes:
    return encode({"op": 1, "t": kind}) + encode(body)
