"""Whether datasets have to be promoted, and what went wrong with them, as the ledger knows: no request is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from ...common.urls import displayed
from ...errors import AtdataError, BlockedError, MetadataError, ServiceError
from ...samples.metadata import pack
from ...state.facts import BLOCK, FAILURE, LAST_RESULT, OUTAGE, OVERRIDES, RESET, AttemptsReset, Failure, Outage
from ...state.ledger import Fact, Ledger, timestamp
from ..copies.layout import lies_in
from ..inventory import cid_of, read_schema
from ..overrides import order_of, overrides_of
from . import retry_policy
from .retry_policy import next_attempt, outage_of

if TYPE_CHECKING:
    from ...protocols import AbstractIndex, IndexEntry
    from ...state.facts import AttemptsReset, Block, Failure, Outage, OverrideLog, RecordResult
    from ...stores.data_store import DataStore
TOGETHER = 500
"""Datasets that one question to the ledger is about."""

POLICY = "promote"
"""In an entry's metadata: false keeps sensor and schedules from promoting it."""


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done with a dataset, and why, in words for people.

    ``promote``: its current entry is not published by this account, or has changed since. ``published``:
    nothing is to be done. ``waiting``: its schema is not in the index yet. ``blocked``: only a person may promote
    it again. ``skipped``: its metadata say so. ``failed``: the sensor tries it again from ``again`` on. ``retries
    exhausted``: it failed so often that only a person tries it, until something about it changes. ``paused``:
    nothing of the account can be published; the sensor tries again from ``again`` on.

    Attributes:
        state: See above.
        reason: Why.
        what: Tells what is to be published over what stands: other metadata, other values and another account
            give another one, and so does trouble that has passed.
        attempts: Attempts at that which failed.
        again: A time, ISO 8601.
    """

    state: Literal["promote", "published", "waiting", "blocked", "skipped", "failed", "retries exhausted", "paused"]
    reason: str
    what: str = ""
    attempts: int = 0
    again: str | None = None


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
    [found] = due_of_all([entry], index, ledger, did, store)
    if isinstance(found, AtdataError):
        raise found
    return found


def due_of_all(
    entries: Sequence[IndexEntry], index: AbstractIndex, ledger: Ledger, did: str, store: DataStore | None = None
) -> list[Due | AtdataError]:
    """Decide as ``due`` does for many datasets, with one question to the ledger for ``TOGETHER`` of them.

    The index is asked once for each schema of those that are not published.

    Returns:
        For each entry what is to be done, or why that cannot be said.

    Raises:
        ServiceError: The index or the ledger does not answer.
    """
    schemas: dict[str, AtdataError | KeyError | None] = {}
    found: list[Due | AtdataError] = []
    for start in range(0, len(entries), TOGETHER):
        page = entries[start : start + TOGETHER]
        outage, known = _known(page, ledger, did)
        for entry, facts in zip(page, known, strict=True):
            try:
                found.append(_due(entry, facts, outage, index, did, store, schemas))
            except ServiceError:
                raise
            except AtdataError as error:
                found.append(error)
    return found


@dataclass(frozen=True, slots=True)
class _Known:
    """What the ledger knows of a dataset: why it is held, its last promotion, what failed, and what was said."""

    hold: Block | None
    last: RecordResult | None
    failure: Failure | None
    reset: AttemptsReset | None
    said: OverrideLog | None


def _known(entries: Sequence[IndexEntry], ledger: Ledger, did: str) -> tuple[Outage | None, list[_Known]]:
    """Why nothing of the account can be published, and the facts of each dataset."""
    keys = [(BLOCK(e.name), LAST_RESULT(e.name), FAILURE(e.name), RESET(e.name)) for e in entries]
    likely = [OVERRIDES(entry.name, did, entry.name, cid_of(entry)) for entry in entries]
    found = ledger.get_many([*chain.from_iterable(keys), *likely, OUTAGE(did)])
    said = [
        log if (result := found[last]) is None else OVERRIDES(log.owner, *result.publication)
        for (_, last, _, _), log in zip(keys, likely, strict=True)
    ]
    # Published under another name, by another account or with an earlier entry: what was said then.
    others = ledger.get_many([key for key, was in zip(said, likely, strict=True) if key != was])
    return found[OUTAGE(did)], [
        _Known(found[hold], found[last], found[failure], found[reset], found[log] or others[log])
        for (hold, last, failure, reset), log in zip(keys, said, strict=True)
    ]


def _due(
    entry: IndexEntry,
    facts: _Known,
    outage: Outage | None,
    index: AbstractIndex,
    did: str,
    store: DataStore | None,
    schemas: dict[str, AtdataError | KeyError | None],
) -> Due:
    if facts.hold is not None and facts.hold.did == did:
        return Due("blocked", facts.hold.reason)
    reason = _what_changed(entry, facts.last, did) or _what_was_said(facts) or _where_it_lies(facts, store)
    if reason is None:
        return Due("published", f"published as {facts.last.uri}" if facts.last else "published")
    if not may_promote(entry):
        return Due("skipped", f"its metadata say {POLICY}: false")
    ref = entry.schema_ref
    if ref not in schemas:
        schemas[ref] = None
        try:
            read_schema(entry, index)
        except (AtdataError, KeyError) as error:
            schemas[ref] = error
    problem = schemas[ref]
    if isinstance(problem, KeyError):
        return Due("waiting", f"waits for its schema {ref}")
    if problem is not None:
        raise problem
    what = _what(entry, facts, outage, did, store)
    return _after_failures(Due("promote", reason, what), entry, facts, outage)


def _after_failures(due: Due, entry: IndexEntry, facts: _Known, outage: Outage | None) -> Due:
    """What is to be promoted, unless an attempt at it failed a short time ago, or too often."""
    failure = facts.failure if failure_concerns(facts.failure, entry, facts.said) else None
    if failure is not None:
        why = f"{failure.stage}: {failure.reason}"
        due = replace(due, attempts=failure.attempts)
        again = next_attempt(failure)
        if again.when == "never":
            return replace(
                due, state="retries exhausted", reason=f"{due.attempts} attempts failed, the last one at {why}"
            )
        if again.when == "later":
            return replace(due, state="failed", reason=why, again=again.at)
    for_all = outage_of(outage)
    if outage is not None and for_all.when == "later":
        return replace(due, state="paused", reason=outage.reason, again=for_all.at)
    return due


def failure_concerns(failure: Failure | None, entry: IndexEntry, said: Fact | None) -> bool:
    """Whether a failure is one of what is to be promoted now: this entry and metadata, and nothing said since."""
    if failure is None or failure.of not in (None, subject_of(entry)):
        return False
    return said is None or (failure.at or "") >= (said.at or "")


def _what(entry: IndexEntry, facts: _Known, outage: Outage | None, did: str, store: DataStore | None) -> str:
    changed = [None if fact is None else fact.at for fact in (facts.last, facts.reset, outage)]
    accepted = None if facts.last is None else facts.last.accepted
    destination = None if store is None else store.destination
    parts = did, subject_of(entry), order_of(facts.said), accepted, destination, *changed
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def may_promote(entry: IndexEntry) -> bool:
    """Whether sensor and schedules may promote a dataset, as far as its metadata say.

    Raises:
        MetadataError: They say neither true nor false.
    """
    said: Any = (entry.metadata or {}).get(POLICY, True)
    if not isinstance(said, bool):
        raise MetadataError(
            f"The metadata of {entry.name!r} say {POLICY}: {str(said)[:40]!r}, which is neither true nor false. "
            "Register the dataset again with one of them, or without.",
            name=entry.name,
        )
    return said


def subject_of(entry: IndexEntry) -> str:
    """What of an entry an attempt is about: its data and its metadata."""
    return f"{cid_of(entry)} {metadata_digest(entry)[:16]}"


def metadata_digest(entry: IndexEntry) -> str:
    """SHA-256 of an entry's metadata as it is packed; of nothing where there is none."""
    return hashlib.sha256(pack(entry.metadata) if entry.metadata else b"").hexdigest()


