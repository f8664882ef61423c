"""What children do: what a user's program does, with plain values for arguments.

Everything is imported here, before the first fork, so that a child costs little.
"""

from __future__ import annotations

import functools
import os
import time
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import atproto  # noqa: F401
import boto3  # noqa: F401
import httpx  # noqa: F401
from botocore.loaders import JSONFileLoader

from atdata_core.atmosphere import AtmosphereClient, PDSBlobStore
from atdata_core.errors import ServiceError
from atdata_core.local import LocalIndex, S3DataStore
from atdata_core.promote import promote_many, promote_to_atmosphere
from atdata_core.reading import pull

# A client of boto3 reads its models from disk, which is most of what a child would do: once for all is enough.
_load = functools.cache(JSONFileLoader().load_file)
JSONFileLoader.load_file = lambda self, file_path: _load(file_path)
S3DataStore({"AWS_ACCESS_KEY_ID": "warm", "AWS_SECRET_ACCESS_KEY": "warm"}, bucket="warm").endpoint.client  # noqa: B018


def promote(
    *,
    name: str,
    handle: str,
    password: str,
    store: dict[str, Any] | str | None = None,
    moment: str | None = None,
    timeout: float | None = None,
    begin: float | None = None,
    values: dict[str, Any] | None = None,
) -> str:
    """Promote a dataset by its name; the at-uri of the entry record.

    Args:
        name: Of the dataset in the index of ``ATDATA_REDIS_URL``.
        handle: Of the account at ``ATDATA_PDS_URL``.
        password: Its password.
        store: Arguments of ``S3DataStore`` to copy to; ``"pds"``: shards become blobs; None keeps the URLs.
        moment: The time that the client's clock shows, always; None is a true clock.
        timeout: Seconds that the client waits for the PDS.
        begin: When to begin, on the machine's monotonic clock.
        values: Further arguments of ``promote_to_atmosphere``.
    """
    if begin is not None:
        time.sleep(max(0.0, begin - time.monotonic()))
    clock = None if moment is None else lambda: datetime.fromisoformat(moment).astimezone(UTC)
    index = LocalIndex()
    entry = index.get_entry_by_name(name)
    client = AtmosphereClient(clock=clock, timeout=timeout)
    client.login(handle, password)
    destination = (
        PDSBlobStore(client) if isinstance(store, str) else None if store is None else S3DataStore(**store)
    )
    return promote_to_atmosphere(entry, index, client, data_store=destination, **(values or {}))


def promote_bulk(
    *, names: list[str], handle: str, password: str, store: dict[str, Any] | None = None, moment: str | None = None
) -> list[tuple[str, str]]:
    """Promote datasets in one call; for each the at-uri of its entry record, and what changed.

    Args:
        names: Of the datasets in the index of ``ATDATA_REDIS_URL``.
        handle: Of the account at ``ATDATA_PDS_URL``.
        password: Its password.
        store: Arguments of ``S3DataStore`` to copy to; None keeps the URLs.
        moment: The time that the client's clock shows, always; None is a true clock.
    """
    clock = None if moment is None else lambda: datetime.fromisoformat(moment).astimezone(UTC)
    index = LocalIndex()
    client = AtmosphereClient(clock=clock)
    client.login(handle, password)
    destination = None if store is None else S3DataStore(**store)
    outcomes = promote_many(
        [index.get_entry_by_name(name) for name in names], index, client, data_store=destination
    )
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return [(str(outcome.uri), str(outcome.change)) for outcome in outcomes]


def pull_into(*, where: str, folder: str) -> int:
    """Pull a published dataset; how many bytes came."""
    return sum(shard.fetched for shard in pull(where, folder).shards)


def promote_each(
    *,
    names: list[str],
    session: str,
    store: dict[str, Any],
    lab: dict[str, Any],
    timeout: float,
    again: int,
) -> list[int]:
    """Promote datasets one after the other; for each how often it had to be started again.

    Args:
        names: Of the datasets.
        session: As ``export_session`` gives it.
        store: Arguments of ``S3DataStore`` to copy to; each dataset gets a prefix of its own.
        lab: Arguments of ``S3DataStore`` to read from.
        timeout: Seconds to wait for any service.
        again: How often a run may be started again. A run that needs more raises its error.
    """
    counts: list[int] = []
    index = LocalIndex(data_store=_impatient(S3DataStore(**lab), timeout))
    client = AtmosphereClient(timeout=timeout)
    client.login_with_session(session)
    for name in names:
        destination = _impatient(S3DataStore(**{**store, "prefix": name}), timeout)
        for count in range(again + 1):
            # The proxy counts attempts within a run.
            urllib.request.urlopen(f"{os.environ['ATDATA_PDS_URL']}/begin/{name}").close()
            try:
                promote_to_atmosphere(index.get_entry_by_name(name), index, client, data_store=destination)
                counts.append(count)
                break
            except ServiceError as error:
                if not error.transient or count == again:
                    raise
    return counts


def _impatient(store: S3DataStore, timeout: float) -> S3DataStore:
    store.endpoint = replace(store.endpoint, timeout=timeout)
    return store
