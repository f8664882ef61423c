"""Promotion in one call: the four stages in a row, for one dataset or for many."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from .errors import NotPublicWarning
from .promotion.bulk.many import Outcome, StageDone, promote_many
from .promotion.options import PromotionOptions
from .promotion.plan import Plan, plan_promotion
from .promotion.prepare import prepare
from .promotion.scheduling.attempts import attempt
from .promotion.stages.publish import publish_record
from .promotion.stages.schema_stage import publish_schema_of
from .promotion.values import Values
from .promotion.verify.verification import Finding, Verification, verify_dataset
from .state.facts import Inventory
from .state.index_state import state_of

if TYPE_CHECKING:
    from .atmosphere.client import AtmosphereClient
    from .protocols import AbstractIndex, IndexEntry

__all__ = [
    "Finding",
    "Outcome",
    "Plan",
    "StageDone",
    "Verification",
    "plan_promotion",
    "promote_many",
    "promote_to_atmosphere",
    "verify_dataset",
]


def promote_to_atmosphere(
    entry: IndexEntry,
    index: AbstractIndex,
    client: AtmosphereClient,
    *,
    data_store: Any = None,
    name: str | None = None,
    description: str | None = None,
    tags: Sequence[str] | None = None,
    license: str | None = None,
    keep_urls: bool | None = None,
    version: str | None = None,
    take_over: bool = False,
    restore: bool = True,
    require_public: bool = False,
    require_license: bool = False,
    require_compatible: bool = False,
    allow_private: bool = False,
    defaults: Values = Values(),  # noqa: B008 - frozen
) -> str:
    """Publish a dataset to the atmosphere, once.

    The same account, published name and entry give the same records however often this is called; new
    values bring them up to date. What is said of a name holds for the entries that follow under it, until somebody
    says otherwise or their own metadata do. Shards stay where they are, or are copied byte for byte into
    ``data_store``; once copies are published they stay, also where a later call names no store. Every shard is seen
    at its destination before the entry record is written.

    Args:
        entry: The entry of the local index.
        index: The index that has its schema.
        client: A client that is logged in.
        data_store: Where shards are copied to; None: they stay where they are published, at first the index's own
            URLs.
        name: The name to publish under; None is the entry's own.
        description: None is the last one given for this entry, else that of its metadata, else the last one given
            for an earlier entry of the name, else none; ``""`` clears it.
        tags: As ``description``; ``[]`` clears them.
        license: As ``description``; an SPDX identifier is best.
        keep_urls: True publishes the index's own URLs, whatever store is named now or later; False ends that; None
            is the last one given.
        version: Of a second label that stays with this entry.
        take_over: Write over a record or label that was edited elsewhere.
        restore: Write again what was deleted on the network or retracted. Without it such a dataset is refused,
            and sensor and schedules leave it from then on.
        require_public: Refuse shards that a stranger cannot read; by default that is a warning.
        require_license: Refuse to publish without a license that SPDX knows.
        require_compatible: Refuse a schema that breaks with the version of the type before it, unless its own
            version says so by another major number.
        allow_private: Publish shards that strangers cannot read in the place of those that they can; without it,
            or ``keep_urls=True``, that is refused.
        defaults: Where neither anybody nor the entry's metadata say anything.

    Returns:
        The at-uri of the entry record. Where another run was given other values later, that one writes them, and
        this one writes nothing.

    Raises:
        KeyError: The schema is not in the index.
        ValueError: The entry has no data URLs, its record was edited elsewhere, or something else about it is
            refused; see ``errors``.
        NotLoggedInError: The client is not logged in.
        ServiceError: Redis, S3 or the PDS failed. Calling again continues.
    """
    ledger = state_of(index).ledger
    values = Values.of(description, tags, license, keep_urls)
    asked = PromotionOptions(
        name,
        values,
        version,
        take_over,
        restore,
        require_public,
        run=uuid4().hex,
        defaults=defaults,
        require_license=require_license,
        require_compatible=require_compatible,
        allow_private=allow_private,
    )

    def warn(_stage: str, result: Any) -> None:
        if isinstance(result, Inventory):
            for warning in result.warnings:
                warnings.warn(warning, stacklevel=4)

    client.did  # noqa: B018 - NotLoggedInError, before anything is noted
    with attempt(ledger, entry.name, "local_dataset", entry=entry) as active_runs:
        ready = prepare(
            entry,
            index,
            client,
            ledger,
            publish_schema=partial(
                publish_schema_of, client=client, ledger=ledger, require_compatible=require_compatible
            ),
            active_runs=active_runs,
            data_store=data_store,
            asked=asked,
            done=warn,
        )
        if ready.seen.warning:
            warnings.warn(ready.seen.warning, NotPublicWarning, stacklevel=2)
        return publish_record(
            entry,
            ready.copies,
            ready.schema.uri,
            index,
            client,
            ledger,
            asked=asked,
            resolved=ready.resolved,
            seen=ready.seen,
        ).uri
