"""Who listens to a PDS: a client of its firehose, and an index that believes only what is proven.

What is heard is read with the Python SDK's own client and parser.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from atproto import CAR, CID, DidDocument, FirehoseSubscribeReposClient, models, parse_subscribe_repos_message

from atdata_core.atmosphere import proof
from atdata_core.errors import ProofError

Commit = models.ComAtprotoSyncSubscribeRepos.Commit


class Heard:
    """The events of one account, in order."""

    def __init__(self, did: str, then: Callable[[Commit], None]) -> None:
        self._did = did
        self._then = then
        self._changed = threading.Condition()
        self.events: list[Any] = []

    def take(self, event: Any) -> None:
        """One more event."""
        if self._did == getattr(event, "repo", getattr(event, "did", None)):
            with self._changed:
                self.events.append(event)
                if isinstance(event, Commit):
                    self._then(event)
                self._changed.notify_all()

    @property
    def commits(self) -> list[Commit]:
        """Those of them that tell of changes."""
        return [event for event in self.events if isinstance(event, Commit)]

    def wait(self, until: Callable[[], bool], seconds: float) -> bool:
        """Whether that became so in time."""
        with self._changed:
            return self._changed.wait_for(until, seconds)


@contextmanager
def listening(
    url: str, did: str, cursor: int = 0, then: Callable[[Commit], None] = lambda commit: None
) -> Iterator[Heard]:
    """Listen to the firehose of a PDS, from ``cursor`` on; ``then`` is done with each commit when it comes."""
    heard = Heard(did, then)
    client = FirehoseSubscribeReposClient({"cursor": cursor}, f"{url.replace('http', 'ws', 1)}/xrpc")
    failed: list[BaseException] = []
    thread = threading.Thread(
        target=client.start,
        args=(lambda frame: heard.take(parse_subscribe_repos_message(frame)), failed.append),
        daemon=True,
    )
    thread.start()
    try:
        yield heard
    finally:
        client.stop()
        thread.join(10)
    assert not failed


def key_of(did: str, plc_url: str) -> str:
    """The key that signs an account's repository, from its DID document."""
    return DidDocument.from_dict(httpx.get(f"{plc_url}/{did}").raise_for_status().json()).get_did_key()


class Indexer:
    """The records of one account, as they follow from the events that it is shown."""

    def __init__(self, did: str, plc_url: str) -> None:
        self._did = did
        self._key = key_of(did, plc_url)
        self._rev: str | None = None
        self._tree: str | None = None
        self.records: dict[str, Any] = {}

    def index(self, event: Commit) -> None:
        """Take over what a commit did, once it is proven and goes on from the one before."""
        car = CAR.from_bytes(event.blocks)
        commit = car.blocks[car.root]
        assert (str(event.commit), event.repo) == (car.root.encode(), self._did)
        assert (event.since, event.prev_data and str(event.prev_data)) == (self._rev, self._tree)
        assert (commit["rev"], self._rev or "") > (self._rev or "", "")
        assert commit["rev"] == event.rev
        self._rev, self._tree = event.rev, CID.decode(commit["data"]).encode()
        for op in event.ops:
            before = self.records.get(op.path)
            assert (op.prev and str(op.prev)) == (before and before[0])
            self._prove(event.blocks, op)
            if op.cid is None:
                del self.records[op.path]
            else:
                cid = str(op.cid)
                self.records[op.path] = cid, car.blocks[CID.decode(cid)]

    def _prove(self, blocks: bytes, op: Any) -> None:
        try:
            proof.check(blocks, did=self._did, key=self._key, path=op.path, cid=str(op.cid))
        except ProofError as error:
            if op.cid is not None or "the signed tree has no record there" not in str(error):
                raise
        else:
            assert op.cid is not None
