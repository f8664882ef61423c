"""The last stage of a promotion by itself, for tests that come between the stages."""

from __future__ import annotations

from typing import Any

from atdata_core.promotion.options import PromotionOptions
from atdata_core.promotion.stages.publish import PublishedRecord, publish_record
from atdata_core.promotion.stages.resolved_values import Resolved, resolve
from atdata_core.promotion.stages.visibility import Visibility


def resolved_for(
    entry: Any,
    client: Any,
    ledger: Any,
    *,
    store: Any = None,
    options: PromotionOptions = PromotionOptions(),  # noqa: B008 - frozen
) -> Resolved:
    """What a promotion that asks this would publish."""
    return resolve(entry, client.did, ledger, data_store=store, options=options, find=client.find_record)


def publish_last(
    entry: Any,
    copies: Any,
    schema_uri: str,
    index: Any,
    client: Any,
    ledger: Any,
    *,
    store: Any = None,
    options: PromotionOptions = PromotionOptions(),  # noqa: B008 - frozen
) -> PublishedRecord:
    """``publish_record`` for shards that were seen by strangers."""
    resolved = resolved_for(entry, client, ledger, store=store, options=options)
    visibility = Visibility(len(copies.shards))
    return publish_record(resolved, copies, schema_uri, index, client, visibility=visibility)
