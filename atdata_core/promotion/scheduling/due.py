"""Whether datasets have to be promoted, as the ledger knows: no request is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from ...common.plurals import number_of
from ...common.urls import displayed
from ...errors import AtdataError, MetadataError, ServiceError
from ...state.facts import BLOCK, FAILURE, LAST_RESULT, OUTAGE, OVERRIDES, RESET, AttemptsReset, Failure, Outage
from ...state.ledger import Ledger
from ..copies.layout import lies_in
from ..inventory import cid_of, read_schema
from ..overrides import order_of, overrides_of
from .retry_policy import failure_concerns, metadata_digest, next_attempt, outage_of, subject_of

if TYPE_CHECKING:
    from ...protocols import AbstractIndex, IndexEntry
    from ...state.facts import Block, OverrideLog, RecordResult
    from ...stores.data_store import DataStore

PAGE = 500
"""Datasets that one question to the ledger is about."""

POLICY = "promote"
"""In an entry's metadata: false keeps sensor and schedules from promoting it."""


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done with a dataset, and why, in words for people.

    ``due``: its current entry is not published by this account, or has changed since. ``published``:
    nothing is to be done. ``waiting``: its schema is not in the index yet. ``blocked``: only a person may promote
    it again. ``skipped``: its metadata say so. ``failed``: the sensor tries it again from ``retry_at`` on.
    ``retries exhausted``: it failed so often that only a person tries it, until something about it changes.
    ``paused``: nothing of the account can be published; the sensor tries again from ``retry_at`` on.

    Attributes:
        state: See above.
        reason: Why.
        what: Tells what is to be published over what stands: other metadata, other values and another account
            give another one, and so does trouble that has passed.
        attempts: Attempts at that which failed.
        retry_at: A time, ISO 8601.
        last: What is published, where nothing is to be done.
    """

    state: Literal["due", "published", "waiting", "blocked", "skipped", "failed", "retries exhausted", "paused"]
    reason: str
    what: str = ""
    attempts: int = 0
    retry_at: str | None = None
    last: RecordResult | None = None


def due(entry: IndexEntry, index: AbstractIndex, ledger: Ledger, did: str, store: DataStore | None = None) -> Due:
    """Decide whether the current entry of a dataset is missing or changed on the network.

    What counts is the last promotion of the dataset, under whatever name: its account, its entry, the bytes and
    the metadata that were published with it, and what people said of it since.

    Args:
        entry: The current entry of its name.
        index: The index that it comes from.
        ledger: The ledger of that index.
        did: The account in use.
        store: Where the pipeline copies shards to: a dataset whose published shards do not lie there has to be
            promoted, unless somebody said that they stay where they are. None: it copies nothing.

    Raises:
        ServiceError: The index or the ledger does not answer.
        AtdataError: The entry or its schema cannot be read.
    """
    [decided] = due_of_all([entry], index, ledger, did, store)
    if isinstance(decided, AtdataError):
        raise decided
    return decided


def due_of_all(
    entries: Sequence[IndexEntry], index: AbstractIndex, ledger: Ledger, did: str, store: DataStore | None = None
) -> list[Due | AtdataError]:
    """Decide as ``due`` does for many datasets, with one question to the ledger for ``PAGE`` of them.

    The index is asked once for each schema of those that are not published.

    Returns:
        For each entry what is to be done, or why that cannot be said.

    Raises:
        ServiceError: The index or the ledger does not answer.
    """
    schemas: dict[str, AtdataError | KeyError | None] = {}
    decided: list[Due | AtdataError] = []
    for start in range(0, len(entries), PAGE):
        for dataset in _datasets(entries[start : start + PAGE], ledger, did, store):
            try:
                decided.append(dataset.due(index, schemas))
            except ServiceError:
                raise
            except AtdataError as error:
                decided.append(error)
    return decided


def may_promote(entry: IndexEntry) -> bool:
    """Whether sensor and schedules may promote a dataset, as far as its metadata say.

    Raises:
        MetadataError: They say neither true nor false.
    """
    policy: Any = (entry.metadata or {}).get(POLICY, True)
    if not isinstance(policy, bool):
        raise MetadataError(
            f"The metadata of {entry.name!r} say {POLICY}: {str(policy)[:40]!r}, which is neither true nor false. "
            "Register the dataset again with one of them, or without.",
            name=entry.name,
        )
    return policy


def _datasets(
    entries: Sequence[IndexEntry], ledger: Ledger, did: str, store: DataStore | None
) -> Iterator[_Dataset]:
    """Each dataset with what the ledger knows of it."""
    keys = [(BLOCK(e.name), LAST_RESULT(e.name), FAILURE(e.name), RESET(e.name)) for e in entries]
    likely = [OVERRIDES(entry.name, did, entry.name, cid_of(entry)) for entry in entries]
    found = ledger.get_many([*chain.from_iterable(keys), *likely, OUTAGE(did)])
    overrides = [
        log if (result := found[last]) is None else OVERRIDES(log.owner, *result.publication)
        for (_, last, _, _), log in zip(keys, likely, strict=True)
    ]
    # Published under another name, by another account or with an earlier entry: the overrides of then.
    others = ledger.get_many([key for key, was in zip(overrides, likely, strict=True) if key != was])
    for entry, (block, last, failure, reset), log in zip(entries, keys, overrides, strict=True):
        yield _Dataset(
            entry,
            did,
            store,
            found[OUTAGE(did)],
            found[block],
            found[last],
            found[failure],
            found[reset],
            found[log] or others[log],
        )


@dataclass(frozen=True, slots=True)
class _Dataset:
    """What decides about a dataset: its entry, the account, where copies go, and what the ledger knows."""

    entry: IndexEntry
    did: str
    store: DataStore | None
    outage: Outage | None
    block: Block | None
    last: RecordResult | None
    failure: Failure | None
    reset: AttemptsReset | None
    overrides: OverrideLog | None

    def due(self, index: AbstractIndex, schemas: dict[str, AtdataError | KeyError | None]) -> Due:
        """What is to be done; ``schemas`` keeps what is wrong with each schema, by reference."""
        if self.block is not None and self.block.did == self.did:
            return Due("blocked", self.block.reason)
        reason = self._unpublished()
        if reason is None:
            assert self.last is not None
            return Due("published", f"published as {self.last.uri}", last=self.last)
        if not may_promote(self.entry):
            return Due("skipped", f"its metadata say {POLICY}: false")
        ref = self.entry.schema_ref
        if ref not in schemas:
            schemas[ref] = None
            try:
                read_schema(self.entry, index)
            except (AtdataError, KeyError) as error:
                schemas[ref] = error
        problem = schemas[ref]
        if isinstance(problem, KeyError):
            return Due("waiting", f"waits for its schema {ref}")
        if problem is not None:
            raise problem
        return self._after_failures(Due("due", reason, self._what()))

    def _unpublished(self) -> str | None:
        """What of the dataset is not published yet; None where all is, as it shall be."""
        last = self.last
        if last is None:
            return "is not known to be published"
        if last.publication.did != self.did:
            return "is not known to be published by this account"
        if last.publication.cid != cid_of(self.entry):
            return "has a new entry"
        if last.metadata_sha256 != metadata_digest(self.entry):
            return "has new metadata"
        if last.accepted is not None:
            return "accepted bytes are not published yet"
        if order_of(self.overrides) > last.order:
            # Values of a run that was followed by a newer one, which then failed, are still to be published.
            return "has values that are not published yet"
        if self.store is None or overrides_of(self.overrides).keep_urls:
            return None
        if lies_in(self.store, last.shard, last.destination):
            return None
        there = displayed(last.shard["url"])
        return f"its shards are published at {there}, and are to lie at {self.store.destination}"

    def _what(self) -> str:
        changed = [None if fact is None else fact.at for fact in (self.last, self.reset, self.outage)]
        accepted = None if self.last is None else self.last.accepted
        destination = None if self.store is None else self.store.destination
        parts = self.did, subject_of(self.entry), order_of(self.overrides), accepted, destination, *changed
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    def _after_failures(self, due: Due) -> Due:
        """What is to be promoted, unless an attempt at it failed a short time ago, or too often."""
        failure, outage = self.failure, self.outage
        if failure is not None and failure_concerns(failure, self.entry, self.overrides):
            why = f"{failure.stage}: {failure.reason}"
            due = replace(due, attempts=failure.attempts)
            retry = next_attempt(failure)
            if retry.when == "never":
                told = number_of(due.attempts, "attempt")
                reason = f"{told} failed, {'' if due.attempts == 1 else 'the last one '}at {why}"
                return replace(due, state="retries exhausted", reason=reason)
            if retry.when == "later":
                return replace(due, state="failed", reason=why, retry_at=retry.at)
        retry = outage_of(outage)
        if outage is not None and retry.when == "later":
            return replace(due, state="paused", reason=outage.reason, retry_at=retry.at)
        return due