def _what_changed(entry: IndexEntry, last: RecordResult | None, did: str) -> str | None:
    if last is None:
        return "is not known to be published"
    if last.publication.did != did:
        return "is not known to be published by this account"
    if last.publication.cid != cid_of(entry):
        return "has a new entry"
    if last.metadata_sha256 != metadata_digest(entry):
        return "has new metadata"
    if last.accepted is not None:
        return "accepted bytes are not published yet"
    return None


def _what_was_said(facts: _Known) -> str | None:
    """Values of a run that was followed by a newer one, which then failed, are still to be published."""
    if facts.last is None:
        return None
    return "has values that are not published yet" if order_of(facts.said) > facts.last.order else None


def _where_it_lies(facts: _Known, store: DataStore | None) -> str | None:
    """Shards that are not published where the pipeline copies them to, unless somebody said so."""
    if facts.last is None or store is None or overrides_of(facts.said).keep_urls:
        return None
    if lies_in(store, facts.last.shard, facts.last.destination):
        return None
    there = displayed(facts.last.shard["url"])
    return f"its shards are published at {there}, and are to lie at {store.destination}"


@dataclass(slots=True)
class Attempt:
    """A promotion under way; ``stage`` is where it stands."""

    stage: str


@contextmanager
def attempt(
    ledger: Ledger, dataset: str, stage: str, *, entry: IndexEntry | None = None, run: str | None = None
) -> Generator[Attempt]:
    """Note an error in the ledger (stage, reason, how many times in a row) on its way out.

    A dataset that is blocked was not attempted, and one that a person stopped did not fail.

    Args:
        ledger: The ledger.
        dataset: Its name.
        stage: The first stage.
        entry: What is promoted: failures of another entry, or of other metadata, do not count any more.
        run: Names the run: what it tries several times is one attempt.
    """
    current_attempt = Attempt(stage)
    try:
        yield current_attempt
    except Exception as error:
        # Where the ledger itself is what fails, what comes through is the first error.
        with suppress(Exception):
            failed(ledger, dataset, current_attempt.stage, error, entry=entry, run=run)
        raise


def succeeded(ledger: Ledger, dataset: str) -> None:
    """Forget what went wrong before."""
    ledger.remove(FAILURE(dataset))


def failed(
    ledger: Ledger,
    dataset: str,
    stage: str,
    error: Exception,
    *,
    entry: IndexEntry | None = None,
    run: str | None = None,
) -> None:
    """Note an error, as ``attempt`` does; one that says that the dataset is blocked is none."""
    if isinstance(error, BlockedError):
        return
    ours = isinstance(error, AtdataError)
    passing = retry_policy.passes(error)
    failure = Failure(
        stage,
        error.message if ours else f"{type(error).__name__}: {error}",
        error.transient if ours else isinstance(error, ConnectionError | TimeoutError),
        passing,
        None if entry is None else subject_of(entry),
        run,
        at=timestamp(retry_policy.clock()),
    )

    def change(before: Failure | None) -> Failure:
        if before is None or before.of != failure.of:
            return replace(failure, attempts=1, lasting=int(not passing))
        if run is not None and before.run == run:
            # The same run once more: the worst that it met counts.
            lasting = before.lasting + int(before.passes and not passing)
            return replace(failure, attempts=before.attempts, lasting=lasting)
        return replace(failure, attempts=before.attempts + 1, lasting=before.lasting + int(not passing))

    ledger.update(FAILURE(dataset), change)
