"""Copies that a run is about to name in a record, and those that a retraction is about to remove.

Each side says what it is about to do before it looks at what the other one says, so that no record names a
copy that has just gone. A run notes its use and then waits for a removal to end; a removal has a lease and then
looks for uses.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ...errors import ServiceError
from ...state.facts import COPY_USE, CopyUse, Key
from ...state.lease import POLL

if TYPE_CHECKING:
    from ...state.lease import Lease, Leases
    from ...state.ledger import Ledger

HONOURED = timedelta(days=1)
"""A run that was killed leaves its note. Longer than this no run waits before it writes."""

_CID = re.compile(r"/promoted/.*?/(baf[a-z2-7]{20,})(?:-[0-9a-f]{12})?/")


@contextmanager
def in_use(ledger: Ledger, leases: Leases, cid: str, run: str | None) -> Generator[None]:
    """Look at the copies of an entry, or make them, so that they stay until ``end_use``, or until an error.

    Where a retraction removes them just now, that is waited for.

    Args:
        ledger: Of the index.
        leases: Of the index.
        cid: Of the entry.
        run: Names the run; what it notes more than once is one note.
    """
    ledger.put(_key(cid, run), CopyUse())
    try:
        _taken(leases, cid).release()
        yield
    except BaseException:
        with suppress(ServiceError):
            end_use(ledger, cid, run)
        raise


def end_use(ledger: Ledger, cid: str, run: str | None) -> None:
    """The copies are named, or will not be."""
    ledger.remove(_key(cid, run))


class CopiesToRemove:
    """The right to remove copies, in a ``with`` block.

    Args:
        ledger: Of the index.
        leases: Of the index.
        urls: Of the copies.
    """

    def __init__(self, ledger: Ledger, leases: Leases, urls: Iterable[str]) -> None:
        self._ledger = ledger
        self._leases = leases
        self._cids = sorted({cid for url in urls if (cid := _cid_in(url))})
        self._held: list[Lease] = []
        self._ends = ExitStack()

    def __enter__(self) -> CopiesToRemove:
        for cid in self._cids:
            lease = _taken(self._leases, cid)
            self._ends.callback(lease.release)
            self._held.append(lease)
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def user_of(self, url: str) -> str | None:
        """A run that is about to name a copy, in words for people; None where there is none."""
        for lease in self._held:
            lease.renew()
        cid = _cid_in(url)
        uses = () if cid is None else self._ledger.get_all("entry", cid).of(COPY_USE)
        noted = [use.at for _, use in uses if use.at]
        recent = [at for at in noted if datetime.fromisoformat(at) > datetime.now(UTC) - HONOURED]
        return f"a promotion under way since {max(recent)}" if recent else None


def _key(cid: str, run: str | None) -> Key[CopyUse]:
    return COPY_USE(cid, run or "a run")


def _taken(leases: Leases, cid: str) -> Lease:
    """The lease on a removal, once nobody else has it."""
    while (lease := leases.take(f"removal of {cid}")) is None:
        time.sleep(POLL)
    return lease


def _cid_in(url: str) -> str | None:
    """The CID of the entry that a copy was made for: its folder."""
    found = _CID.search(url)
    return found[1] if found else None
