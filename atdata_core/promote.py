"""Promotion in one call: the four stages in a row, for one dataset or for many."""

from __future__ import annotations

import warnings
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack
from uuid import uuid4

from .common.byte_progress import Progress
from .errors import NotPublicWarning
from .promotion.bulk.many import Outcome, StageDone, promote_many
from .promotion.options import PromotionKeywords, PromotionOptions, Values, takes_options
from .promotion.plan import Plan, plan_promotion
from .promotion.prepare import early_finds, prepare
from .promotion.scheduling.retry_policy import attempt
from .promotion.stages.publish import publish_record
from .promotion.stages.schema_stage import publish_schema_of
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


@takes_options(PromotionKeywords)
def promote_to_atmosphere(
    entry: IndexEntry,
    index: AbstractIndex,
    client: AtmosphereClient,
    *,
    data_store: Any = None,
    defaults: Values = Values(),  # noqa: B008 - frozen
    progress: Progress | None = None,
    **keywords: Unpack[PromotionKeywords],
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
        defaults: Where neither anybody nor the entry's metadata say anything.
        progress: Told of the shards that are looked at, then of those that are copied.
        keywords: The options below.

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
    options = PromotionOptions.of(run=uuid4().hex, defaults=defaults, **keywords)

    def warn(_stage: str, result: Any) -> None:
        if isinstance(result, Inventory):
            for warning in result.warnings:
                warnings.warn(warning, stacklevel=5)

    client.did  # noqa: B018 - NotLoggedInError, before anything is noted
    with (
        attempt(ledger, entry.name, "local_dataset", entry=entry) as current_attempt,
        closing(early_finds(entry, index, client, ledger, options)) as early,
    ):
        find = early.find
        ready = prepare(
            entry,
            index,
            client,
            ledger,
            publish_schema=partial(publish_schema_of, client=client, ledger=ledger, options=options, find=find),
            current_attempt=current_attempt,
            data_store=data_store,
            options=options,
            done=warn,
            find=find,
            progress=progress,
        )
        if ready.visibility.warning:
            warnings.warn(ready.visibility.warning, NotPublicWarning, stacklevel=3)
        return publish_record(
            ready.resolved, ready.copies, ready.schema.uri, index, client, visibility=ready.visibility, find=find
        ).uri
