"""Records that a promotion will ask for, asked for while its shards are looked at."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future, wait
from functools import partial
from typing import TYPE_CHECKING

from ...common.concurrency import in_background
from ..copies.recent_looks import RECENT

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record

_MOMENT = 1.0
"""Seconds: a service that is silent holds nobody up who has failed already, or was stopped."""


class EarlyFinds:
    """Finds records of an account, some of them before anybody asks.

    Whoever writes says what stands there, so that nothing is written over which came in the meantime. Close it: no
    request of a promotion goes on once that has ended.

    Args:
        client: A client that is logged in.
        keys: Collection and record key of those that are looked for at once.
    """

    def __init__(self, client: AtmosphereClient, keys: Iterable[tuple[str, str]]) -> None:
        self._client = client
        self._until = time.monotonic() + RECENT
        self._early: dict[tuple[str, str], Future[Record | None]] = {
            key: in_background(partial(client.find_record, *key)) for key in keys
        }

    def find(self, collection: str, rkey: str) -> Record | None:
        """As ``AtmosphereClient.find_record``; what was found early is given once, and only for some seconds."""
        early = self._early.pop((collection, rkey), None)
        if early is None or early.cancel() or time.monotonic() > self._until:
            return self._client.find_record(collection, rkey)
        return early.result()

    def close(self) -> None:
        """Ask for nothing more, and wait a moment for the answers that nobody has taken."""
        wait([early for early in self._early.values() if not early.cancel()], timeout=_MOMENT)
